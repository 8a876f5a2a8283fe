//! Requests that wait for a fault, by the time at which they go on.

use std::collections::BTreeSet;

/// The requests of one worker thread that wait.
///
/// Cost: logarithmic in their number. Memory: two numbers a request.
#[derive(Debug, Default)]
pub struct Waiting {
    by_time: BTreeSet<(u64, u32)>,
}

impl Waiting {
    /// Request `id` waits until `at_ns`.
    pub fn insert(&mut self, at_ns: u64, id: u32) {
        self.by_time.insert((at_ns, id));
    }

    /// Request `id`, which waited until `at_ns`, is gone.
    pub fn remove(&mut self, at_ns: u64, id: u32) {
        self.by_time.remove(&(at_ns, id));
    }

    /// Takes out one whose time has come; the earliest first.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<u32> {
        let (at_ns, _) = *self.by_time.first()?;
        (at_ns <= now_ns)
            .then(|| self.by_time.pop_first())?
            .map(|(_, id)| id)
    }

    /// When the next one goes on.
    pub fn earliest_ns(&self) -> Option<u64> {
        self.by_time.first().map(|(at_ns, _)| *at_ns)
    }

    /// All of them.
    pub fn ids(&self) -> Vec<u32> {
        self.by_time.iter().map(|(_, id)| *id).collect()
    }
}

/// How long a timer of whole milliseconds has to run so that it ends at `at_ns` or later; never 0, which
/// would stop it.
pub fn timer_ms(now_ns: u64, at_ns: u64) -> u64 {
    at_ns.saturating_sub(now_ns).div_ceil(1_000_000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_go_on_in_order_and_never_early() {
        let mut waiting = Waiting::default();
        for (at_ns, id) in [(30, 1), (10, 2), (20, 3), (10, 4)] {
            waiting.insert(at_ns, id);
        }
        waiting.remove(20, 3);
        assert_eq!(waiting.earliest_ns(), Some(10));
        assert_eq!(waiting.pop_due(9), None);
        assert_eq!(
            (waiting.pop_due(10), waiting.pop_due(10)),
            (Some(2), Some(4))
        );
        assert_eq!(waiting.pop_due(29), None);
        assert_eq!(waiting.pop_due(30), Some(1));
        assert_eq!(waiting.earliest_ns(), None);
    }

    #[test]
    fn a_timer_is_rounded_up() {
        assert_eq!(timer_ms(0, 1), 1);
        assert_eq!(timer_ms(0, 1_000_001), 2);
        assert_eq!(timer_ms(5, 5), 1);
    }
}
