//! A concurrency limit that finds itself: as many exchanges at a time as an upstream answers about as
//! fast as it can.
//!
//! What more concurrency than an upstream can use turns into is waiting inside it, and waiting shows in
//! the time to the first byte. So the limit follows the ratio, the *gradient*, of that time as it is
//! without load (the *baseline*) and as it has just been, with some tolerance:
//!
//! ```text
//!   gradient = clamp(baseline * (100 + tolerance_percent) / 100 / mean, 0.5 ..= 1)
//!   limit    = midway between limit and limit * gradient + sqrt(limit)
//! ```
//!
//! The root is headroom by which the limit grows while nothing waits. In balance an upstream of capacity
//! `c` gets `c * (1 + tolerance) + sqrt(limit)` (Netflix's concurrency-limits and Envoy's adaptive
//! concurrency filter use the same idea).
//!
//! # Phases
//!
//! | phase   | limit              | after an interval                         |
//! |---------|--------------------|-------------------------------------------|
//! | Measure | small              | the mean is the baseline; Steady          |
//! | Steady  | by the gradient    | the next limit; every so often: Drain     |
//! | Drain   | half of the former | Measure, with what waited inside now gone |
//!
//! # Floors, and the bug that each one stops
//!
//! - The baseline is measured at half of the limit, not remembered as the lowest mean: under steady
//!   load the lowest mean would creep up with the waiting that the limit allows, and the limit after
//!   it; and of many noisy means the lowest is far below what is usual.
//! - A limit of which less than half was in use does not move: else it grows to the maximum in a
//!   quiet hour, and the next rush finds no limit. Such an interval is a measurement for nothing.
//! - The gradient ends at one half: a single stalled interval must not close the gate.
//! - The first limit is the least: a fragile upstream is not to be overrun to find out what it bears.

/// The bounds and habits of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GradientConfig {
    /// Least limit; 0 counts as 1.
    pub limit_min: u32,
    /// Greatest limit, up to 65,535.
    pub limit_max: u32,
    /// How much slower than without load an upstream may answer, in percent.
    pub tolerance_percent: u32,
}

/// The greatest limit that can be told apart.
const LIMIT_MAX: u32 = 0xffff;

const BASELINE_MAX_US: u64 = (1 << 30) - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Measure,
    Steady,
    Drain,
}

/// What an interval has shown.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    /// Mean time to the first byte of exchanges that began in it, in microseconds.
    pub mean_us: u64,
    /// Most exchanges at a time.
    pub peak: u32,
    /// Whether it is time to measure the baseline anew.
    pub measure: bool,
}

/// A limit and what it goes by.
#[derive(Clone, Copy, Debug)]
pub struct Gradient {
    cfg: GradientConfig,
    phase: Phase,
    limit: u32,
    /// The limit to go back to after the measurement; 0 for none.
    saved: u32,
    baseline_us: u64,
}

impl Gradient {
    /// The state that [`Self::to_bits`] packed; of fresh memory, the first state.
    ///
    /// ```text
    ///   63..62 phase | 61..46 limit | 45..30 saved | 29..0 baseline in microseconds
    /// ```
    pub fn from_bits(cfg: GradientConfig, bits: u64) -> Self {
        let limit_min = cfg.limit_min.clamp(1, LIMIT_MAX);
        let limit_max = cfg.limit_max.clamp(limit_min, LIMIT_MAX);
        Self {
            cfg: GradientConfig {
                limit_min,
                limit_max,
                ..cfg
            },
            phase: match bits >> 62 {
                0 => Phase::Measure,
                1 => Phase::Steady,
                _ => Phase::Drain,
            },
            limit: ((bits >> 46) as u32 & 0xffff).clamp(limit_min, limit_max),
            saved: (bits >> 30) as u32 & 0xffff,
            baseline_us: bits & BASELINE_MAX_US,
        }
    }

    /// The state without the configuration.
    pub const fn to_bits(&self) -> u64 {
        let phase = match self.phase {
            Phase::Measure => 0,
            Phase::Steady => 1,
            Phase::Drain => 2,
        };
        phase << 62 | (self.limit as u64) << 46 | (self.saved as u64) << 30 | self.baseline_us
    }

    /// Most exchanges at a time.
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Mean time to the first byte without load, in microseconds; 0 before it is known.
    pub const fn baseline_us(&self) -> u64 {
        self.baseline_us
    }

    /// Moves on after an interval with enough exchanges in it to say something.
    pub fn on_interval(&mut self, interval: Interval) {
        let is_idle = u64::from(interval.peak) * 2 <= u64::from(self.limit);
        match self.phase {
            Phase::Measure => {
                self.measure(interval.mean_us);
                if self.saved > 0 {
                    self.limit = self.saved.clamp(self.cfg.limit_min, self.cfg.limit_max);
                    self.saved = 0;
                }
                self.phase = Phase::Steady;
            }
            Phase::Drain => self.phase = Phase::Measure,
            Phase::Steady if interval.measure && is_idle => self.measure(interval.mean_us),
            Phase::Steady if interval.measure => {
                self.saved = self.limit;
                self.limit = (self.limit / 2).max(self.cfg.limit_min);
                self.phase = Phase::Drain;
            }
            Phase::Steady if is_idle => {}
            Phase::Steady => self.limit = self.next_limit(interval.mean_us),
        }
    }

    fn measure(&mut self, mean_us: u64) {
        self.baseline_us = mean_us.clamp(1, BASELINE_MAX_US);
    }

    fn next_limit(&self, mean_us: u64) -> u32 {
        let limit = f64::from(self.limit);
        let allowed_us =
            self.baseline_us as f64 * (1.0 + f64::from(self.cfg.tolerance_percent) / 100.0);
        let gradient = (allowed_us / mean_us.max(1) as f64).clamp(0.5, 1.0);
        let next = (limit + limit * gradient + limit.sqrt()) / 2.0;
        // Away from the present limit, so that a small one moves at all.
        let next = if next > limit {
            next.ceil()
        } else {
            next.floor()
        };
        (next as u32).clamp(self.cfg.limit_min, self.cfg.limit_max)
    }
}

#[cfg(test)]
mod tests;
