//! Idle upstream connections: the most recently used is taken first, the least recently used is given up
//! first.
//!
//! Taking the warmest lets the surplus of a burst age and close; its congestion window is open and it is
//! the one least likely to have been closed by the peer. The lists hold keys in the order of return, so
//! the newest of a target is at the end of its list and the oldest of all is at the front of the longest
//! waiting. Bounds: `idle_max` in all and `idle_per_host_max` a target (FR-005, FR-006).

use std::collections::VecDeque;

use crate::slab::Key;

/// Idle connections by target.
#[derive(Default)]
pub(crate) struct IdlePool {
    by_target: Vec<VecDeque<(u64, Key)>>,
    len: usize,
}

impl IdlePool {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The warmest idle connection to a target.
    pub(crate) fn take(&mut self, target: u32) -> Option<Key> {
        let (_, key) = self.by_target.get_mut(target as usize)?.pop_back()?;
        self.len -= 1;
        Some(key)
    }

    /// Keeps a connection; returns the one to close instead, if a bound is passed.
    pub(crate) fn put(
        &mut self,
        target: u32,
        key: Key,
        now_ns: u64,
        idle_max: usize,
        idle_per_host_max: usize,
    ) -> Option<Key> {
        let target = target as usize;
        if idle_max == 0 || idle_per_host_max == 0 {
            return Some(key);
        }
        if target >= self.by_target.len() {
            self.by_target.resize_with(target + 1, VecDeque::new);
        }
        self.by_target[target].push_back((now_ns, key));
        self.len += 1;
        if self.by_target[target].len() > idle_per_host_max {
            return self.pop_oldest(target);
        }
        if self.len > idle_max {
            let oldest = (0..self.by_target.len())
                .filter_map(|target| {
                    self.by_target[target]
                        .front()
                        .map(|&(at_ns, _)| (at_ns, target))
                })
                .min()
                .map(|(_, target)| target)?;
            return self.pop_oldest(oldest);
        }
        None
    }

    /// Forgets a connection that closed or timed out. The oldest are found at once.
    pub(crate) fn remove(&mut self, target: u32, key: Key) {
        let Some(list) = self.by_target.get_mut(target as usize) else {
            return;
        };
        if let Some(position) = list.iter().position(|&(_, idle)| idle == key) {
            list.remove(position);
            self.len -= 1;
        }
    }

    fn pop_oldest(&mut self, target: usize) -> Option<Key> {
        let (_, key) = self.by_target[target].pop_front()?;
        self.len -= 1;
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u64) -> Key {
        Key::from_bits(index)
    }

    #[test]
    fn the_most_recently_used_is_taken_first() {
        let mut pool = IdlePool::default();
        for index in 0..3 {
            assert_eq!(pool.put(0, key(index), index, 10, 10), None);
        }
        assert_eq!(pool.take(0), Some(key(2)));
        assert_eq!(pool.take(1), None);
        assert_eq!(pool.len(), 2);
    }

    #[test]
    fn the_bound_of_a_target_gives_up_its_oldest() {
        let mut pool = IdlePool::default();
        assert_eq!(pool.put(0, key(1), 1, 10, 2), None);
        assert_eq!(pool.put(0, key(2), 2, 10, 2), None);
        assert_eq!(pool.put(0, key(3), 3, 10, 2), Some(key(1)));
        assert_eq!(pool.len(), 2);
    }

    #[test]
    fn the_bound_of_all_gives_up_the_oldest_of_all() {
        let mut pool = IdlePool::default();
        pool.put(1, key(1), 1, 2, 2);
        pool.put(0, key(2), 2, 2, 2);
        assert_eq!(pool.put(0, key(3), 3, 2, 2), Some(key(1)));
        pool.remove(0, key(2));
        assert_eq!(pool.take(0), Some(key(3)));
        assert_eq!(pool.len(), 0);
    }

    #[test]
    fn a_bound_of_zero_keeps_nothing() {
        let mut pool = IdlePool::default();
        assert_eq!(pool.put(0, key(1), 1, 0, 5), Some(key(1)));
        assert_eq!(pool.len(), 0);
    }
}
