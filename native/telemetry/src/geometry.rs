//! The layout of a region as arithmetic: where each block begins, and how many bytes that makes.

use crate::sync::AtomicU64;

/// Bytes of a cell: 8, but loom's atomics are larger.
pub(crate) const CELL_BYTES: usize = size_of::<AtomicU64>();

/// Cells of a cache line; a block begins on a line of its own.
pub(crate) const LINE_CELLS: usize = 8;

/// Alignment of a region: a cache line, which means nothing to loom.
pub(crate) const ALIGN_BYTES: usize = if cfg!(loom) {
    align_of::<AtomicU64>()
} else {
    64
};

/// Cells of the header that describes the region.
pub(crate) const HEADER_CELLS: usize = LINE_CELLS;

/// How a region is laid out: a header, `slots_count * blocks_count` blocks with one writer each,
/// then `blocks_count` shared blocks, then one table.
///
/// Every process that attaches a region must use the same geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Writers: one slot for each worker. At least 1.
    pub slots_count: u32,
    /// Subjects: block 0 is the whole gateway, then one for each proxy. At least 1.
    pub blocks_count: u32,
    /// Cells of a block within a slot.
    pub cells_per_block: u32,
    /// Cells of a shared block. At least one of the two cell counts is not 0.
    pub shared_cells_per_block: u32,
    /// Entries of the table that all writers share: two cells each, whole buckets of [`crate::WAYS`].
    pub entries_count: u32,
}

impl Geometry {
    /// Size of a region of this geometry, rounded up to whole cache lines; `usize::MAX` when it
    /// cannot exist.
    pub const fn bytes(&self) -> usize {
        self.cells().saturating_mul(CELL_BYTES)
    }

    pub(crate) const fn is_valid(&self) -> bool {
        self.slots_count > 0
            && self.blocks_count > 0
            && self.entries_count.is_multiple_of(crate::table::WAYS)
            && self.entries_count < 1 << 31
            && (self.cells_per_block > 0 || self.shared_cells_per_block > 0)
    }

    /// Cells of the whole region, the header and the padding included.
    pub(crate) const fn cells(&self) -> usize {
        let shared =
            line_rounded(self.shared_cells_per_block).saturating_mul(self.blocks_count as usize);
        self.shared_offset()
            .saturating_add(shared)
            .saturating_add(self.table_cells_count() as usize)
    }

    /// Cells of the table.
    pub(crate) const fn table_cells_count(&self) -> u32 {
        self.entries_count.saturating_mul(2)
    }

    /// First cell of the table.
    pub(crate) const fn table_offset(&self) -> usize {
        self.cells() - self.table_cells_count() as usize
    }

    /// First cell of a slot's block. Meaningful within a region that exists, where nothing
    /// saturates.
    pub(crate) const fn block_offset(&self, slot: u32, block: u32) -> usize {
        let index = slot as usize * self.blocks_count as usize + block as usize;
        HEADER_CELLS + index * line_rounded(self.cells_per_block)
    }

    /// First cell of a shared block.
    pub(crate) const fn shared_block_offset(&self, block: u32) -> usize {
        self.shared_offset() + block as usize * line_rounded(self.shared_cells_per_block)
    }

    const fn shared_offset(&self) -> usize {
        line_rounded(self.cells_per_block)
            .saturating_mul(self.blocks_count as usize)
            .saturating_mul(self.slots_count as usize)
            .saturating_add(HEADER_CELLS)
    }
}

const fn line_rounded(cells_count: u32) -> usize {
    (cells_count as usize).next_multiple_of(LINE_CELLS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry = Geometry {
        slots_count: 3,
        blocks_count: 5,
        cells_per_block: 9,
        shared_cells_per_block: 8,
        entries_count: 0,
    };

    #[test]
    fn blocks_begin_on_their_own_line_and_never_overlap() {
        let mut next = HEADER_CELLS;
        for slot in 0..GEOMETRY.slots_count {
            for block in 0..GEOMETRY.blocks_count {
                assert_eq!(GEOMETRY.block_offset(slot, block), next);
                assert!(next.is_multiple_of(LINE_CELLS));
                next += 16;
            }
        }
        for block in 0..GEOMETRY.blocks_count {
            assert_eq!(GEOMETRY.shared_block_offset(block), next);
            next += 8;
        }
        assert_eq!(GEOMETRY.bytes(), next * CELL_BYTES);
    }

    #[test]
    fn a_size_that_cannot_exist_saturates() {
        let huge = Geometry {
            slots_count: u32::MAX,
            blocks_count: u32::MAX,
            cells_per_block: u32::MAX,
            shared_cells_per_block: 1,
            entries_count: 0,
        };
        assert_eq!(huge.bytes(), usize::MAX);
    }

    #[test]
    fn empty_dimensions_are_invalid() {
        assert!(GEOMETRY.is_valid());
        assert!(
            !Geometry {
                slots_count: 0,
                ..GEOMETRY
            }
            .is_valid()
        );
        assert!(
            !Geometry {
                blocks_count: 0,
                ..GEOMETRY
            }
            .is_valid()
        );
        assert!(
            Geometry {
                cells_per_block: 0,
                ..GEOMETRY
            }
            .is_valid()
        );
        assert!(
            !Geometry {
                cells_per_block: 0,
                shared_cells_per_block: 0,
                ..GEOMETRY
            }
            .is_valid()
        );
    }
}
