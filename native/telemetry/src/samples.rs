//! A running mean that any number of writers add to, and of which one at a time takes its turn to use it.

use crate::cells::Cells;
use crate::sync::{AtomicU64, Ordering};

const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const VALUE_MAX: u64 = (1 << 30) - 1;

/// What a turn was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Samples since the last turn; at least 1.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// Most of what the writers named as the peak.
    pub peak: u64,
    /// Turns so far, this one included, modulo 2 to the 24th.
    pub turns_count: u64,
}

/// Three adjacent cells of a shared block:
///
/// ```text
///   sum << 24 | count        time of the last turn << 24 | turns        peak
/// ```
///
/// Count and sum are one cell, so that a sample is in both or in neither. A turn is won by one compare-and-swap;
/// who wins it takes all samples out. A worker that dies before it has used them loses these samples and nothing
/// else: the next turn comes as always. Relaxed: each cell is read alone, and nothing else is learnt from it.
///
/// The sum is unambiguous below 2^40: of microseconds, 12 days in all between two turns.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    sum: &'a AtomicU64,
    turn: &'a AtomicU64,
    peak: &'a AtomicU64,
}

impl<'a> Samples<'a> {
    /// How many cells it needs.
    pub const CELLS_COUNT: u32 = 3;

    /// The cells from `first` on; panics when the block ends before.
    pub fn new(shared: &'a Cells, first: u32) -> Self {
        Self {
            sum: shared.at(first),
            turn: shared.at(first + 1),
            peak: shared.at(first + 2),
        }
    }

    /// When the last turn was; 0 before the first.
    pub fn last_turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed) >> COUNT_BITS
    }

    /// Adds a sample; one of 2^30 or more counts as the largest below.
    pub fn add(&self, value: u64, peak: u64) {
        if self.peak.load(Ordering::Relaxed) < peak {
            self.peak.fetch_max(peak, Ordering::Relaxed);
        }
        let sample = value.min(VALUE_MAX) << COUNT_BITS | 1;
        self.sum.fetch_add(sample, Ordering::Relaxed);
    }

    /// Takes what has been added, if the last turn is so long ago and there are so many samples. Of several
    /// callers one gets it. `now` is of any unit that fits 40 bits.
    pub fn try_take(&self, now: u64, every: u64, count_min: u64) -> Option<Taken> {
        let turn = self.turn.load(Ordering::Relaxed);
        let count = self.sum.load(Ordering::Relaxed) & COUNT_MASK;
        if now < (turn >> COUNT_BITS).saturating_add(every) || count < count_min.max(1) {
            return None;
        }
        let turns_count = (turn + 1) & COUNT_MASK;
        let next = now << COUNT_BITS | turns_count;
        self.turn
            .compare_exchange(turn, next, Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        let sum = self.sum.swap(0, Ordering::Relaxed);
        let peak = self.peak.swap(0, Ordering::Relaxed);
        (sum & COUNT_MASK > 0).then_some(Taken {
            count: sum & COUNT_MASK,
            sum: sum >> COUNT_BITS,
            peak,
            turns_count,
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::region::tests::shared_cells;

    #[test]
    fn a_turn_needs_its_time_and_its_samples() {
        let cells = shared_cells(3);
        let samples = Samples::new(&cells, 0);
        samples.add(10, 3);
        assert_eq!(samples.try_take(1_000, 100, 2), None, "too few");
        samples.add(30, 2);
        assert_eq!(samples.try_take(99, 100, 2), None, "too early");
        let taken = Taken {
            count: 2,
            sum: 40,
            peak: 3,
            turns_count: 1,
        };
        assert_eq!(samples.try_take(1_000, 100, 2), Some(taken));
        assert_eq!(samples.last_turn(), 1_000);
        samples.add(u64::MAX, 1);
        assert_eq!(samples.try_take(1_099, 100, 1), None);
        let taken = samples.try_take(1_100, 100, 1).unwrap();
        assert_eq!((taken.count, taken.sum, taken.peak), (1, VALUE_MAX, 1));
    }

    #[test]
    fn no_sample_is_lost_or_taken_twice() {
        let cells = shared_cells(3);
        let now = std::sync::atomic::AtomicU64::new(0);
        let taken_count: u64 = std::thread::scope(|scope| {
            let work = || {
                let samples = Samples::new(&cells, 0);
                (0..5_000)
                    .filter_map(|_| {
                        samples.add(7, 1);
                        let now = now.fetch_add(1, Ordering::Relaxed);
                        samples.try_take(now, 3, 2)
                    })
                    .map(|taken| {
                        assert_eq!(taken.sum, taken.count * 7);
                        taken.count
                    })
                    .sum::<u64>()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        let left = Samples::new(&cells, 0).try_take(1 << 30, 0, 1);
        let left_count = left.map_or(0, |taken| taken.count);
        assert_eq!(taken_count + left_count, 20_000);
    }
}
