//! Cells that any number of writers change one at a time and judge together.

use crate::cells::Cells;
use crate::sync::{AtomicU64, Ordering, fence};

/// `N` adjacent cells of a shared block, like the buckets of a sliding window.
///
/// Orderings: a change is one compare-and-swap, so none is lost. Between a change and the reading that follows
/// it lies a sequentially consistent fence: of two writers who changed different cells, at least one sees both
/// changes. So a threshold that their changes reach together does not go unnoticed.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'a, const N: usize> {
    cells: &'a [AtomicU64],
}

impl<'a, const N: usize> Ring<'a, N> {
    /// The cells from `first` on; panics when the block ends before the ring does.
    pub fn new(shared: &'a Cells, first: u32) -> Self {
        Self {
            cells: &shared.as_slice()[first as usize..][..N],
        }
    }

    /// Replaces a cell's value by what `change` makes of it, exactly once, whoever else writes. `change` runs again
    /// when another writer was faster.
    pub fn update(&self, index: usize, mut change: impl FnMut(u64) -> u64) {
        let cell = &self.cells[index];
        let mut seen = cell.load(Ordering::Relaxed);
        while let Err(newer) =
            cell.compare_exchange_weak(seen, change(seen), Ordering::Relaxed, Ordering::Relaxed)
        {
            seen = newer;
        }
    }

    /// All cells, read after a change of the caller's own.
    pub fn read(&self) -> [u64; N] {
        fence(Ordering::SeqCst);
        std::array::from_fn(|index| self.cells[index].load(Ordering::Relaxed))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::region::tests::shared_cells;

    #[test]
    fn changes_of_all_threads_are_read_where_they_were_made() {
        let cells = shared_cells(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let ring = Ring::<3>::new(&cells, 1);
                    for turn in 0..3_000 {
                        ring.update(turn % 3, |value| value + 1);
                    }
                });
            }
        });
        assert_eq!(Ring::<3>::new(&cells, 1).read(), [4_000; 3]);
        assert_eq!(cells.load(0), 0);
    }
}
