//! What became of a world, for those who want to know whether enough happened in it.

use std::collections::BTreeMap;

use super::World;

/// What a world was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Exchanges that the gateway has accounted for.
    pub exchanges: u64,
    /// How they ended: by reason, and by nothing when they ended well.
    pub ends: BTreeMap<String, u64>,
    /// Connections to targets.
    pub connects: u64,
    /// Requests over a pooled connection.
    pub reuses: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Events.
    pub steps: u64,
}

impl Summary {
    /// Adds what another world was.
    pub fn add(&mut self, other: &Self) {
        self.exchanges += other.exchanges;
        for (end, count) in &other.ends {
            *self.ends.entry(end.clone()).or_default() += count;
        }
        self.connects += other.connects;
        self.reuses += other.reuses;
        self.retries += other.retries;
        self.steps += other.steps;
    }
}

impl World {
    pub(super) fn summary(&self) -> Summary {
        let mut tally = self.departed.clone();
        for id in self.living() {
            tally.add(&self.workers[id].gateway.tally());
        }
        let first = self.living()[0];
        let books = self.workers[first].gateway.books();
        Summary {
            exchanges: tally.log.count,
            ends: tally.log.ends,
            connects: books.connects,
            reuses: books.reuses,
            retries: books.retries,
            steps: self.steps,
        }
    }
}
