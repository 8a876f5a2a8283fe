//! An exact count of permits in use, in one cell that any number of processes share, from which
//! what a dead process held is taken back exactly.
//!
//! # Theory of operation
//!
//! The shared cell holds the count and who changed it last: `count | writer | number`. Each writer
//! (a slot) numbers its changes and keeps a *ledger*, a cell of its own: `held | number | step`.
//!
//! ```text
//! ledger: (held, n, Acquiring) ──► shared: (count + 1, writer, n) ──► ledger: (held + 1, n, Idle)
//! ```
//!
//! A process may die between any two of these. Whoever buries it reads in the ledger what it was
//! about to do, and in the shared cell whether it was done. Another writer may have changed the
//! shared cell since; it has then noted the number that it was about to overwrite in the *seen*
//! cell of that number's writer. So the question has one answer at every point, without a lock.
//!
//! Numbers are 22 bits wide and compared as on a circle. A writer that nobody overtakes notes its
//! own number now and then, so that `seen` never lags half a circle.
//!
//! # Orderings
//!
//! Every change of the shared cell is acquire and release: what the last holder of a permit wrote
//! is visible to its next holder, as with any semaphore; a writer's ledger is written before its
//! change, and a note in `seen` before the change that makes it necessary. Ledger and notes
//! themselves are relaxed: they are read after a change of the shared cell, or after a death.

use crate::cells::Cells;
use crate::sync::{AtomicU64, Ordering, fence};

const NUMBER_BITS: u32 = 22;
const NUMBER_MASK: u64 = (1 << NUMBER_BITS) - 1;
const WRITER_BITS: u32 = 10;
const WRITER_MASK: u64 = (1 << WRITER_BITS) - 1;
const COUNT_SHIFT: u32 = NUMBER_BITS + WRITER_BITS;

/// Changes after which a writer notes its own number.
const NOTE_EVERY: u64 = 1 << 16;

/// Slots that can share a count: one writer's mark is taken by whoever buries.
pub const WRITERS_MAX: u32 = (1 << WRITER_BITS) - 1;

/// Where the cells lie.
#[derive(Clone, Copy, Debug)]
pub struct PermitCells {
    /// In the shared block: how many are in use, and who changed that last.
    pub in_use: u32,
    /// In each slot's block: what its writer holds and is about to do.
    pub ledger: u32,
    /// In each slot's block: the last change of its writer that others have seen.
    pub seen: u32,
}

/// Where a writer is within a change; only models stop there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The intention is in the ledger.
    Announced,
    /// What is about to be overwritten has been noted.
    Noted,
    /// The shared cell has changed.
    Changed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Idle = 0,
    Acquiring = 1,
    Releasing = 2,
}

/// A ledger: held 32 | number 22 | step 2.
#[derive(Clone, Copy)]
struct Ledger {
    held: u64,
    number: u64,
    step: Step,
}

impl Ledger {
    fn of(bits: u64) -> Self {
        let step = match bits & 3 {
            1 => Step::Acquiring,
            2 => Step::Releasing,
            _ => Step::Idle,
        };
        Self {
            held: bits >> 32,
            number: bits >> 2 & NUMBER_MASK,
            step,
        }
    }

    fn bits(self) -> u64 {
        self.held << 32 | self.number << 2 | self.step as u64
    }
}

fn shared_bits(count: u64, writer: u64, number: u64) -> u64 {
    count << COUNT_SHIFT | writer << NUMBER_BITS | number
}

/// Permits as one writer sees them: never more in use than the limit that it names, whoever else
/// acquires.
///
/// The limit is an argument because configuration may change it while permits are out; a lower
/// limit takes effect as they come back. Nobody waits here: a refusal is final, and queues are
/// somebody else's business.
#[derive(Clone, Copy, Debug)]
pub struct Permits<'a> {
    in_use: &'a AtomicU64,
    slots: &'a [Cells],
    slot: u32,
    cells: PermitCells,
}

impl<'a> Permits<'a> {
    /// The view of the writer of `slot`. `shared` is the block's shared part, `slots` are the
    /// block's cells of every slot, in order. Panics when they have no such cells.
    #[inline]
    pub fn new(shared: &'a Cells, slots: &'a [Cells], slot: u32, cells: PermitCells) -> Self {
        debug_assert!(slots.len() <= WRITERS_MAX as usize);
        Self {
            in_use: shared.at(cells.in_use),
            slots,
            slot,
            cells,
        }
    }

    /// Takes a permit unless `max` are in use.
    ///
    /// Invariant: the count only goes up by a compare-and-swap from a value that is below `max`.
    #[inline]
    pub fn try_acquire(&self, max: u32) -> bool {
        self.try_acquire_until(max, |_| false).unwrap_or(false)
    }

    /// Gives a permit back. False, and no change, when this writer holds none: a mistake of the
    /// caller.
    #[inline]
    pub fn release(&self) -> bool {
        self.release_until(|_| false).unwrap_or(false)
    }

    /// As [`Self::try_acquire`], but stops for ever (`None`) at the first stage that `dies` names:
    /// for models of a writer's death.
    #[inline]
    pub fn try_acquire_until(&self, max: u32, dies: impl Fn(Stage) -> bool) -> Option<bool> {
        // A refusal costs one load.
        if self.count() >= u64::from(max) {
            return Some(false);
        }
        let raised = |count| (count < u64::from(max)).then_some(count + 1);
        self.change(Step::Acquiring, raised, dies)
    }

    /// As [`Self::release`], with the deaths of [`Self::try_acquire_until`].
    #[inline]
    pub fn release_until(&self, dies: impl Fn(Stage) -> bool) -> Option<bool> {
        if self.held() == 0 {
            return Some(false);
        }
        self.change(Step::Releasing, |count: u64| count.checked_sub(1), dies)
    }

    #[inline]
    fn change(
        &self,
        step: Step,
        next: impl Fn(u64) -> Option<u64>,
        dies: impl Fn(Stage) -> bool,
    ) -> Option<bool> {
        let own = &self.slots[self.slot as usize];
        let ledger = own.at(self.cells.ledger);
        let before = Ledger::of(ledger.load(Ordering::Relaxed));
        let number = (before.number + 1) & NUMBER_MASK;
        let settle = |held| {
            let settled = Ledger {
                held,
                number,
                step: Step::Idle,
            };
            ledger.store(settled.bits(), Ordering::Relaxed);
        };
        if number.is_multiple_of(NOTE_EVERY) {
            // Nobody can have seen a later one: this change has not happened yet.
            own.store(self.cells.seen, before.number);
        }
        let announced = Ledger {
            number,
            step,
            ..before
        };
        ledger.store(announced.bits(), Ordering::Relaxed);
        if dies(Stage::Announced) {
            return None;
        }
        let mut current = self.in_use.load(Ordering::Acquire);
        loop {
            let Some(count) = next(current >> COUNT_SHIFT) else {
                settle(before.held);
                return Some(false);
            };
            self.note(current);
            if dies(Stage::Noted) {
                return None;
            }
            match self.in_use.compare_exchange_weak(
                current,
                shared_bits(count, u64::from(self.slot) + 1, number),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => break,
                Err(newer) => current = newer,
            }
        }
        if dies(Stage::Changed) {
            return None;
        }
        settle(match step {
            Step::Releasing => before.held - 1,
            _ => before.held + 1,
        });
        Some(true)
    }

    /// Before the shared cell's value `current` is overwritten: notes for its writer that it was
    /// there. Notes only go forward.
    #[inline]
    fn note(&self, current: u64) {
        let writer = current >> NUMBER_BITS & WRITER_MASK;
        if writer == 0 || writer == u64::from(self.slot) + 1 {
            return;
        }
        let number = current & NUMBER_MASK;
        let seen = self.slots[writer as usize - 1].at(self.cells.seen);
        let mut noted = seen.load(Ordering::Relaxed);
        while (1..=NUMBER_MASK / 2).contains(&(number.wrapping_sub(noted) & NUMBER_MASK)) {
            match seen.compare_exchange_weak(noted, number, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(newer) => noted = newer,
            }
        }
    }

    /// Gives back all that this writer held, who is dead; returns how many that were. Called by
    /// one process only, which knows of the death.
    pub fn bury(&self) -> u64 {
        let own = &self.slots[self.slot as usize];
        let left = Ledger::of(own.load(self.cells.ledger));
        let current = self.in_use.load(Ordering::Acquire);
        // In this order: whoever has overwritten it noted it before.
        let is_there = current & (WRITER_MASK << NUMBER_BITS | NUMBER_MASK)
            == shared_bits(0, u64::from(self.slot) + 1, left.number);
        let was_done = is_there || own.load(self.cells.seen) == left.number;
        let held = match left.step {
            Step::Acquiring if was_done => left.held + 1,
            Step::Releasing if was_done => left.held - 1,
            _ => left.held,
        };
        if held > 0 {
            self.give_back(current, held);
        }
        let settled = Ledger {
            held: 0,
            step: Step::Idle,
            ..left
        };
        own.store(self.cells.ledger, settled.bits());
        held
    }

    /// Lowers the shared count, last seen as `current`; the change is nobody's.
    fn give_back(&self, mut current: u64, held: u64) {
        loop {
            self.note(current);
            let count = (current >> COUNT_SHIFT).saturating_sub(held);
            match self.in_use.compare_exchange_weak(
                current,
                shared_bits(count, 0, 0),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return,
                Err(newer) => current = newer,
            }
        }
    }

    /// As [`Self::try_acquire`], for somebody who will wait if it fails: announces the wait in
    /// `waiting` (one more cell of the own slot) first, and tries once more after that. True: a
    /// permit was taken and the announcement withdrawn. False: announced; a release that follows
    /// sees it.
    pub fn acquire_or_announce(&self, max: u32, waiting: u32) -> bool {
        let waiting = self.slots[self.slot as usize].at(waiting);
        waiting.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.try_acquire(max) {
            waiting.fetch_sub(1, Ordering::SeqCst);
            return true;
        }
        false
    }

    /// How many have announced in any slot that they wait, asked after a release.
    ///
    /// Of an announcement before a failed attempt and a release before this question, at least one
    /// sees the other: both lie in the total order of sequentially consistent fences.
    pub fn waiting_count(&self, waiting: u32) -> u64 {
        fence(Ordering::SeqCst);
        self.slots
            .iter()
            .map(|slot| slot.at(waiting).load(Ordering::SeqCst))
            .fold(0, u64::wrapping_add)
    }

    /// Permits in use at this moment, by all writers.
    #[inline]
    pub fn count(&self) -> u64 {
        Self::count_in(self.in_use.load(Ordering::Relaxed))
    }

    /// Permits that this writer holds.
    #[inline]
    pub fn held(&self) -> u64 {
        Ledger::of(self.slots[self.slot as usize].load(self.cells.ledger)).held
    }

    /// The count in a value of the shared cell.
    #[inline]
    pub const fn count_in(shared: u64) -> u64 {
        shared >> COUNT_SHIFT
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
