//! A breaker's whole state in 64 bits, so that processes can share it in one atomic cell.
//!
//! ```text
//!   63..62 phase | 61..48 generation | 47..40 a | 39..32 b | 31..0 time in ticks of 10 ms
//!   Closed: a = failures in a row      Open: time = since
//!   HalfOpen: a = admitted, b = succeeded, time = last admitted
//!   Forced: a = 0 closed, 1 open
//! ```
//!
//! All zeroes is a closed breaker, which is what fresh memory holds. Counts end at 255, so thresholds above
//! that count as 255. Times are exact to a tick and unambiguous for 497 days; generations are unambiguous
//! over 16,382 changes of state, which no late result outlives.

use super::{Breaker, BreakerConfig, Forced, Phase};

/// A step of the time.
pub(super) const TICK_NS: u64 = 10_000_000;
const GENERATIONS_COUNT: u64 = (1 << 14) - 1;

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
const FORCED: u64 = 3;

impl Breaker {
    /// The breaker that `to_bits` packed. `now_ns` must not be before the time at which it was.
    pub fn from_bits(cfg: BreakerConfig, bits: u64, now_ns: u64) -> Self {
        let (a, b) = ((bits >> 40 & 0xff) as u32, (bits >> 32 & 0xff) as u32);
        let now_ticks = now_ns / TICK_NS;
        let age_ticks = (now_ticks as u32).wrapping_sub(bits as u32);
        let at_ns = now_ticks.saturating_sub(u64::from(age_ticks)) * TICK_NS;
        let phase = match bits >> 62 {
            OPEN => Phase::Open { since_ns: at_ns },
            HALF_OPEN => Phase::HalfOpen {
                admitted: a,
                succeeded: b,
                last_admitted_ns: at_ns,
            },
            FORCED if a == 0 => Phase::Forced(Forced::Closed),
            FORCED => Phase::Forced(Forced::Open),
            _ => Phase::Closed {
                failures_in_a_row: a,
            },
        };
        Self {
            cfg: BreakerConfig {
                failure_threshold: cfg.failure_threshold.min(0xff),
                half_open_requests: cfg.half_open_requests.min(0xff),
                ..cfg
            },
            phase,
            generation: (bits >> 48 & GENERATIONS_COUNT).max(1),
        }
    }

    /// The state without the configuration.
    pub fn to_bits(&self) -> u64 {
        let ticks = |at_ns: u64| u64::from((at_ns / TICK_NS) as u32);
        let count = |count: u32| u64::from(count.min(0xff));
        let phase = match self.phase {
            Phase::Closed { failures_in_a_row } => CLOSED << 62 | count(failures_in_a_row) << 40,
            Phase::Open { since_ns } => OPEN << 62 | ticks(since_ns),
            Phase::HalfOpen {
                admitted,
                succeeded,
                last_admitted_ns,
            } => {
                HALF_OPEN << 62
                    | count(admitted) << 40
                    | count(succeeded) << 32
                    | ticks(last_admitted_ns)
            }
            Phase::Forced(forced) => FORCED << 62 | u64::from(forced == Forced::Open) << 40,
        };
        // Never 0, like a ticket.
        let generation = (self.generation - 1) % GENERATIONS_COUNT + 1;
        phase | generation << 48
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{State, Ticket};
    use proptest::prelude::*;

    const CFG: BreakerConfig = BreakerConfig {
        failure_threshold: 2,
        recovery_timeout_ns: 5 * TICK_NS,
        recovery_jitter_percent: 60,
        half_open_requests: 2,
    };

    #[test]
    fn fresh_memory_is_a_closed_breaker() {
        let breaker = Breaker::from_bits(CFG, 0, 77);
        assert_eq!(breaker.state(77), State::Closed);
        assert_ne!(breaker.ticket().generation(), 0);
    }

    #[test]
    fn time_is_kept_when_the_ticks_wrap() {
        let now_ns = (1 << 32) * TICK_NS;
        let mut breaker = Breaker::new(CFG);
        for _ in 0..2 {
            let ticket = breaker.ticket();
            breaker.on_failure(ticket, now_ns - TICK_NS);
        }
        let bits = breaker.to_bits();
        let cfg = BreakerConfig {
            recovery_jitter_percent: 0,
            ..CFG
        };
        let later = |ticks: u64| Breaker::from_bits(cfg, bits, now_ns + ticks * TICK_NS);
        assert_eq!(later(3).state(now_ns + 3 * TICK_NS), State::Open);
        assert_eq!(later(4).state(now_ns + 4 * TICK_NS), State::HalfOpen);
    }

    proptest! {
        /// Packed and unpacked around every step, a breaker does what it does without.
        #[test]
        fn packing_changes_nothing(steps in prop::collection::vec((0..8_u8, 0..8_u64, 0..4_usize), 0..200)) {
            let mut plain = Breaker::new(CFG);
            let mut bits = 0;
            let mut tickets: Vec<(Ticket, Ticket)> = vec![];
            let mut now_ns = 0;
            for (step, wait_ticks, index) in steps {
                now_ns += wait_ticks * TICK_NS;
                let mut packed = Breaker::from_bits(CFG, bits, now_ns);
                prop_assert_eq!(plain.state(now_ns), packed.state(now_ns));
                prop_assert_eq!(plain.forced(), packed.forced());
                let chosen = (index < tickets.len()).then(|| tickets.swap_remove(index));
                match (step, chosen) {
                    (4, _) if index == 0 => {
                        plain.force(Forced::Open);
                        packed.force(Forced::Open);
                    }
                    (4, _) if index == 1 => {
                        plain.force(Forced::Closed);
                        packed.force(Forced::Closed);
                    }
                    (5, _) if index == 0 => {
                        plain.reset();
                        packed.reset();
                    }
                    (0, _) | (_, None) => {
                        let both = (plain.try_acquire(now_ns), packed.try_acquire(now_ns));
                        prop_assert_eq!(both.0.is_some(), both.1.is_some());
                        if let (Some(a), Some(b)) = both {
                            tickets.push((a, b));
                        }
                    }
                    (1, Some((a, b))) => {
                        plain.on_success(a);
                        packed.on_success(b);
                    }
                    (2, Some((a, b))) => {
                        plain.on_failure(a, now_ns);
                        packed.on_failure(b, now_ns);
                    }
                    (6, Some((a, b))) => {
                        plain.trip(a, now_ns);
                        packed.trip(b, now_ns);
                    }
                    (7, Some((a, b))) => {
                        plain.on_slow_success(a, now_ns);
                        packed.on_slow_success(b, now_ns);
                    }
                    (_, Some((a, b))) => {
                        plain.on_cancel(a);
                        packed.on_cancel(b);
                    }
                }
                bits = packed.to_bits();
            }
        }
    }
}
