//! A table of numbers by key that any number of processes share, of a size that never changes.
//!
//! Open addressing within buckets of [`WAYS`] entries: the keys of a bucket lie on one cache line, their values on the
//! next, and an entry is never anywhere but in its key's bucket. An entry belongs to a key from the compare-and-swap
//! that puts the key there until another one replaces it, which happens only when no entry of the bucket is unused
//! and the caller says that this one's value has become meaningless.
//!
//! Exactness: while a bucket has unused entries, a key has one entry, whoever looks for it first: they are given out in
//! order, so two who bring the same key compete for the same entry, and the loser finds the winner's. Once a bucket
//! is full, somebody who has just found an entry may have it replaced under their hands; the one change that they make
//! is then charged to another key. Nothing is ever lost or blocked.
//!
//! Orderings: keys are put in place with release and read with acquire, so that whoever finds a key finds the value
//! that belongs to it, or a newer one. Values are the caller's business ([`Cells::update`]).

use crate::cells::Cells;
use crate::sync::Ordering;

/// Entries of a bucket.
pub const WAYS: u32 = 8;

/// How often a race for an entry is taken up again; each loss is somebody else's success.
const ATTEMPTS_MAX_COUNT: u32 = 16;

/// Values by key, in the cells of [`crate::Region::table`].
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    cells: &'a Cells,
}

impl<'a> Table<'a> {
    /// The table in these cells, which are two for each entry.
    pub fn new(cells: &'a Cells) -> Self {
        Self { cells }
    }

    /// The cell that holds the key's value: its own, or one that is unused or whose value `is_free`. `None` when the
    /// bucket has none. A new entry's value is what was there before, so a value that is free must mean the same as 0.
    pub fn find(&self, key: u64, is_free: impl Fn(u64) -> bool) -> Option<u32> {
        let buckets_count = self.cells.count() / (2 * WAYS);
        if buckets_count == 0 {
            return None;
        }
        // 0 is an unused entry.
        let key = key.max(1);
        let first = (key % u64::from(buckets_count)) as u32 * 2 * WAYS;
        // Those who replace begin at different entries, so that they seldom want the same one.
        let turn = (key >> 32) as u32;
        for _ in 0..ATTEMPTS_MAX_COUNT {
            let mut wanted = None;
            for way in 0..WAYS {
                let found = self.cells.at(first + way).load(Ordering::Acquire);
                if found == key {
                    return Some(first + WAYS + way);
                }
                if found == 0 {
                    wanted = Some((way, 0));
                    break;
                }
            }
            let (way, before) = wanted.or_else(|| {
                (0..WAYS)
                    .map(|step| (turn.wrapping_add(step)) % WAYS)
                    .find_map(|way| {
                        let before = self.cells.at(first + way).load(Ordering::Acquire);
                        is_free(self.cells.load(first + WAYS + way)).then_some((way, before))
                    })
            })?;
            let won = self.cells.at(first + way).compare_exchange(
                before,
                key,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if won.is_ok() {
                return Some(first + WAYS + way);
            }
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::geometry::Geometry;
    use crate::region::Region;

    fn table_cells(entries_count: u32) -> Cells {
        Region::private(Geometry {
            slots_count: 1,
            blocks_count: 1,
            cells_per_block: 1,
            shared_cells_per_block: 0,
            entries_count,
        })
        .table()
    }

    #[test]
    fn every_key_keeps_its_value_until_the_bucket_is_full() {
        let cells = table_cells(WAYS);
        let table = Table::new(&cells);
        for key in 0..u64::from(WAYS) {
            let cell = table.find(key + 1, |_| false).expect("room");
            cells.store(cell, key + 100);
        }
        for key in 0..u64::from(WAYS) {
            let cell = table.find(key + 1, |_| false).expect("known");
            assert_eq!(cells.load(cell), key + 100);
        }
        assert_eq!(table.find(999, |_| false), None);
        let cell = table.find(999, |value| value == 103).expect("a free one");
        assert_eq!(cells.load(cell), 103);
        assert_eq!(table.find(999, |_| false), Some(cell));
        assert_eq!(table.find(4, |_| false), None, "it was replaced");
    }

    #[test]
    fn key_0_is_a_key() {
        let cells = table_cells(WAYS);
        let table = Table::new(&cells);
        assert_eq!(table.find(0, |_| false), table.find(0, |_| false));
    }

    #[test]
    fn a_table_without_entries_finds_nothing() {
        assert_eq!(Table::new(&table_cells(0)).find(1, |_| true), None);
    }

    #[test]
    fn threads_that_bring_the_same_keys_agree_on_their_entries() {
        const KEYS: u64 = 200;
        let cells = table_cells(4_096);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for key in 1..=KEYS {
                        let spread = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                        let cell = Table::new(&cells).find(spread, |_| false).expect("room");
                        cells.add_shared(cell, 1);
                    }
                });
            }
        });
        let values = (0..cells.count()).filter(|cell| cell % (2 * WAYS) >= WAYS);
        let counts: Vec<u64> = values
            .map(|cell| cells.load(cell))
            .filter(|&n| n > 0)
            .collect();
        assert_eq!(counts, vec![4; KEYS as usize]);
    }

    proptest! {
        #[test]
        fn it_is_a_map_as_long_as_there_is_room(
            steps in prop::collection::vec((1u64..40, 1u64..1_000), 1..200),
        ) {
            let cells = table_cells(40 * WAYS);
            let mut map = HashMap::new();
            for (key, value) in steps {
                let cell = Table::new(&cells).find(key, |_| false).expect("room");
                prop_assert_eq!(cells.load(cell), map.get(&key).copied().unwrap_or(0));
                cells.store(cell, value);
                map.insert(key, value);
            }
        }
    }
}
