//! What one operation of each primitive costs, alone and with a second thread at the same cells.
//!
//! `cargo bench -p gatewayx-telemetry`. Every figure is the median of many batches, in nanoseconds;
//! each measurement first checks that the operation did what it says.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use gatewayx_telemetry::{Cells, Geometry, LATENCY_BOUNDS_NS, PermitCells, Permits, Region};

const BATCHES: usize = 301;
const OPERATIONS_PER_BATCH: u32 = 10_000;

/// Cells of the benchmark's block: permits, a counter, and a histogram on lines of its own.
const PERMITS: PermitCells = PermitCells {
    in_use: 0,
    ledger: 8,
    seen: 9,
};
const COUNTER: u32 = 1;
const HISTOGRAM: u32 = 16;

fn cells() -> Cells {
    let cells_per_block = HISTOGRAM + 16;
    let geometry = Geometry {
        slots_count: 1,
        blocks_count: 1,
        cells_per_block,
        shared_cells_per_block: 0,
        entries_count: 0,
    };
    Region::private(geometry).cells(0, 0)
}

/// Median nanoseconds of one operation.
fn median_ns(mut operation: impl FnMut(u64)) -> f64 {
    let mut batches: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let begin = Instant::now();
            for index in 0..u64::from(OPERATIONS_PER_BATCH) {
                operation(index);
            }
            begin.elapsed().as_nanos() as f64 / f64::from(OPERATIONS_PER_BATCH)
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    batches[BATCHES / 2]
}

/// The same while another thread does it too.
fn median_contended_ns(operation: impl Fn(u64) + Sync) -> f64 {
    median_of_two_ns(|_, index| operation(index))
}

/// The same, of an operation that is told which of the two threads calls it.
fn median_of_two_ns(operation: impl Fn(u32, u64) + Sync) -> f64 {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut index = 0;
            while !stop.load(Ordering::Relaxed) {
                operation(1, index);
                index += 1;
            }
        });
        let median = median_ns(|index| operation(0, index));
        stop.store(true, Ordering::Relaxed);
        median
    })
}

fn report(name: &str, ns: f64) {
    println!("{name:<44} {ns:>8.2} ns");
}

/// Values spread over all buckets in an order that no branch predictor learns.
fn spread(index: u64) -> u64 {
    (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 30) % 12_000_000_000
}

fn main() {
    let observations = (BATCHES as u64) * u64::from(OPERATIONS_PER_BATCH);

    let limiter = cells();
    let slots = [cells(), cells()];
    let acquire_release = |slot| {
        let permits = Permits::new(black_box(&limiter), black_box(&slots), slot, PERMITS);
        assert!(permits.try_acquire(black_box(10)));
        assert!(permits.release());
    };
    report(
        "permits: acquire + release",
        median_ns(|_| acquire_release(0)),
    );
    report(
        "permits: acquire + release, contended",
        median_of_two_ns(|slot, _| acquire_release(slot)),
    );
    let permits = Permits::new(&limiter, &slots, 0, PERMITS);
    assert_eq!(permits.count(), 0);

    assert!(permits.try_acquire(1));
    let refused = |_| assert!(!black_box(permits).try_acquire(1));
    report("permits: refusal", median_ns(refused));

    let counter = cells();
    report(
        "counter: add",
        median_ns(|_| black_box(&counter).add(COUNTER, 1)),
    );
    report(
        "counter: add_shared",
        median_ns(|_| black_box(&counter).add_shared(COUNTER, 1)),
    );
    assert_eq!(counter.load(COUNTER), observations * 2);
    let contended = cells();
    let add_shared = |_| black_box(&contended).add_shared(COUNTER, 1);
    report(
        "counter: add_shared, contended",
        median_contended_ns(add_shared),
    );

    let empty = median_ns(|index| {
        black_box(spread(index));
    });
    report("(making a value, included below)", empty);
    let histogram = cells();
    let observe = |index| {
        let view = black_box(&histogram).histogram(HISTOGRAM, &LATENCY_BOUNDS_NS);
        view.observe_ns(black_box(spread(index)));
    };
    report("histogram: observe_ns, 9 bounds", median_ns(observe));
    let snapshot = histogram
        .histogram(HISTOGRAM, &LATENCY_BOUNDS_NS)
        .snapshot();
    assert_eq!(snapshot.cumulative.last(), Some(&observations));
    let observe_shared = |index| {
        let view = black_box(&histogram).histogram(HISTOGRAM, &LATENCY_BOUNDS_NS);
        view.observe_ns_shared(black_box(spread(index)));
    };
    report("histogram: observe_ns_shared", median_ns(observe_shared));
    report(
        "histogram: observe_ns_shared, contended",
        median_contended_ns(observe_shared),
    );
}
