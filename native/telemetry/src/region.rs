//! A region: who owns the memory, what its header says, and where its blocks are.
//!
//! # Initialisation without an initialiser
//!
//! Zeroed memory is already a region full of zeroed cells; only the header is missing. Every
//! process that attaches proposes the same header, cell by cell, by compare-and-swap from 0, and
//! accepts a cell that already has the proposed value. So nobody waits for anybody, a process that
//! dies half-way leaves nothing to repair, and of two processes that disagree exactly one is
//! refused, at the first cell where they differ.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::cells::Cells;
use crate::geometry::{ALIGN_BYTES, CELL_BYTES, Geometry, HEADER_CELLS};
use crate::sync::{AtomicU64, Ordering};

/// First header cell: a tag that other memory is unlikely to have, with the version of the layout
/// in its low byte.
const MAGIC: u64 = 0x6761_7465_7761_7901;

/// Why memory is not usable as a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionError {
    /// The geometry has an empty dimension, or is larger than memory can be.
    InvalidGeometry,
    /// The memory does not begin on a cache line.
    Misaligned,
    /// The memory is smaller than the geometry needs.
    TooSmall {
        /// Bytes that the geometry needs.
        needed_bytes: usize,
    },
    /// The memory holds something else, or a region of another version.
    WrongMagic,
    /// The memory holds a region of another geometry.
    WrongGeometry,
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidGeometry => f.write_str("the geometry describes no possible region"),
            Self::Misaligned => f.write_str("the memory does not begin on a cache line"),
            Self::TooSmall { needed_bytes } => {
                write!(
                    f,
                    "the memory is too small: the region needs {needed_bytes} bytes"
                )
            }
            Self::WrongMagic => f.write_str("the memory holds no region of this version"),
            Self::WrongGeometry => f.write_str("the memory holds a region of another geometry"),
        }
    }
}

impl std::error::Error for RegionError {}

struct Memory {
    base: NonNull<AtomicU64>,
    geometry: Geometry,
    _owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: `base` is only used to form references to atomics; the memory lives as long as `_owner`,
// which is itself `Send + Sync`.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// An initialised region. Clones share the same cells and keep the memory alive.
#[derive(Clone)]
pub struct Region {
    memory: Arc<Memory>,
}

impl Region {
    /// A zeroed region on this process's heap.
    ///
    /// # Panics
    ///
    /// When the geometry has an empty dimension or needs more memory than there can be.
    pub fn private(geometry: Geometry) -> Self {
        assert!(geometry.is_valid(), "{}", RegionError::InvalidGeometry);
        // The heap promises alignment to a cell only: seven cells more leave room to begin on a
        // line.
        let cells_count = geometry.cells().saturating_add(HEADER_CELLS - 1);
        let heap: Box<[AtomicU64]> = (0..cells_count).map(|_| AtomicU64::new(0)).collect();
        let base = NonNull::from(&heap[heap.as_ptr().align_offset(ALIGN_BYTES)]);
        // SAFETY: aligning leaves `geometry.cells()` cells behind `base`, zeroed, and the box
        // is the owner.
        let region = unsafe { Self::new(base, geometry, Arc::new(heap)) };
        region
            .propose_header(geometry)
            .expect("a blank header takes any valid geometry");
        region
    }

    /// A region in memory that the caller hands in, blank or already in use by others with the same
    /// geometry.
    ///
    /// Blank memory gets its header here; any number of processes may race to do that. Memory whose
    /// header says something else is refused and left as it is.
    ///
    /// # Safety
    ///
    /// - `ptr` is valid for reads and writes of `len_bytes` for as long as `owner` lives, in this
    ///   process.
    /// - The memory is zeroed, or holds a region.
    /// - Until then everybody, in any process, accesses it through a [`Region`] only.
    pub unsafe fn attach(
        ptr: NonNull<u8>,
        len_bytes: usize,
        geometry: Geometry,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Result<Self, RegionError> {
        if !geometry.is_valid() || geometry.bytes() > isize::MAX as usize {
            return Err(RegionError::InvalidGeometry);
        }
        check_memory(ptr, len_bytes, geometry.bytes())?;
        // SAFETY: size and alignment were checked; the rest is the caller's promise.
        let region = unsafe { Self::new(ptr.cast(), geometry, owner) };
        region.propose_header(geometry)?;
        Ok(region)
    }

    /// A region that somebody else has initialised; its geometry is read from its header.
    ///
    /// # Safety
    ///
    /// As for [`Region::attach`].
    pub unsafe fn open(
        ptr: NonNull<u8>,
        len_bytes: usize,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Result<Self, RegionError> {
        check_memory(ptr, len_bytes, HEADER_CELLS * CELL_BYTES)?;
        // SAFETY: the header fits, is aligned, and the caller promises that it is only accessed
        // atomically.
        let header =
            unsafe { std::slice::from_raw_parts(ptr.cast::<AtomicU64>().as_ptr(), HEADER_CELLS) };
        let geometry = read_header(header)?;
        // SAFETY: the caller's promise is passed on.
        unsafe { Self::attach(ptr, len_bytes, geometry, owner) }
    }

    /// # Safety
    ///
    /// `base` points to `geometry.cells()` cells that live as long as `owner`.
    unsafe fn new(
        base: NonNull<AtomicU64>,
        geometry: Geometry,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self {
            memory: Arc::new(Memory {
                base,
                geometry,
                _owner: owner,
            }),
        }
    }

    /// The layout.
    pub fn geometry(&self) -> Geometry {
        self.memory.geometry
    }

    /// The cells that the writer of `slot` keeps for `block`. Panics when there is no such slot or
    /// block.
    pub fn cells(&self, slot: u32, block: u32) -> Cells {
        let geometry = self.memory.geometry;
        assert!(slot < geometry.slots_count && block < geometry.blocks_count);
        self.cells_at(geometry.block_offset(slot, block), geometry.cells_per_block)
    }

    /// The cells of `block` that all writers share. Panics when there is no such block.
    pub fn shared(&self, block: u32) -> Cells {
        let geometry = self.memory.geometry;
        assert!(block < geometry.blocks_count);
        self.cells_at(
            geometry.shared_block_offset(block),
            geometry.shared_cells_per_block,
        )
    }

    /// The cells of the table; see [`crate::Table`].
    pub fn table(&self) -> Cells {
        let geometry = self.memory.geometry;
        self.cells_at(geometry.table_offset(), geometry.table_cells_count())
    }

    /// The sum of one cell of `block` over all slots; gauges that cross slots cancel out by
    /// wrapping.
    pub fn sum(&self, block: u32, cell: u32) -> u64 {
        let geometry = self.memory.geometry;
        assert!(block < geometry.blocks_count && cell < geometry.cells_per_block);
        (0..geometry.slots_count)
            .map(|slot| geometry.block_offset(slot, block) + cell as usize)
            .fold(0, |sum: u64, at| {
                sum.wrapping_add(self.all()[at].load(Ordering::Relaxed))
            })
    }

    /// Sets every cell of `block` to 0, in all slots and in the shared part: for a block that gets
    /// a new subject.
    ///
    /// The caller sees to it that nobody counts there any more.
    pub fn clear_block(&self, block: u32) {
        for slot in 0..self.memory.geometry.slots_count {
            let cells = self.cells(slot, block);
            cells.clear(0..cells.count());
        }
        let shared = self.shared(block);
        shared.clear(0..shared.count());
    }

    /// Sets the cells of one slot to 0 in every block, within `cells`: for the gauges of a writer
    /// that died, whose counters stay.
    pub fn clear_slot_cells(&self, slot: u32, cells: Range<u32>) {
        for block in 0..self.memory.geometry.blocks_count {
            self.cells(slot, block).clear(cells.clone());
        }
    }

    fn all(&self) -> &[AtomicU64] {
        let Memory { base, geometry, .. } = &*self.memory;
        // SAFETY: `new` was promised this many cells, alive as long as `self.memory`.
        unsafe { std::slice::from_raw_parts(base.as_ptr(), geometry.cells()) }
    }

    fn cells_at(&self, offset: usize, count: u32) -> Cells {
        let base = NonNull::from(&self.all()[offset..][..count as usize]).cast();
        // SAFETY: the slice above has `count` cells of this region.
        unsafe { Cells::new(base, count, self.clone()) }
    }

    fn propose_header(&self, geometry: Geometry) -> Result<(), RegionError> {
        propose_header(&self.all()[..HEADER_CELLS], geometry)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("geometry", &self.memory.geometry)
            .finish_non_exhaustive()
    }
}

/// Fills a blank header, or compares it with one that is there; see the module's documentation.
///
/// Relaxed: the header guards no other memory, and a single cell's compare-and-swaps have one order
/// for all.
fn propose_header(header: &[AtomicU64], geometry: Geometry) -> Result<(), RegionError> {
    let propose = |cell: &AtomicU64, value: u64| {
        debug_assert_ne!(value, 0, "0 means blank");
        match cell.compare_exchange(0, value, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(current) => current == value,
        }
    };
    let [counts, cells, table] = packed(geometry);
    if !propose(&header[0], MAGIC) {
        return Err(RegionError::WrongMagic);
    }
    if !(propose(&header[1], counts) && propose(&header[2], cells) && propose(&header[3], table)) {
        return Err(RegionError::WrongGeometry);
    }
    Ok(())
}

fn read_header(header: &[AtomicU64]) -> Result<Geometry, RegionError> {
    let read = |cell: usize| header[cell].load(Ordering::Relaxed);
    if read(0) != MAGIC {
        return Err(RegionError::WrongMagic);
    }
    Ok(Geometry {
        slots_count: (read(1) >> 32) as u32,
        blocks_count: read(1) as u32,
        cells_per_block: (read(2) >> 32) as u32,
        shared_cells_per_block: read(2) as u32,
        entries_count: (read(3) as u32).saturating_sub(1),
    })
}

/// The geometry as the second to fourth header cell; none is 0 for a valid geometry.
fn packed(geometry: Geometry) -> [u64; 3] {
    let pack = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    [
        pack(geometry.slots_count, geometry.blocks_count),
        pack(geometry.cells_per_block, geometry.shared_cells_per_block),
        u64::from(geometry.entries_count) + 1,
    ]
}

fn check_memory(
    ptr: NonNull<u8>,
    len_bytes: usize,
    needed_bytes: usize,
) -> Result<(), RegionError> {
    if !ptr.addr().get().is_multiple_of(ALIGN_BYTES) {
        return Err(RegionError::Misaligned);
    }
    if len_bytes < needed_bytes {
        return Err(RegionError::TooSmall { needed_bytes });
    }
    Ok(())
}

#[cfg(all(test, not(loom)))]
pub(crate) mod tests;
