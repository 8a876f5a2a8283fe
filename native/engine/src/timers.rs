//! All deadlines of a worker in one lazy heap, so that one loop timer serves every connection.
//!
//! A connection moves its deadline far more often than the deadline is reached: several times a request,
//! nearly always to a later time. So moving one is a plain store on the connection, and the heap holds at
//! most one live entry a connection: the earliest time at which it has to be looked at again. When that
//! time comes and the deadline has moved on, the entry is put back at the new time. Only a deadline that
//! moves before its entry costs a push; the older entry is then skipped when it surfaces.
//!
//! Cost: O(1) for a deadline that moves later, O(log n) once per time-out period and connection.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::output::ConnId;

/// No deadline.
pub(crate) const NEVER: u64 = u64::MAX;

/// The part of a connection that the heap works with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    /// When the connection wants to be told, in nanoseconds of the driver's clock.
    deadline_ns: u64,
    /// When the heap will look at it. Invariant: an entry with this time is in the heap, or it is `NEVER`.
    scheduled_ns: u64,
}

impl Default for Timer {
    fn default() -> Self {
        Self {
            deadline_ns: NEVER,
            scheduled_ns: NEVER,
        }
    }
}

impl Timer {
    pub(crate) fn is_scheduled_at(&self, at_ns: u64) -> bool {
        self.scheduled_ns == at_ns
    }
}

/// What became of a heap entry that came due.
pub(crate) enum Due {
    /// The deadline has been reached; it is cleared.
    Fired,
    /// The deadline moved or is gone, or a later entry replaced this one.
    Stale,
}

/// The heap of one worker.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(u64, ConnId)>>,
}

impl Timers {
    /// Sets the deadline of `conn` (`NEVER` clears it).
    #[inline]
    pub(crate) fn set(&mut self, conn: ConnId, timer: &mut Timer, deadline_ns: u64) {
        timer.deadline_ns = deadline_ns;
        if deadline_ns < timer.scheduled_ns {
            timer.scheduled_ns = deadline_ns;
            self.heap.push(Reverse((deadline_ns, conn)));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Keeps the entries that `keep(time, connection)` names.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(u64, ConnId) -> bool) {
        self.heap
            .retain(|&Reverse((at_ns, conn))| keep(at_ns, conn));
    }

    /// When the driver has to call `handle_timer` next. Entries of connections that are gone are kept until
    /// they come due: at most one early wake-up each.
    #[inline]
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at_ns, _))| *at_ns)
    }

    /// Takes one entry that is due at `now_ns`.
    pub(crate) fn pop_due(&mut self, now_ns: u64) -> Option<(u64, ConnId)> {
        let Reverse((at_ns, _)) = *self.heap.peek()?;
        if at_ns > now_ns {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Decides what an entry taken by `pop_due` means for its connection, and schedules the next look.
    pub(crate) fn settle(&mut self, entry: (u64, ConnId), timer: &mut Timer, now_ns: u64) -> Due {
        let (at_ns, conn) = entry;
        if at_ns != timer.scheduled_ns {
            return Due::Stale;
        }
        timer.scheduled_ns = NEVER;
        let deadline_ns = timer.deadline_ns;
        if deadline_ns <= now_ns {
            timer.deadline_ns = NEVER;
            return Due::Fired;
        }
        if deadline_ns != NEVER {
            self.set(conn, timer, deadline_ns);
        }
        Due::Stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Key;
    use proptest::prelude::*;

    fn conn(index: u64) -> ConnId {
        ConnId::Downstream(Key::from_bits(index))
    }

    fn fire(timers: &mut Timers, list: &mut [Timer], now_ns: u64) -> Vec<usize> {
        let mut fired = Vec::new();
        while let Some(entry) = timers.pop_due(now_ns) {
            let index = entry.1.key().index();
            if let Due::Fired = timers.settle(entry, &mut list[index], now_ns) {
                fired.push(index);
            }
        }
        fired
    }

    #[test]
    fn a_deadline_that_moves_later_fires_once_at_the_later_time() {
        let mut timers = Timers::default();
        let mut list = [Timer::default()];
        timers.set(conn(0), &mut list[0], 10);
        timers.set(conn(0), &mut list[0], 30);
        assert_eq!(timers.next_ns(), Some(10));
        assert!(fire(&mut timers, &mut list, 10).is_empty());
        assert_eq!(timers.next_ns(), Some(30));
        assert_eq!(fire(&mut timers, &mut list, 30), [0]);
        assert_eq!(timers.next_ns(), None);
    }

    proptest! {
        /// Against the obvious model: every timer fires at the first tick at or after its deadline.
        #[test]
        fn agrees_with_a_list_of_deadlines(
            steps in prop::collection::vec((0usize..4, prop::option::of(1u64..50), 0u64..20), 1..200)
        ) {
            let mut timers = Timers::default();
            let mut list = [Timer::default(); 4];
            let mut model = [NEVER; 4];
            let mut now_ns = 0;
            for (index, delay_ns, wait_ns) in steps {
                let deadline_ns = delay_ns.map_or(NEVER, |delay_ns| now_ns + delay_ns);
                timers.set(conn(index as u64), &mut list[index], deadline_ns);
                model[index] = deadline_ns;
                now_ns += wait_ns;
                let mut fired = fire(&mut timers, &mut list, now_ns);
                fired.sort_unstable();
                let expected: Vec<_> = (0..4).filter(|&index| model[index] <= now_ns).collect();
                prop_assert_eq!(&fired, &expected);
                for index in expected {
                    model[index] = NEVER;
                }
                let earliest_ns = model.iter().copied().min().unwrap_or(NEVER);
                prop_assert!(timers.next_ns().unwrap_or(NEVER) <= earliest_ns);
                prop_assert!(timers.heap.len() <= 4 * 50);
            }
        }
    }
}
