//! Every interleaving of a few threads, within loom's bounds:
//! `RUSTFLAGS="--cfg loom" cargo test -p gatewayx-telemetry --release --test loom`.
#![cfg(loom)]

use std::any::Any;
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

use gatewayx_telemetry::{
    Cells, Geometry, PermitCells, Permits, Region, RegionError, Ring, Samples, Stage, Table, WAYS,
};
use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU64;
use loom::thread;

const GEOMETRY: Geometry = Geometry {
    slots_count: 1,
    blocks_count: 1,
    cells_per_block: 1,
    shared_cells_per_block: 2,
    entries_count: 0,
};

fn shared_cells() -> Cells {
    Region::private(GEOMETRY).shared(0)
}

/// A model of three threads, where all interleavings would take hours: those with at most two
/// preemptions are explored.
fn bounded_model(model: impl Fn() + Send + Sync + 'static) {
    let mut bounded = loom::model::Builder::new();
    bounded.preemption_bound = Some(2);
    bounded.check(model);
}

/// Runs `body` in two threads and here, and joins them.
fn three_threads(body: impl Fn() + Clone + Send + Sync + 'static) {
    let others: Vec<_> = (0..2).map(|_| thread::spawn(body.clone())).collect();
    body();
    others.into_iter().for_each(|other| other.join().unwrap());
}

const PERMITS: PermitCells = PermitCells {
    in_use: 0,
    ledger: 0,
    seen: 1,
};
/// In each slot's block.
const WAITING: u32 = 2;

/// Two or three workers that share permits.
#[derive(Clone)]
struct Workers {
    shared: Cells,
    slots: Vec<Cells>,
}

impl Workers {
    fn new(slots_count: u32) -> Self {
        let region = Region::private(Geometry {
            slots_count,
            cells_per_block: 3,
            ..GEOMETRY
        });
        Self {
            shared: region.shared(0),
            slots: (0..slots_count).map(|slot| region.cells(slot, 0)).collect(),
        }
    }

    fn permits(&self, slot: u32) -> Permits<'_> {
        Permits::new(&self.shared, &self.slots, slot, PERMITS)
    }

    /// Runs `body` for every slot, the last one here.
    fn each(&self, body: impl Fn(&Self, u32) + Clone + Send + Sync + 'static) {
        let last = self.slots.len() as u32 - 1;
        let others: Vec<_> = (0..last)
            .map(|slot| {
                let (workers, body) = (self.clone(), body.clone());
                thread::spawn(move || body(&workers, slot))
            })
            .collect();
        body(self, last);
        others.into_iter().for_each(|other| other.join().unwrap());
    }
}

#[test]
fn a_waiter_and_a_release_do_not_miss_each_other() {
    bounded_model(|| {
        let workers = Workers::new(2);
        assert!(workers.permits(0).try_acquire(1));
        let waiter = thread::spawn({
            let workers = workers.clone();
            move || workers.permits(1).acquire_or_announce(1, WAITING)
        });
        assert!(workers.permits(0).release());
        let seen_count = workers.permits(0).waiting_count(WAITING);
        let acquired = waiter.join().unwrap();
        assert!(acquired || seen_count == 1, "nobody would wake the waiter");
    });
}

#[test]
fn permits_in_use_never_pass_the_limit_and_none_is_lost() {
    const MAX: u32 = 2;
    bounded_model(|| {
        let workers = Workers::new(3);
        workers.each(|workers, slot| {
            let permits = workers.permits(slot);
            if permits.try_acquire(MAX) {
                workers.shared.add_shared(1, 1);
                assert!(workers.shared.load(1) <= u64::from(MAX));
                workers.shared.sub_shared(1, 1);
                assert!(permits.release());
            }
        });
        assert_eq!(workers.permits(0).count(), 0);
    });
}

#[test]
fn two_contenders_for_the_last_permit_do_not_both_fail() {
    bounded_model(|| {
        let workers = Workers::new(2);
        let contender = workers.clone();
        let other = thread::spawn(move || contender.permits(0).try_acquire(1));
        let here = workers.permits(1).try_acquire(1);
        assert!(here ^ other.join().unwrap());
    });
}

/// A worker dies at every point of an acquisition or a release, while others go on before and after.
#[test]
fn a_worker_that_dies_at_any_point_loses_no_permit() {
    for stage in [Stage::Announced, Stage::Noted, Stage::Changed] {
        for releases in [false, true] {
            bounded_model(move || {
                let workers = Workers::new(2);
                if releases {
                    assert!(workers.permits(0).try_acquire(3));
                }
                let dying = workers.clone();
                let dead = thread::spawn(move || {
                    let permits = dying.permits(0);
                    let dies = |at| at == stage;
                    if releases {
                        permits.release_until(dies)
                    } else {
                        permits.try_acquire_until(3, dies)
                    }
                });
                let alive = workers.permits(1);
                assert!(alive.try_acquire(3));
                assert_eq!(dead.join().unwrap(), None);
                let burying = workers.clone();
                let undertaker = thread::spawn(move || burying.permits(0).bury());
                assert!(alive.try_acquire(3) && alive.release());
                let had = undertaker.join().unwrap();
                assert_eq!(had, u64::from(releases != (stage == Stage::Changed)));
                assert_eq!((alive.count(), alive.held()), (1, 1));
            });
        }
    }
}

/// Two workers die, each in the middle of its own change; one overtook the other.
#[test]
fn two_deaths_at_once_lose_no_permit() {
    bounded_model(|| {
        let workers = Workers::new(2);
        workers.each(|workers, slot| {
            let dies = |at| at == Stage::Changed;
            assert_eq!(workers.permits(slot).try_acquire_until(2, dies), None);
        });
        assert_eq!(workers.permits(0).bury(), 1);
        assert_eq!(workers.permits(0).count(), 1);
        assert_eq!(workers.permits(1).bury(), 1);
        assert_eq!(workers.permits(1).count(), 0);
    });
}

/// Unsynchronised memory that one permit guards; loom reports a race if the orderings do not order it.
struct Guarded(UnsafeCell<u64>);

// SAFETY: only accessed by the holder of the permit, which is what the model checks.
unsafe impl Sync for Guarded {}
// SAFETY: as above.
unsafe impl Send for Guarded {}

#[test]
fn the_next_holder_sees_what_the_last_one_wrote() {
    bounded_model(|| {
        let workers = Workers::new(2);
        let guarded = Arc::new(Guarded(UnsafeCell::new(0)));
        let written = guarded.clone();
        workers.each(move |workers, slot| {
            let permits = workers.permits(slot);
            if permits.try_acquire(1) {
                // SAFETY: the permit is the only one.
                written.0.with_mut(|value| unsafe { *value += 1 });
                permits.release();
            }
        });
        // SAFETY: the other thread has ended.
        let value = guarded.0.with(|value| unsafe { *value });
        assert!((1..=2).contains(&value));
    });
}

#[test]
fn shared_adds_and_observations_are_all_counted() {
    loom::model(|| {
        let cells = Region::private(Geometry {
            shared_cells_per_block: 4,
            ..GEOMETRY
        })
        .shared(0);
        let body = {
            let cells = cells.clone();
            move || {
                cells.add_shared(3, 2);
                cells.histogram(0, &[10]).observe_ns_shared(7);
            }
        };
        let other = thread::spawn(body.clone());
        body();
        other.join().unwrap();
        let snapshot = cells.histogram(0, &[10]).snapshot();
        assert_eq!(
            (cells.load(3), snapshot.cumulative, snapshot.sum_ns),
            (4, vec![2, 2], 14)
        );
    });
}

#[test]
fn of_two_writers_of_a_ring_one_sees_both_changes() {
    loom::model(|| {
        let cells = shared_cells();
        let write = |cells: &Cells, index: usize| {
            let ring = Ring::<2>::new(cells, 0);
            ring.update(index, |value| value + 1);
            ring.read().iter().sum::<u64>()
        };
        let others = cells.clone();
        let other = thread::spawn(move || write(&others, 1));
        let here = write(&cells, 0);
        let there = other.join().unwrap();
        assert_eq!(here.max(there), 2, "a threshold of two would be missed");
    });
}

#[test]
fn no_change_of_a_cell_of_a_ring_is_lost() {
    bounded_model(|| {
        let cells = shared_cells();
        let writers = cells.clone();
        three_threads(move || Ring::<2>::new(&writers, 0).update(1, |value| value + 1));
        assert_eq!(Ring::<2>::new(&cells, 0).read(), [0, 3]);
    });
}

#[test]
fn of_two_who_have_enough_samples_together_one_takes_both() {
    loom::model(|| {
        let cells = sample_cells();
        let work = |cells: &Cells| {
            let samples = Samples::new(cells, 0);
            samples.add(5, 1);
            samples.try_take(1_000, 100, 2)
        };
        let others = cells.clone();
        let other = thread::spawn(move || work(&others));
        let here = work(&cells);
        let there = other.join().unwrap();
        assert!(here.is_some() ^ there.is_some(), "nobody's turn, or two");
        let taken = here.or(there).unwrap();
        assert_eq!((taken.count, taken.sum), (2, 10));
    });
}

#[test]
fn a_sample_that_comes_while_another_takes_is_in_this_turn_or_the_next() {
    loom::model(|| {
        let cells = sample_cells();
        Samples::new(&cells, 0).add(5, 1);
        let others = cells.clone();
        let other = thread::spawn(move || Samples::new(&others, 0).add(5, 1));
        let samples = Samples::new(&cells, 0);
        let first = samples.try_take(1_000, 100, 1).unwrap();
        other.join().unwrap();
        let second = samples.try_take(2_000, 100, 1);
        assert_eq!(first.count + second.map_or(0, |taken| taken.count), 2);
        assert_eq!(first.sum + second.map_or(0, |taken| taken.sum), 10);
    });
}

fn sample_cells() -> Cells {
    Region::private(Geometry {
        shared_cells_per_block: Samples::CELLS_COUNT,
        ..GEOMETRY
    })
    .shared(0)
}

/// Blank memory that several threads attach.
struct Blank {
    memory: Arc<Vec<AtomicU64>>,
}

impl Blank {
    fn new(geometry: Geometry) -> Self {
        let cells_count = geometry.bytes() / size_of::<AtomicU64>();
        Self {
            memory: Arc::new((0..cells_count).map(|_| AtomicU64::new(0)).collect()),
        }
    }

    fn attach(&self, geometry: Geometry) -> Result<Region, RegionError> {
        let ptr = NonNull::from(&self.memory[..]).cast();
        let len_bytes = self.memory.len() * size_of::<AtomicU64>();
        let owner: Arc<dyn Any + Send + Sync> = self.memory.clone();
        // SAFETY: zeroed atomics, owned by what is handed in.
        unsafe { Region::attach(ptr, len_bytes, geometry, owner) }
    }
}

#[test]
fn all_who_race_to_attach_the_same_geometry_share_one_region() {
    bounded_model(|| {
        let blank = Arc::new(Blank::new(GEOMETRY));
        let racing = blank.clone();
        three_threads(move || racing.attach(GEOMETRY).unwrap().shared(0).add_shared(0, 1));
        assert_eq!(blank.attach(GEOMETRY).unwrap().shared(0).load(0), 3);
    });
}

#[test]
fn of_two_geometries_that_race_exactly_one_wins() {
    const OTHERS: [Geometry; 2] = [
        Geometry {
            slots_count: 2,
            ..GEOMETRY
        },
        Geometry {
            shared_cells_per_block: 3,
            ..GEOMETRY
        },
    ];
    for other in OTHERS {
        let both_won = std::sync::Arc::new(std::sync::Mutex::new(Cell::new([false; 2])));
        let seen = both_won.clone();
        loom::model(move || {
            let blank = Arc::new(Blank::new(OTHERS[0]));
            let racing = blank.clone();
            let thread = thread::spawn(move || racing.attach(other).is_ok());
            let here = blank.attach(GEOMETRY).is_ok();
            let there = thread.join().unwrap();
            assert!(here ^ there, "one attaches, one is refused");
            let winner = if here { GEOMETRY } else { other };
            assert_eq!(blank.attach(winner).unwrap().geometry(), winner);
            let seen = seen.lock().unwrap();
            let mut winners = seen.get();
            winners[usize::from(here)] = true;
            seen.set(winners);
        });
        assert_eq!(
            both_won.lock().unwrap().get(),
            [true; 2],
            "the model explores both outcomes"
        );
    }
}

fn table_cells() -> Cells {
    Region::private(Geometry {
        entries_count: WAYS,
        ..GEOMETRY
    })
    .table()
}

#[test]
fn whoever_brings_a_key_first_its_value_is_one() {
    bounded_model(|| {
        let cells = table_cells();
        three_threads({
            let cells = cells.clone();
            move || {
                let cell = Table::new(&cells).find(7, |_| false).expect("room");
                cells.add_shared(cell, 1);
            }
        });
        let cell = Table::new(&cells).find(7, |_| false).expect("known");
        assert_eq!(cells.load(cell), 3);
    });
}

#[test]
fn keys_that_come_together_get_entries_of_their_own() {
    loom::model(|| {
        let cells = table_cells();
        let other = thread::spawn({
            let cells = cells.clone();
            move || Table::new(&cells).find(1, |_| false)
        });
        let mine = Table::new(&cells).find(2, |_| false).expect("room");
        assert_ne!(other.join().unwrap().expect("room"), mine);
    });
}

#[test]
fn in_a_full_bucket_nobody_waits_and_no_change_is_lost() {
    bounded_model(|| {
        let cells = table_cells();
        for key in 1..=u64::from(WAYS) {
            Table::new(&cells).find(key, |_| false).expect("room");
        }
        let take = move |cells: &Cells, key: u64| {
            if let Some(cell) = Table::new(cells).find(key, |value| value == 0) {
                cells.add_shared(cell, 1);
            }
        };
        let other = thread::spawn({
            let cells = cells.clone();
            move || take(&cells, 101)
        });
        take(&cells, 102);
        other.join().unwrap();
        let values = (0..WAYS).map(|way| cells.load(WAYS + way));
        assert_eq!(values.sum::<u64>(), 2);
    });
}
