//! A bounded queue of waiters: first come, first served, each with a deadline of its own.
//!
//! Two orders over the same waiters: by arrival, to serve them, and by deadline, to turn away those
//! who have waited too long. Every operation is O(log n) and leaves no tombstone, so that memory
//! follows the number of waiters and never the number of those who gave up.

use std::collections::{BTreeMap, BTreeSet};

/// A place in a queue, to leave it by. Never given out twice by one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitKey(u64);

/// A queue of at most `waiters_max` waiters.
#[derive(Debug)]
pub struct WaitQueue<T> {
    /// By arrival: keys only ever grow.
    by_arrival: BTreeMap<WaitKey, Waiting<T>>,
    /// Invariant: holds exactly the waiters of `by_arrival` that have a deadline.
    by_deadline: BTreeSet<(u64, WaitKey)>,
    next_key: WaitKey,
    waiters_max: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    waiter: T,
    deadline_ns: Option<u64>,
}

impl<T> WaitQueue<T> {
    /// An empty queue with room for `waiters_max`.
    pub const fn new(waiters_max: usize) -> Self {
        Self {
            by_arrival: BTreeMap::new(),
            by_deadline: BTreeSet::new(),
            next_key: WaitKey(0),
            waiters_max,
        }
    }

    /// Appends a waiter, who waits for ever without a deadline. Gives the waiter back when the
    /// queue is full.
    pub fn enqueue(&mut self, waiter: T, deadline_ns: Option<u64>) -> Result<WaitKey, T> {
        if self.by_arrival.len() >= self.waiters_max {
            return Err(waiter);
        }
        let key = self.next_key;
        self.next_key = WaitKey(key.0 + 1);
        self.by_deadline
            .extend(deadline_ns.map(|deadline_ns| (deadline_ns, key)));
        self.by_arrival.insert(
            key,
            Waiting {
                waiter,
                deadline_ns,
            },
        );
        Ok(key)
    }

    /// Takes out who has waited longest.
    pub fn pop(&mut self) -> Option<T> {
        let key = *self.by_arrival.first_key_value()?.0;
        self.remove(key)
    }

    /// Takes out a waiter that gives up. `None` when it is no longer in the queue.
    pub fn remove(&mut self, key: WaitKey) -> Option<T> {
        let Waiting {
            waiter,
            deadline_ns,
        } = self.by_arrival.remove(&key)?;
        if let Some(deadline_ns) = deadline_ns {
            self.by_deadline.remove(&(deadline_ns, key));
        }
        Some(waiter)
    }

    /// Takes out one waiter whose deadline has come, the earliest deadline first.
    ///
    /// One at a time, so that the caller bounds its own work; call it until `None`.
    pub fn expire(&mut self, now_ns: u64) -> Option<T> {
        let &(deadline_ns, key) = self.by_deadline.first()?;
        if deadline_ns <= now_ns {
            self.remove(key)
        } else {
            None
        }
    }

    /// When [`WaitQueue::expire`] next has something to do.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.by_deadline
            .first()
            .map(|&(deadline_ns, _)| deadline_ns)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.by_arrival.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.by_arrival.is_empty()
    }

    /// The waiters, in the order of their arrival.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.by_arrival.values().map(|waiting| &waiting.waiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Enqueue { deadline_ns: Option<u64> },
        Pop,
        Remove { key: u64 },
        Expire { now_ns: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => prop::option::of(0..20u64).prop_map(|deadline_ns| Step::Enqueue { deadline_ns }),
            1 => Just(Step::Pop),
            2 => (0..40u64).prop_map(|key| Step::Remove { key }),
            1 => (0..20u64).prop_map(|now_ns| Step::Expire { now_ns }),
        ]
    }

    /// The same queue as a plain list, searched from end to end.
    #[derive(Default)]
    struct Model {
        waiting: Vec<(u64, Option<u64>)>,
        arrived: u64,
    }

    impl Model {
        fn take(&mut self, index: Option<usize>) -> Option<u64> {
            index.map(|index| self.waiting.remove(index).0)
        }

        fn apply(&mut self, step: &Step, waiters_max: usize) -> Option<u64> {
            match *step {
                Step::Enqueue { deadline_ns } if self.waiting.len() < waiters_max => {
                    self.waiting.push((self.arrived, deadline_ns));
                    self.arrived += 1;
                    None
                }
                Step::Enqueue { .. } => Some(self.arrived),
                Step::Pop => self.take((!self.waiting.is_empty()).then_some(0)),
                Step::Remove { key } => {
                    self.take(self.waiting.iter().position(|waiting| waiting.0 == key))
                }
                Step::Expire { now_ns } => {
                    let earliest = self
                        .waiting
                        .iter()
                        .enumerate()
                        .filter_map(|(index, waiting)| waiting.1.map(|deadline| (deadline, index)))
                        .min()
                        .filter(|&(deadline_ns, _)| deadline_ns <= now_ns);
                    self.take(earliest.map(|(_, index)| index))
                }
            }
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_list(
            waiters_max in 0..8usize,
            steps in prop::collection::vec(step(), 0..80),
        ) {
            let mut queue = WaitQueue::new(waiters_max);
            let mut model = Model::default();
            for step in &steps {
                let arriving = model.arrived;
                let expected = model.apply(step, waiters_max);
                let actual = match *step {
                    Step::Enqueue { deadline_ns } => queue.enqueue(arriving, deadline_ns).err(),
                    Step::Pop => queue.pop(),
                    Step::Remove { key } => queue.remove(WaitKey(key)),
                    Step::Expire { now_ns } => queue.expire(now_ns),
                };
                prop_assert_eq!(actual, expected);
                let arrivals: Vec<u64> = model.waiting.iter().map(|waiting| waiting.0).collect();
                prop_assert_eq!(queue.iter().copied().collect::<Vec<_>>(), arrivals);
                prop_assert_eq!(queue.len(), model.waiting.len());
                prop_assert_eq!(queue.is_empty(), model.waiting.is_empty());
                let deadlines = model.waiting.iter().filter_map(|waiting| waiting.1);
                prop_assert_eq!(queue.next_deadline_ns(), deadlines.min());
            }
        }
    }
}
