//! Every interleaving of a few threads, within loom's bounds:
//! `RUSTFLAGS="--cfg loom" cargo test -p gatewayx-telemetry --release --test loom`.
#![cfg(loom)]

use std::any::Any;
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

use gatewayx_telemetry::{Cells, Geometry, Permits, Region, RegionError, Ring};
use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU64;
use loom::thread;

const GEOMETRY: Geometry = Geometry {
    slots_count: 1,
    blocks_count: 1,
    cells_per_block: 1,
    shared_cells_per_block: 2,
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

#[test]
fn a_waiter_and_a_release_do_not_miss_each_other() {
    loom::model(|| {
        let cells = shared_cells();
        assert!(Permits::new(&cells, 0).try_acquire(1));
        let waiter = thread::spawn({
            let cells = cells.clone();
            move || Permits::new(&cells, 0).acquire_or_announce(1, &cells, 1)
        });
        assert!(Permits::new(&cells, 0).release());
        let seen_count = Permits::waiting_count(&cells, 1);
        let acquired = waiter.join().unwrap();
        assert!(acquired || seen_count == 1, "nobody would wake the waiter");
    });
}

#[test]
fn permits_in_use_never_pass_the_limit_and_none_is_lost() {
    const MAX: u32 = 2;
    bounded_model(|| {
        let cells = shared_cells();
        let holders = cells.clone();
        three_threads(move || {
            let permits = Permits::new(&holders, 0);
            if permits.try_acquire(MAX) {
                holders.add_shared(1, 1);
                assert!(holders.load(1) <= u64::from(MAX));
                holders.sub_shared(1, 1);
                assert!(permits.release());
            }
        });
        assert_eq!(Permits::new(&cells, 0).count(), 0);
    });
}

#[test]
fn two_contenders_for_the_last_permit_do_not_both_fail() {
    loom::model(|| {
        let cells = shared_cells();
        let contender = cells.clone();
        let other = thread::spawn(move || Permits::new(&contender, 0).try_acquire(1));
        let here = Permits::new(&cells, 0).try_acquire(1);
        assert!(here ^ other.join().unwrap());
    });
}

#[test]
fn a_permit_is_given_back_once() {
    loom::model(|| {
        let cells = shared_cells();
        assert!(Permits::new(&cells, 0).try_acquire(1));
        let second = cells.clone();
        let other = thread::spawn(move || Permits::new(&second, 0).release());
        let here = Permits::new(&cells, 0).release();
        assert!(here ^ other.join().unwrap());
        assert_eq!(Permits::new(&cells, 0).count(), 0);
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
    loom::model(|| {
        let cells = shared_cells();
        let guarded = Arc::new(Guarded(UnsafeCell::new(0)));
        let body = {
            let (cells, guarded) = (cells.clone(), guarded.clone());
            move || {
                let permits = Permits::new(&cells, 0);
                if permits.try_acquire(1) {
                    // SAFETY: the permit is the only one.
                    guarded.0.with_mut(|value| unsafe { *value += 1 });
                    permits.release();
                }
            }
        };
        let other = thread::spawn(body.clone());
        body();
        other.join().unwrap();
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
