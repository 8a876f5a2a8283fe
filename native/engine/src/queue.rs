//! Requests that wait for a permit: the more urgent first, then in the order that the proxy asks for.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::config::QueueOrder;
use crate::slab::Key;

/// A place in the queue.
pub(crate) type Place = (Reverse<u8>, u64);

/// The waiting requests of one proxy and worker.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: BTreeMap<Place, Key>,
    arrivals_count: u64,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds a request; the caller has checked the bound.
    pub(crate) fn push(&mut self, key: Key, urgency: u8, order: QueueOrder) -> Place {
        self.arrivals_count += 1;
        let turn = match order {
            QueueOrder::Fifo => self.arrivals_count,
            QueueOrder::Lifo => u64::MAX - self.arrivals_count,
        };
        let place = (Reverse(urgency), turn);
        self.waiting.insert(place, key);
        place
    }

    /// Who is to be served next.
    pub(crate) fn pop(&mut self) -> Option<Key> {
        self.waiting.pop_first().map(|(_, key)| key)
    }

    /// Gives a place up.
    pub(crate) fn remove(&mut self, place: Place) {
        self.waiting.remove(&place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(order: QueueOrder, urgencies: &[u8]) -> Vec<usize> {
        let mut queue = Queue::default();
        for (index, &urgency) in urgencies.iter().enumerate() {
            queue.push(Key::from_bits(index as u64), urgency, order);
        }
        std::iter::from_fn(|| queue.pop().map(Key::index)).collect()
    }

    #[test]
    fn first_come_first_served() {
        assert_eq!(order(QueueOrder::Fifo, &[0, 0, 0]), [0, 1, 2]);
    }

    #[test]
    fn last_come_first_served() {
        assert_eq!(order(QueueOrder::Lifo, &[0, 0, 0]), [2, 1, 0]);
    }

    #[test]
    fn the_urgent_go_first() {
        assert_eq!(order(QueueOrder::Fifo, &[0, 5, 0, 5, 9]), [4, 1, 3, 0, 2]);
    }

    #[test]
    fn a_place_given_up_is_gone() {
        let mut queue = Queue::default();
        let place = queue.push(Key::from_bits(1), 0, QueueOrder::Fifo);
        queue.push(Key::from_bits(2), 0, QueueOrder::Fifo);
        queue.remove(place);
        assert_eq!((queue.len(), queue.pop().map(Key::index)), (1, Some(2)));
    }
}
