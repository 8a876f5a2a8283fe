//! A limit on how many run at once, with a queue of those who wait for their turn.
//!
//! A permit that comes back goes straight to whoever has waited longest: it is never free while
//! somebody waits, so nobody who arrives later can snatch it on the way.

use crate::wait_queue::{WaitKey, WaitQueue};

/// What became of a permit that was given back.
#[derive(Debug, PartialEq, Eq)]
pub enum Released<T> {
    /// It now belongs to this waiter, who is to be told.
    PassedTo(T),
    /// It is free: nobody waited.
    Freed,
    /// There was none to give back: a mistake of the caller, which changed nothing.
    NotHeld,
}

/// At most `permits_max` permits in use; `T` is whatever tells a waiter that it has one.
///
/// Invariant: while anybody waits, every permit is in use.
#[derive(Debug)]
pub struct Limiter<T> {
    permits_max: u64,
    in_use: u64,
    waiters: WaitQueue<T>,
}

impl<T> Limiter<T> {
    /// A limiter of `permits_max` permits (`None` = no limit) with room for `waiters_max` waiters.
    pub const fn new(permits_max: Option<u64>, waiters_max: usize) -> Self {
        let permits_max = match permits_max {
            Some(permits_max) => permits_max,
            None => u64::MAX,
        };
        Self {
            permits_max,
            in_use: 0,
            waiters: WaitQueue::new(waiters_max),
        }
    }

    /// Takes a permit if one is free.
    #[inline]
    pub fn try_acquire(&mut self) -> bool {
        let free = self.in_use < self.permits_max;
        self.in_use += u64::from(free);
        free
    }

    /// Takes a permit (`Ok(None)`), or joins the queue (`Ok(Some(key))`). Gives the waiter back
    /// when the queue is full.
    pub fn acquire_or_enqueue(
        &mut self,
        waiter: T,
        deadline_ns: Option<u64>,
    ) -> Result<Option<WaitKey>, T> {
        if self.try_acquire() {
            return Ok(None);
        }
        self.waiters.enqueue(waiter, deadline_ns).map(Some)
    }

    /// Gives a permit back.
    #[inline]
    pub fn release(&mut self) -> Released<T> {
        if self.in_use == 0 {
            return Released::NotHeld;
        }
        match self.waiters.pop() {
            Some(waiter) => Released::PassedTo(waiter),
            None => {
                self.in_use -= 1;
                Released::Freed
            }
        }
    }

    /// Takes a waiter out of the queue. `None` when it has a permit by now, which is then its own
    /// to give back.
    pub fn give_up(&mut self, key: WaitKey) -> Option<T> {
        self.waiters.remove(key)
    }

    /// Takes out one waiter whose deadline has come; call it until `None`.
    pub fn expire(&mut self, now_ns: u64) -> Option<T> {
        self.waiters.expire(now_ns)
    }

    /// Permits in use.
    pub const fn in_use(&self) -> u64 {
        self.in_use
    }

    /// Permits that are free; `None` when there is no limit.
    pub const fn available(&self) -> Option<u64> {
        if self.permits_max == u64::MAX {
            None
        } else {
            Some(self.permits_max - self.in_use)
        }
    }

    /// Those who wait, in the order in which they will be served.
    pub const fn waiters(&self) -> &WaitQueue<T> {
        &self.waiters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_permit_goes_to_who_has_waited_longest() {
        let mut limiter = Limiter::new(Some(1), 8);
        assert_eq!(limiter.acquire_or_enqueue("holder", None), Ok(None));
        let first = limiter.acquire_or_enqueue("first", None).unwrap().unwrap();
        assert!(
            limiter
                .acquire_or_enqueue("second", None)
                .unwrap()
                .is_some()
        );
        assert!(!limiter.try_acquire());
        assert_eq!(limiter.release(), Released::PassedTo("first"));
        assert_eq!(
            limiter.give_up(first),
            None,
            "the permit is the first waiter's by now"
        );
        assert_eq!(limiter.release(), Released::PassedTo("second"));
        assert_eq!(limiter.release(), Released::Freed);
        assert_eq!(limiter.release(), Released::NotHeld);
    }

    #[test]
    fn who_gives_up_or_expires_gets_no_permit() {
        let mut limiter = Limiter::new(Some(1), 2);
        assert!(limiter.try_acquire());
        let patient = limiter
            .acquire_or_enqueue("patient", Some(100))
            .unwrap()
            .unwrap();
        limiter.acquire_or_enqueue("hasty", Some(50)).unwrap();
        assert_eq!(
            limiter.acquire_or_enqueue("too many", None),
            Err("too many")
        );
        assert_eq!(limiter.waiters().next_deadline_ns(), Some(50));
        assert_eq!(limiter.expire(49), None);
        assert_eq!(limiter.expire(50), Some("hasty"));
        assert_eq!(limiter.give_up(patient), Some("patient"));
        assert_eq!(limiter.release(), Released::Freed);
    }

    #[test]
    fn without_a_limit_permits_are_still_counted() {
        let mut limiter = Limiter::<()>::new(None, 0);
        assert!((0..1000).all(|_| limiter.try_acquire()));
        assert_eq!((limiter.in_use(), limiter.available()), (1000, None));
        assert!((0..1000).all(|_| limiter.release() == Released::Freed));
        assert_eq!(limiter.release(), Released::NotHeld);
    }

    proptest! {
        /// Permits in use are those who hold one, at most the limit, and nobody waits beside a
        /// free permit.
        #[test]
        fn permits_are_exact(
            permits_max in 0..4u64,
            waiters_max in 0..4usize,
            steps in prop::collection::vec((0..4u8, any::<prop::sample::Index>()), 0..100),
        ) {
            let mut limiter = Limiter::new(Some(permits_max), waiters_max);
            let mut holders = 0;
            let mut waiting: Vec<(usize, WaitKey)> = Vec::new();
            for (number, (step, index)) in steps.into_iter().enumerate() {
                match step {
                    0 => holders += u64::from(limiter.try_acquire()),
                    1 => match limiter.acquire_or_enqueue(number, None) {
                        Ok(None) => holders += 1,
                        Ok(Some(key)) => waiting.push((number, key)),
                        Err(waiter) => {
                            prop_assert_eq!(waiter, number);
                            prop_assert_eq!(waiting.len(), waiters_max);
                        }
                    },
                    2 => match limiter.release() {
                        Released::PassedTo(waiter) => {
                            prop_assert_eq!(waiter, waiting.remove(0).0);
                        }
                        Released::Freed => holders -= 1,
                        Released::NotHeld => prop_assert_eq!(holders, 0),
                    },
                    _ if waiting.is_empty() => {}
                    _ => {
                        let (waiter, key) = waiting.remove(index.index(waiting.len()));
                        prop_assert_eq!(limiter.give_up(key), Some(waiter));
                    }
                }
                prop_assert_eq!(limiter.in_use(), holders);
                prop_assert!(holders <= permits_max);
                prop_assert_eq!(limiter.available(), Some(permits_max - holders));
                prop_assert_eq!(limiter.waiters().len(), waiting.len());
                prop_assert!(waiting.is_empty() || holders == permits_max);
            }
        }
    }
}
