use super::*;
use crate::{Geometry, Region};

const CELLS: PermitCells = PermitCells {
    in_use: 0,
    ledger: 0,
    seen: 1,
};

struct World {
    shared: Cells,
    slots: Vec<Cells>,
}

impl World {
    fn new(slots_count: u32) -> Self {
        let region = Region::private(Geometry {
            slots_count,
            blocks_count: 1,
            cells_per_block: 2,
            shared_cells_per_block: 2,
            entries_count: 0,
        });
        Self {
            shared: region.shared(0),
            slots: (0..slots_count).map(|slot| region.cells(slot, 0)).collect(),
        }
    }

    fn permits(&self, slot: u32) -> Permits<'_> {
        Permits::new(&self.shared, &self.slots, slot, CELLS)
    }
}

#[test]
fn never_more_than_max_and_never_less_than_none() {
    let world = World::new(2);
    let permits = world.permits(0);
    assert!(!permits.release());
    assert!(!permits.try_acquire(0));
    assert!(permits.try_acquire(2));
    assert!(world.permits(1).try_acquire(2));
    assert!(!permits.try_acquire(2));
    assert_eq!((permits.count(), permits.held()), (2, 1));
    assert!(permits.release());
    assert!(!permits.release(), "the other one is not this writer's");
    assert_eq!(permits.count(), 1);
    assert!(permits.try_acquire(2));
}

#[test]
fn a_lower_max_takes_effect_as_permits_come_back() {
    let world = World::new(1);
    let permits = world.permits(0);
    assert!((0..5).all(|_| permits.try_acquire(5)));
    assert!(!permits.try_acquire(2));
    assert!((0..3).all(|_| permits.release()));
    assert!(!permits.try_acquire(2));
    assert!(permits.release());
    assert!(permits.try_acquire(2));
}

/// The window that matters: between a permit taken and its own record of it.
#[test]
fn a_death_at_any_point_of_a_change_loses_no_permit() {
    for stage in [Stage::Announced, Stage::Noted, Stage::Changed] {
        for others_go_on in [false, true] {
            for releases in [false, true] {
                let world = World::new(2);
                let (dead, alive) = (world.permits(0), world.permits(1));
                assert!(dead.try_acquire(9) && alive.try_acquire(9) && dead.try_acquire(9));
                let dies = |at| at == stage;
                let end = if releases {
                    dead.release_until(dies)
                } else {
                    dead.try_acquire_until(9, dies)
                };
                assert_eq!(end, None);
                if others_go_on {
                    assert!(alive.try_acquire(9) && alive.try_acquire(9) && alive.release());
                }
                let done = stage == Stage::Changed;
                let expected = match (done, releases) {
                    (false, _) => 2,
                    (true, false) => 3,
                    (true, true) => 1,
                };
                assert_eq!(dead.bury(), expected, "{stage:?} {others_go_on} {releases}");
                assert_eq!(alive.count(), alive.held());
                assert_eq!(dead.bury(), 0);
                // The replacement goes on with the same numbers.
                assert!(dead.try_acquire(9) && dead.release());
                assert_eq!(alive.count(), alive.held());
            }
        }
    }
}

#[test]
fn numbers_wrap_around() {
    let world = World::new(2);
    let (first, second) = (world.permits(0), world.permits(1));
    for _ in 0..NUMBER_MASK / 2 + 10 {
        assert!(first.try_acquire(1) && first.release());
    }
    // Seen by nobody for more than a circle, and still told apart.
    assert_eq!(first.try_acquire_until(9, |at| at == Stage::Changed), None);
    assert!(second.try_acquire(9));
    assert_eq!(first.bury(), 1);
    assert_eq!((second.count(), second.held()), (1, 1));
}

#[test]
fn threads_share_the_limit_exactly() {
    const MAX: u32 = 3;
    let world = World::new(4);
    std::thread::scope(|scope| {
        for slot in 0..4 {
            let world = &world;
            scope.spawn(move || {
                let permits = world.permits(slot);
                for _ in 0..2_000 {
                    if permits.try_acquire(MAX) {
                        world.shared.add_shared(1, 1);
                        assert!(world.shared.load(1) <= u64::from(MAX));
                        world.shared.sub_shared(1, 1);
                        assert!(permits.release());
                    }
                }
            });
        }
    });
    assert_eq!(world.permits(0).count(), 0);
}
