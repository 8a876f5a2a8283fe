//! How much of the traffic retries may add.
//!
//! Retries multiply load exactly when an upstream can bear it least. A budget lets a share of the
//! recent requests be retries, whatever the number of attempts each is allowed: with 20 %, the load
//! grows by a fifth at the worst. Requests are counted over a sliding window of ten buckets;
//! retries count from the moment that they are granted, so those that wait out their backoff are in
//! the books. A floor lets a quiet service retry at all (Linkerd and Finagle found that a pure
//! share starves services with little traffic).

const BUCKETS_COUNT: usize = 10;

/// One bucket lasts a second, so the window is ten.
const BUCKET_NS: u64 = 1_000_000_000;

/// The budget of one proxy and worker.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    percent: u32,
    floor_count: u32,
    requests: [u32; BUCKETS_COUNT],
    retries: [u32; BUCKETS_COUNT],
    /// Number of the newest bucket since the clock's beginning.
    newest: u64,
}

impl RetryBudget {
    /// Retries up to `percent` of the requests of the last ten seconds, and always `floor_count` of
    /// them.
    pub fn new(percent: u32, floor_count: u32) -> Self {
        Self {
            percent,
            floor_count,
            requests: [0; BUCKETS_COUNT],
            retries: [0; BUCKETS_COUNT],
            newest: 0,
        }
    }

    /// A request has begun.
    #[inline]
    pub fn on_request(&mut self, now_ns: u64) {
        let bucket = self.bucket(now_ns);
        self.requests[bucket] = self.requests[bucket].saturating_add(1);
    }

    /// Takes one retry out of the budget, if there is one.
    pub fn try_retry(&mut self, now_ns: u64) -> bool {
        let bucket = self.bucket(now_ns);
        let sum = |counts: &[u32; BUCKETS_COUNT]| {
            counts.iter().map(|&count| u64::from(count)).sum::<u64>()
        };
        let allowed =
            (sum(&self.requests) * u64::from(self.percent) / 100).max(u64::from(self.floor_count));
        if sum(&self.retries) >= allowed {
            return false;
        }
        self.retries[bucket] += 1;
        true
    }

    #[inline]
    fn bucket(&mut self, now_ns: u64) -> usize {
        let number = now_ns / BUCKET_NS;
        if number > self.newest {
            let passed = (number - self.newest).min(BUCKETS_COUNT as u64);
            for old in 0..passed {
                let index = ((number - old) % BUCKETS_COUNT as u64) as usize;
                self.requests[index] = 0;
                self.retries[index] = 0;
            }
            self.newest = number;
        }
        (self.newest % BUCKETS_COUNT as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_requests_may_be_retries() {
        let mut budget = RetryBudget::new(20, 0);
        for _ in 0..100 {
            budget.on_request(5 * BUCKET_NS);
        }
        let granted = (0..100).filter(|_| budget.try_retry(5 * BUCKET_NS)).count();
        assert_eq!(granted, 20);
    }

    #[test]
    fn a_quiet_service_may_retry_up_to_the_floor() {
        let mut budget = RetryBudget::new(20, 3);
        let granted = (0..10).filter(|_| budget.try_retry(BUCKET_NS)).count();
        assert_eq!(granted, 3);
    }

    #[test]
    fn the_window_forgets() {
        let mut budget = RetryBudget::new(100, 0);
        budget.on_request(BUCKET_NS);
        assert!(budget.try_retry(2 * BUCKET_NS));
        assert!(!budget.try_retry(2 * BUCKET_NS));
        budget.on_request(9 * BUCKET_NS);
        assert!(
            budget.try_retry(10 * BUCKET_NS),
            "both requests are within ten seconds"
        );
        assert!(
            !budget.try_retry(11 * BUCKET_NS),
            "the first request and its retry: one left, one used"
        );
        assert!(!budget.try_retry(40 * BUCKET_NS), "nothing is left of them");
    }

    /// Against the obvious model: lists of times.
    #[test]
    fn agrees_with_lists_of_times() {
        let mut state = 7_u64;
        let mut next = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut budget = RetryBudget::new(20, 2);
        let (mut requests, mut retries, mut now_ns) = (Vec::new(), Vec::new(), 0);
        for _ in 0..20_000 {
            now_ns += next(BUCKET_NS / 2);
            let recent = |times: &[u64]| {
                let oldest = (now_ns / BUCKET_NS).saturating_sub(BUCKETS_COUNT as u64 - 1);
                times
                    .iter()
                    .filter(|&&at_ns| at_ns / BUCKET_NS >= oldest)
                    .count() as u64
            };
            if next(3) > 0 {
                budget.on_request(now_ns);
                requests.push(now_ns);
            } else {
                let expected = recent(&retries) < (recent(&requests) * 20 / 100).max(2);
                assert_eq!(budget.try_retry(now_ns), expected);
                if expected {
                    retries.push(now_ns);
                }
            }
        }
    }
}
