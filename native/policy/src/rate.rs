//! Rate limits: a token bucket in one number.
//!
//! The generic cell rate algorithm keeps the time at which the bucket will be full again, its *theoretical arrival
//! time*. A request moves it one interval on; it passes unless that would be more than a whole bucket away. That is a
//! bucket of `burst` tokens that gains one every interval, with the state in 64 bits, so that workers can share it by
//! compare-and-swap. A state in the past is a full bucket: 0 is the state of whoever has never been seen.
//! Source: ITU-T I.371 annex A.

/// How much may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval_ns: u64,
    burst: u32,
}

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether it passes.
    pub allowed: bool,
    /// Requests that could follow at once.
    pub remaining: u32,
    /// Until the bucket is full again.
    pub reset_ns: u64,
    /// Until a request could pass; 0 if this one did.
    pub retry_ns: u64,
}

impl Rate {
    /// So many requests within so long, at most `burst` of them at once. The interval is rounded up to a nanosecond;
    /// 0 counts as 1 everywhere.
    pub fn new(requests: u32, per_ns: u64, burst: u32) -> Self {
        Self {
            interval_ns: per_ns.div_ceil(u64::from(requests.max(1))).max(1),
            burst: burst.max(1),
        }
    }

    /// Most requests at once.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// Takes a token: the state after it, and what came of it.
    #[inline]
    pub fn take(&self, state: u64, now_ns: u64) -> (u64, Taken) {
        let whole_ns = self.interval_ns.saturating_mul(u64::from(self.burst));
        // Nobody can owe more than a whole bucket: a state beyond that is of a rate that was lower.
        let owed_ns = state.saturating_sub(now_ns).min(whole_ns);
        let after_ns = owed_ns.saturating_add(self.interval_ns);
        let allowed = after_ns <= whole_ns;
        let owed_ns = if allowed { after_ns } else { owed_ns };
        let taken = Taken {
            allowed,
            remaining: ((whole_ns - owed_ns) / self.interval_ns) as u32,
            reset_ns: owed_ns,
            retry_ns: if allowed { 0 } else { after_ns - whole_ns },
        };
        (now_ns.saturating_add(owed_ns), taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_then_one_an_interval() {
        let rate = Rate::new(10, SECOND, 3);
        let mut state = 0;
        let mut take = |now_ns| {
            let (next, taken) = rate.take(state, now_ns);
            state = next;
            taken
        };
        let left: Vec<u32> = (0..3).map(|_| take(5 * SECOND).remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = take(5 * SECOND);
        assert!(!refused.allowed);
        assert_eq!((refused.remaining, refused.retry_ns), (0, SECOND / 10));
        assert_eq!(refused.reset_ns, 3 * SECOND / 10);
        assert!(!take(5 * SECOND + SECOND / 10 - 1).allowed);
        assert!(take(5 * SECOND + SECOND / 10).allowed);
        assert!(!take(5 * SECOND + SECOND / 10).allowed);
    }

    #[test]
    fn a_state_of_a_slower_rate_is_a_bucket_that_is_empty() {
        let (state, _) = Rate::new(1, 3_600 * SECOND, 1).take(0, SECOND);
        let (_, taken) = Rate::new(10, SECOND, 1).take(state, SECOND);
        assert_eq!((taken.allowed, taken.retry_ns), (false, SECOND / 10));
    }

    proptest! {
        /// A bucket that is filled drop by drop, without the trick.
        #[test]
        fn it_is_a_token_bucket(
            interval in 1u64..1_000,
            burst in 1u32..20,
            gaps in prop::collection::vec(0u64..3_000, 1..100),
        ) {
            let rate = Rate::new(1, interval, burst);
            let whole = interval * u64::from(burst);
            let (mut state, mut now, mut drops) = (0, 0u64, whole);
            for gap in gaps {
                now += gap;
                drops = (drops + gap).min(whole);
                let (next, taken) = rate.take(state, now);
                let allowed = drops >= interval;
                prop_assert_eq!(taken.allowed, allowed);
                if allowed {
                    drops -= interval;
                } else {
                    prop_assert_eq!(taken.retry_ns, interval - drops);
                }
                prop_assert_eq!(u64::from(taken.remaining), drops / interval);
                prop_assert_eq!(taken.reset_ns, whole - drops);
                state = next;
            }
        }
    }
}
