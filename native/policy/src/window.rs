//! How many of the latest calls failed or were slow, in cells that workers share.
//!
//! The window is a ring of ten buckets, each one tenth of it and one 64-bit number:
//!
//! ```text
//!   63..56 epoch | 55..39 bucket number | 38..26 slow | 25..13 failed | 12..0 all
//! ```
//!
//! Here is only what a bucket's number becomes when a call is added and what the ten say together;
//! whoever keeps them changes a bucket in one atomic step and reads all afterwards.
//!
//! - A bucket that is out of date, by its number or by its epoch (the breaker's generation), counts
//!   nothing and is begun anew by the next call that falls into it. So nothing ever has to clear the
//!   ring, and what was counted before the breaker opened does not open it again.
//! - Counts end at 8,191 a bucket; a full bucket halves all three, which keeps their ratio.
//! - Bucket numbers are unambiguous over 131,072 buckets, which is 36 hours for a window of ten
//!   seconds.
//!
//! # Floors, and the bug that each one stops
//!
//! - `volume_min`: the first failure after a quiet night is 100 % of one call. Below so many calls the
//!   ratio says nothing.
//! - Only a bad call trips: otherwise the success that fills up `volume_min`, or an old success that
//!   leaves the window, would open the breaker on good news.
//! - A window of one second at least: workers read their clocks some microseconds before they count,
//!   which must be little beside a bucket.

/// Buckets of a window.
pub const BUCKETS_COUNT: usize = 10;

const COUNT_BITS: u32 = 13;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const NUMBER_BITS: u32 = 17;
const NUMBER_MASK: u64 = (1 << NUMBER_BITS) - 1;
const EPOCH_MASK: u64 = 0xff;

const WINDOW_MIN_NS: u64 = 1_000_000_000;

/// When the share of bad calls is too high.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowConfig {
    /// How far back calls count, in steps of a tenth; less than a second counts as one.
    pub window_ns: u64,
    /// Calls below which no share says anything; 0 counts as 1.
    pub volume_min: u32,
    /// Failed calls that trip, in percent of all; 0 never does.
    pub failure_percent: u32,
    /// Slow calls that trip, in percent of all; 0 never does.
    pub slow_percent: u32,
}

/// How a call went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// It failed.
    pub failed: bool,
    /// It took too long to begin its answer.
    pub slow: bool,
}

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// All calls.
    pub all: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were slow.
    pub slow: u64,
}

struct Bucket {
    epoch: u64,
    number: u64,
    slow: u64,
    failed: u64,
    all: u64,
}

impl Bucket {
    const fn from_bits(bits: u64) -> Self {
        Self {
            epoch: bits >> 56,
            number: bits >> (3 * COUNT_BITS) & NUMBER_MASK,
            slow: bits >> (2 * COUNT_BITS) & COUNT_MAX,
            failed: bits >> COUNT_BITS & COUNT_MAX,
            all: bits & COUNT_MAX,
        }
    }

    const fn to_bits(&self) -> u64 {
        self.epoch << 56
            | self.number << (3 * COUNT_BITS)
            | self.slow << (2 * COUNT_BITS)
            | self.failed << COUNT_BITS
            | self.all
    }
}

/// Whether `a` comes after `b` on a circle of `mask + 1` numbers.
const fn is_after(a: u64, b: u64, mask: u64) -> bool {
    let ahead = a.wrapping_sub(b) & mask;
    ahead != 0 && ahead <= mask / 2
}

impl WindowConfig {
    /// The bucket that a call at this time falls into.
    pub fn index(&self, now_ns: u64) -> usize {
        (self.number(now_ns) % BUCKETS_COUNT as u64) as usize
    }

    /// What the bucket at [`Self::index`] becomes by one more call. A call that is late by a whole
    /// window, or of an epoch that is over, changes nothing.
    pub fn add(&self, bits: u64, now_ns: u64, epoch: u64, outcome: Outcome) -> u64 {
        let (number, epoch) = (self.number(now_ns) & NUMBER_MASK, epoch & EPOCH_MASK);
        let mut bucket = Bucket::from_bits(bits);
        if bucket.all == 0 || (bucket.epoch, bucket.number) != (epoch, number) {
            let is_late = bucket.all > 0
                && (is_after(bucket.epoch, epoch, EPOCH_MASK)
                    || bucket.epoch == epoch && is_after(bucket.number, number, NUMBER_MASK));
            if is_late {
                return bits;
            }
            bucket = Bucket {
                epoch,
                number,
                slow: 0,
                failed: 0,
                all: 0,
            };
        }
        if bucket.all == COUNT_MAX {
            bucket.all /= 2;
            bucket.failed /= 2;
            bucket.slow /= 2;
        }
        bucket.all += 1;
        bucket.failed += u64::from(outcome.failed);
        bucket.slow += u64::from(outcome.slow);
        bucket.to_bits()
    }

    /// The calls of the window that ends now.
    pub fn totals(&self, buckets: &[u64; BUCKETS_COUNT], now_ns: u64, epoch: u64) -> Totals {
        let newest = self.number(now_ns);
        let mut totals = Totals::default();
        for (index, &bits) in buckets.iter().enumerate() {
            let bucket = Bucket::from_bits(bits);
            let age = newest.wrapping_sub(bucket.number) & NUMBER_MASK;
            let is_live = bucket.epoch == epoch & EPOCH_MASK
                && age < BUCKETS_COUNT as u64
                && age <= newest
                && (newest - age) % BUCKETS_COUNT as u64 == index as u64;
            if is_live {
                totals.all += bucket.all;
                totals.failed += bucket.failed;
                totals.slow += bucket.slow;
            }
        }
        totals
    }

    /// Whether a call that went like this, with these totals after it, trips.
    pub fn trips(&self, outcome: Outcome, totals: Totals) -> bool {
        let reaches =
            |bad: u64, percent: u32| percent > 0 && bad * 100 >= totals.all * u64::from(percent);
        totals.all >= u64::from(self.volume_min.max(1))
            && (outcome.failed && reaches(totals.failed, self.failure_percent)
                || outcome.slow && reaches(totals.slow, self.slow_percent))
    }

    fn number(&self, now_ns: u64) -> u64 {
        now_ns / (self.window_ns.max(WINDOW_MIN_NS) / BUCKETS_COUNT as u64)
    }
}

#[cfg(test)]
mod tests;
