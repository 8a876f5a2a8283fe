use super::*;

const GEOMETRY: Geometry = Geometry {
    slots_count: 2,
    blocks_count: 3,
    cells_per_block: 10,
    shared_cells_per_block: 2,
    entries_count: 0,
};

/// A block of cells for the tests of this crate.
pub(crate) fn shared_cells(count: u32) -> Cells {
    Region::private(Geometry {
        slots_count: 1,
        blocks_count: 1,
        cells_per_block: 0,
        shared_cells_per_block: count,
        entries_count: 0,
    })
    .shared(0)
}

/// Memory of its own for [`Region::attach`], aligned as a mapping is.
#[repr(align(64))]
struct Page([AtomicU64; 256]);

fn blank_page() -> Arc<Page> {
    Arc::new(Page([const { AtomicU64::new(0) }; 256]))
}

fn attach(page: &Arc<Page>, geometry: Geometry) -> Result<Region, RegionError> {
    let ptr = NonNull::from(&page.0).cast();
    // SAFETY: the page is zeroed or holds a region, and is its own owner.
    unsafe { Region::attach(ptr, size_of::<Page>(), geometry, page.clone()) }
}

fn open(page: &Arc<Page>, len_bytes: usize) -> Result<Region, RegionError> {
    let ptr = NonNull::from(&page.0).cast();
    // SAFETY: as in `attach`; `len_bytes` is at most the page.
    unsafe { Region::open(ptr, len_bytes, page.clone()) }
}

#[test]
fn every_cell_has_its_own_place() {
    let region = Region::private(GEOMETRY);
    let mut next = 1;
    let mut fill = |cells: Cells| {
        for cell in 0..cells.count() {
            assert_eq!(cells.load(cell), 0);
            cells.store(cell, next);
            next += 1;
        }
    };
    for slot in 0..2 {
        (0..3).for_each(|block| fill(region.cells(slot, block)));
    }
    (0..3).for_each(|block| fill(region.shared(block)));
    assert_eq!(region.cells(0, 0).load(0), 1);
    assert_eq!(region.cells(1, 0).load(0), 31);
    assert_eq!(region.shared(2).load(1), 66);
    assert_eq!(region.sum(2, 9), 30 + 60);
}

#[test]
fn a_private_region_begins_on_a_cache_line() {
    let region = Region::private(GEOMETRY);
    assert_eq!(region.memory.base.addr().get() % 64, 0);
}

#[test]
fn a_gauge_that_crosses_slots_sums_to_zero() {
    let region = Region::private(GEOMETRY);
    region.cells(0, 1).add(4, 3);
    region.cells(1, 1).sub(4, 3);
    assert_eq!(region.sum(1, 4), 0);
}

#[test]
fn cells_outlive_the_handle_of_their_region() {
    let cells = Region::private(GEOMETRY).cells(1, 2);
    cells.add(9, 5);
    assert_eq!(cells.clone().load(9), 5);
}

#[test]
#[should_panic(expected = "index out of bounds")]
fn a_cell_past_the_block_is_refused_although_padding_follows() {
    Region::private(GEOMETRY).cells(0, 0).add(10, 1);
}

#[test]
#[should_panic(expected = "slot < geometry.slots_count")]
fn a_slot_past_the_region_is_refused() {
    Region::private(GEOMETRY).cells(2, 0);
}

#[test]
#[should_panic(expected = "describes no possible region")]
fn a_private_region_of_nothing_is_refused() {
    Region::private(Geometry {
        blocks_count: 0,
        ..GEOMETRY
    });
}

#[test]
fn clearing_a_block_leaves_its_neighbours() {
    let region = Region::private(GEOMETRY);
    for block in 0..3 {
        (0..2).for_each(|slot| region.cells(slot, block).add(0, 1));
        region.shared(block).add_shared(1, 1);
    }
    region.clear_block(1);
    let sums: Vec<u64> = (0..3).map(|block| region.sum(block, 0)).collect();
    let shared: Vec<u64> = (0..3).map(|block| region.shared(block).load(1)).collect();
    assert_eq!((sums, shared), (vec![2, 0, 2], vec![1, 0, 1]));
}

#[test]
fn clearing_a_slot_touches_only_its_range() {
    let region = Region::private(GEOMETRY);
    for slot in 0..2 {
        (0..10).for_each(|cell| region.cells(slot, 2).add(cell, 1));
    }
    region.clear_slot_cells(1, 3..5);
    let sums: Vec<u64> = (0..10).map(|cell| region.sum(2, cell)).collect();
    assert_eq!(sums, [2, 2, 2, 1, 1, 2, 2, 2, 2, 2]);
}

#[test]
fn everybody_who_attaches_sees_the_same_cells() {
    let page = blank_page();
    let first = attach(&page, GEOMETRY).unwrap();
    let second = attach(&page, GEOMETRY).unwrap();
    let third = open(&page, size_of::<Page>()).unwrap();
    assert_eq!(third.geometry(), GEOMETRY);
    first.cells(1, 2).add(3, 7);
    second.cells(0, 2).add(3, 1);
    assert_eq!(third.sum(2, 3), 8);
}

#[test]
fn a_mapping_lives_as_long_as_its_last_cells() {
    let page = blank_page();
    let cells = attach(&page, GEOMETRY).unwrap().shared(0);
    assert_eq!(Arc::strong_count(&page), 2);
    drop(cells);
    assert_eq!(Arc::strong_count(&page), 1);
}

#[test]
fn memory_that_does_not_fit_is_refused_and_left_alone() {
    let page = blank_page();
    let foreign = Geometry {
        slots_count: 1,
        ..GEOMETRY
    };
    attach(&page, GEOMETRY).unwrap();
    assert_eq!(
        attach(&page, foreign).unwrap_err(),
        RegionError::WrongGeometry
    );
    page.0[0].store(42, Ordering::Relaxed);
    assert_eq!(
        attach(&page, GEOMETRY).unwrap_err(),
        RegionError::WrongMagic
    );
    assert_eq!(
        open(&page, size_of::<Page>()).unwrap_err(),
        RegionError::WrongMagic
    );
    assert_eq!(page.0[0].load(Ordering::Relaxed), 42);
}

#[test]
fn a_header_is_checked_before_it_is_believed() {
    let page = blank_page();
    assert_eq!(
        open(&page, size_of::<Page>()).unwrap_err(),
        RegionError::WrongMagic
    );
    attach(&page, GEOMETRY).unwrap();
    let needed_bytes = GEOMETRY.bytes();
    assert_eq!(
        open(&page, 63).unwrap_err(),
        RegionError::TooSmall { needed_bytes: 64 }
    );
    assert_eq!(
        open(&page, needed_bytes - 1).unwrap_err(),
        RegionError::TooSmall { needed_bytes }
    );
    page.0[1].store(0, Ordering::Relaxed);
    assert_eq!(
        open(&page, size_of::<Page>()).unwrap_err(),
        RegionError::InvalidGeometry
    );
    page.0[1].store(u64::MAX, Ordering::Relaxed);
    page.0[2].store(u64::MAX, Ordering::Relaxed);
    assert_eq!(
        open(&page, size_of::<Page>()).unwrap_err(),
        RegionError::InvalidGeometry
    );
}

#[test]
fn misaligned_memory_is_refused() {
    let page = blank_page();
    let ptr = NonNull::from(&page.0[1]).cast();
    // SAFETY: within the page, and zeroed.
    let refused = unsafe { Region::attach(ptr, 1024, GEOMETRY, page.clone()) };
    assert_eq!(refused.unwrap_err(), RegionError::Misaligned);
}

#[test]
fn errors_say_what_is_wrong() {
    let texts = [
        RegionError::InvalidGeometry,
        RegionError::Misaligned,
        RegionError::TooSmall { needed_bytes: 640 },
        RegionError::WrongMagic,
        RegionError::WrongGeometry,
    ]
    .map(|error| error.to_string());
    assert!(texts[2].contains("640 bytes"));
    assert_eq!(
        texts.iter().collect::<std::collections::HashSet<_>>().len(),
        5
    );
}
