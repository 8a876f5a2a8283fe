//! An exact count of permits in use, in one cell that any number of processes share.

use crate::cells::Cells;
use crate::sync::{AtomicU64, Ordering, fence};

/// Permits over one shared cell: never more in use than the limit that the caller names, whoever
/// else acquires.
///
/// The limit is an argument because configuration may change it while permits are out; a lower
/// limit takes effect as they come back. Nobody waits here: a refusal is final, and queues are
/// somebody else's business.
///
/// Orderings: a release is `Release` and an acquisition is `Acquire`, on the same cell, so that
/// what the last holder of a permit wrote is visible to its next holder, as with any semaphore.
#[derive(Clone, Copy, Debug)]
pub struct Permits<'a> {
    in_use: &'a AtomicU64,
}

impl<'a> Permits<'a> {
    /// Permits counted in `cell` of a shared block; panics when the block has no such cell.
    #[inline]
    pub fn new(shared: &'a Cells, cell: u32) -> Self {
        Self {
            in_use: shared.at(cell),
        }
    }

    /// Takes a permit unless `max` are in use.
    ///
    /// Invariant: the count only goes up by a compare-and-swap from a value that is below `max`.
    #[inline]
    pub fn try_acquire(&self, max: u32) -> bool {
        let mut in_use = self.in_use.load(Ordering::Relaxed);
        while in_use < u64::from(max) {
            match self.in_use.compare_exchange_weak(
                in_use,
                in_use + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(current) => in_use = current,
            }
        }
        false
    }

    /// Gives a permit back. False, and no change, when none is in use: a mistake of the caller.
    #[inline]
    pub fn release(&self) -> bool {
        self.release_many(1)
    }

    /// Gives `n` permits back at once, for a worker that died holding them. False, and no change,
    /// when fewer are in use.
    #[inline]
    pub fn release_many(&self, n: u64) -> bool {
        let mut in_use = self.in_use.load(Ordering::Relaxed);
        while let Some(left) = in_use.checked_sub(n) {
            match self.in_use.compare_exchange_weak(
                in_use,
                left,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(current) => in_use = current,
            }
        }
        false
    }

    /// As [`Self::try_acquire`], for somebody who will wait if it fails: announces the wait in `waiting` (one
    /// more shared cell) first, and tries once more after that. True: a permit was taken and the announcement
    /// withdrawn. False: announced; a release that follows sees it.
    pub fn acquire_or_announce(&self, max: u32, waiting: &Cells, cell: u32) -> bool {
        waiting.at(cell).fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.try_acquire(max) {
            waiting.at(cell).fetch_sub(1, Ordering::SeqCst);
            return true;
        }
        false
    }

    /// How many have announced that they wait, asked after a release.
    ///
    /// Of an announcement before a failed attempt and a release before this question, at least one sees the
    /// other: both lie in the total order of sequentially consistent fences.
    pub fn waiting_count(waiting: &Cells, cell: u32) -> u64 {
        fence(Ordering::SeqCst);
        waiting.at(cell).load(Ordering::SeqCst)
    }

    /// Permits in use at this moment.
    #[inline]
    pub fn count(&self) -> u64 {
        self.in_use.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::region::tests::shared_cells;

    #[test]
    fn never_more_than_max_and_never_less_than_none() {
        let cells = shared_cells(1);
        let permits = Permits::new(&cells, 0);
        assert!(!permits.release());
        assert!(!permits.try_acquire(0));
        assert!(permits.try_acquire(2));
        assert!(permits.try_acquire(2));
        assert!(!permits.try_acquire(2));
        assert_eq!(permits.count(), 2);
        assert!(!permits.release_many(3));
        assert_eq!(permits.count(), 2);
        assert!(permits.release());
        assert!(permits.try_acquire(2));
    }

    #[test]
    fn a_lower_max_takes_effect_as_permits_come_back() {
        let cells = shared_cells(1);
        let permits = Permits::new(&cells, 0);
        assert!((0..5).all(|_| permits.try_acquire(5)));
        assert!(!permits.try_acquire(2));
        assert!(permits.release_many(3));
        assert!(!permits.try_acquire(2));
        assert!(permits.release());
        assert!(permits.try_acquire(2));
    }

    #[test]
    fn threads_share_the_limit_exactly() {
        const MAX: u32 = 3;
        let cells = shared_cells(2);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let permits = Permits::new(&cells, 0);
                    for _ in 0..2_000 {
                        if permits.try_acquire(MAX) {
                            cells.add_shared(1, 1);
                            assert!(cells.load(1) <= u64::from(MAX));
                            cells.sub_shared(1, 1);
                            assert!(permits.release());
                        }
                    }
                });
            }
        });
        assert_eq!(Permits::new(&cells, 0).count(), 0);
    }
}
