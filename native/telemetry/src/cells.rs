//! A handle on one block's cells.

use std::ops::Range;
use std::ptr::NonNull;

use crate::histogram::Histogram;
use crate::region::Region;
use crate::sync::{AtomicU64, Ordering};

/// One block of cells. Cheap to clone and to keep in a hot structure; it keeps its region alive.
///
/// Every access is relaxed. A cell index past the block is a mistake of the caller and panics.
#[derive(Clone, Debug)]
pub struct Cells {
    base: NonNull<AtomicU64>,
    count: u32,
    /// Owner of the memory behind `base`.
    _region: Region,
}

// SAFETY: `base` is only ever used as a slice of atomics, in memory that `_region` keeps mapped and
// that `Region` may share between threads.
unsafe impl Send for Cells {}
// SAFETY: as above; `&Cells` gives access to atomics only.
unsafe impl Sync for Cells {}

impl Cells {
    /// # Safety
    ///
    /// `base` points to `count` cells inside `region`.
    pub(crate) unsafe fn new(base: NonNull<AtomicU64>, count: u32, region: Region) -> Self {
        Self {
            base,
            count,
            _region: region,
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[AtomicU64] {
        // SAFETY: `new` was promised `count` cells, and `_region` keeps them alive as long as
        // `self`.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.count as usize) }
    }

    #[inline]
    pub(crate) fn at(&self, cell: u32) -> &AtomicU64 {
        &self.as_slice()[cell as usize]
    }

    /// How many cells the block has.
    #[inline]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Reads a cell.
    #[inline]
    pub fn load(&self, cell: u32) -> u64 {
        self.at(cell).load(Ordering::Relaxed)
    }

    /// Overwrites a cell.
    #[inline]
    pub fn store(&self, cell: u32, value: u64) {
        self.at(cell).store(value, Ordering::Relaxed);
    }

    /// Adds to a cell that nobody else writes: a load and a store, no locked instruction.
    ///
    /// A second writer would lose additions; use [`Cells::add_shared`] there. Wraps around.
    #[inline]
    pub fn add(&self, cell: u32, n: u64) {
        add_single(self.at(cell), n);
    }

    /// Subtracts from a cell that nobody else writes; see [`Cells::add`]. Wraps around, so that the
    /// sum over all slots is right even where one slot added what another one subtracts.
    #[inline]
    pub fn sub(&self, cell: u32, n: u64) {
        add_single(self.at(cell), n.wrapping_neg());
    }

    /// Adds to a cell with any number of writers. Wraps around.
    #[inline]
    pub fn add_shared(&self, cell: u32, n: u64) {
        self.at(cell).fetch_add(n, Ordering::Relaxed);
    }

    /// Subtracts from a cell with any number of writers. Wraps around.
    #[inline]
    pub fn sub_shared(&self, cell: u32, n: u64) {
        self.at(cell).fetch_sub(n, Ordering::Relaxed);
    }

    /// Replaces a cell's value by what `change` makes of it, exactly once, whoever else writes; returns what
    /// `change` said beside the new value. `change` runs again when another writer was faster.
    ///
    /// Acquire and release: what a writer did before its change is visible to whoever sees the change.
    #[inline]
    pub fn update<R>(&self, cell: u32, mut change: impl FnMut(u64) -> (u64, R)) -> R {
        let cell = self.at(cell);
        let mut seen = cell.load(Ordering::Acquire);
        loop {
            let (next, result) = change(seen);
            if next == seen {
                return result;
            }
            match cell.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return result,
                Err(newer) => seen = newer,
            }
        }
    }

    /// The histogram over the cells that begin at `first`, of ascending bounds; panics when the
    /// block ends before the histogram does.
    #[inline]
    pub fn histogram<'a>(&'a self, first: u32, bounds_ns: &'a [u64]) -> Histogram<'a> {
        Histogram::new(&self.as_slice()[first as usize..], bounds_ns)
    }

    /// Sets a range of cells to 0; what a writer adds meanwhile may survive or be lost.
    pub fn clear(&self, cells: Range<u32>) {
        for cell in &self.as_slice()[cells.start as usize..cells.end as usize] {
            cell.store(0, Ordering::Relaxed);
        }
    }
}

#[inline]
pub(crate) fn add_single(cell: &AtomicU64, n: u64) {
    cell.store(
        cell.load(Ordering::Relaxed).wrapping_add(n),
        Ordering::Relaxed,
    );
}
