//! A histogram as a view over consecutive cells.

use crate::cells::add_single;
use crate::sync::{AtomicU64, Ordering};

/// Upper bounds of the latency histograms, in nanoseconds: 10 ms to 10 s.
pub const LATENCY_BOUNDS_NS: [u64; 9] = [
    10_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Up to this many bounds are all compared; beyond it a binary search is cheaper.
const LINEAR_BOUNDS_MAX: usize = 16;

/// A histogram over the cells `[bucket of bounds[0], ..., bucket of +Inf, sum in ns]`.
///
/// A bucket counts the observations above the bound before it, up to and including its own (`le` in
/// Prometheus); they become cumulative when they are read. There is no cell for the count: it is
/// the sum of the buckets, so that the two cannot disagree.
#[derive(Clone, Copy, Debug)]
pub struct Histogram<'a> {
    buckets: &'a [AtomicU64],
    sum_ns: &'a AtomicU64,
    bounds_ns: &'a [u64],
}

/// What a histogram held at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Observations of each bucket and all before it; the last is the count of all observations.
    pub cumulative: Vec<u64>,
    /// Sum of all observations. Wraps after 584 years of observed time.
    pub sum_ns: u64,
}

impl<'a> Histogram<'a> {
    /// Cells that a histogram of this many bounds takes: its buckets, the one of +Inf, and the sum.
    pub const fn cells_count(bounds_count: usize) -> u32 {
        bounds_count as u32 + 2
    }

    /// See [`Cells::histogram`], which is how one gets it.
    #[inline]
    pub(crate) fn new(cells: &'a [AtomicU64], bounds_ns: &'a [u64]) -> Self {
        debug_assert!(bounds_ns.is_sorted());
        let cells = &cells[..bounds_ns.len() + 2];
        let (buckets, sum_ns) = cells.split_at(bounds_ns.len() + 1);
        Self {
            buckets,
            sum_ns: &sum_ns[0],
            bounds_ns,
        }
    }

    /// Records an observation where nobody else writes; see [`Cells::add`](crate::Cells::add).
    #[inline]
    pub fn observe_ns(&self, value_ns: u64) {
        add_single(&self.buckets[bucket_index(self.bounds_ns, value_ns)], 1);
        add_single(self.sum_ns, value_ns);
    }

    /// Records an observation where others write too.
    #[inline]
    pub fn observe_ns_shared(&self, value_ns: u64) {
        self.buckets[bucket_index(self.bounds_ns, value_ns)].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(value_ns, Ordering::Relaxed);
    }

    /// Reads the histogram. Exact once its writers have paused; until then each cell is exact by
    /// itself.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let cumulative = self
            .buckets
            .iter()
            .scan(0u64, |below, bucket| {
                *below = below.wrapping_add(bucket.load(Ordering::Relaxed));
                Some(*below)
            })
            .collect();
        HistogramSnapshot {
            cumulative,
            sum_ns: self.sum_ns.load(Ordering::Relaxed),
        }
    }
}

/// How many bounds lie below the value, which is the index of its bucket.
///
/// The linear count has no branch to mispredict and takes the same time for every value.
#[inline]
fn bucket_index(bounds_ns: &[u64], value_ns: u64) -> usize {
    if bounds_ns.len() <= LINEAR_BOUNDS_MAX {
        bounds_ns
            .iter()
            .map(|&bound| usize::from(bound < value_ns))
            .sum()
    } else {
        bounds_ns.partition_point(|&bound| bound < value_ns)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::region::tests::shared_cells;
    use proptest::prelude::*;

    /// The definition, naively: how many values are at or below each bound, then all of them.
    fn oracle(bounds_ns: &[u64], values_ns: &[u64]) -> HistogramSnapshot {
        let at_or_below = |bound: u64| values_ns.iter().filter(|&&value| value <= bound).count();
        let mut cumulative: Vec<u64> = bounds_ns
            .iter()
            .map(|&bound| at_or_below(bound) as u64)
            .collect();
        cumulative.push(values_ns.len() as u64);
        let sum_ns = values_ns
            .iter()
            .fold(0u64, |sum, value| sum.wrapping_add(*value));
        HistogramSnapshot { cumulative, sum_ns }
    }

    /// Bounds of either search, and values that often sit on a bound or beside it.
    fn bounds_and_values() -> impl Strategy<Value = (Vec<u64>, Vec<u64>)> {
        prop::collection::btree_set(prop_oneof![0..200u64, any::<u64>()], 0..40)
            .prop_map(|bounds| bounds.into_iter().collect::<Vec<_>>())
            .prop_flat_map(|bounds| {
                let near = prop::collection::vec(
                    (any::<prop::sample::Index>(), -1i64..=1).prop_map({
                        let bounds = bounds.clone();
                        move |(index, step)| match bounds.is_empty() {
                            true => 7,
                            false => index.get(&bounds).saturating_add_signed(step),
                        }
                    }),
                    0..50,
                );
                let anywhere = prop::collection::vec(any::<u64>(), 0..50);
                let values =
                    (near, anywhere).prop_map(|(near, anywhere)| [near, anywhere].concat());
                (Just(bounds), values)
            })
    }

    proptest! {
        #[test]
        fn both_ways_to_observe_agree_with_the_definition(
            (bounds_ns, values_ns) in bounds_and_values()
        ) {
            const FIRST: u32 = 3;
            let count = Histogram::cells_count(bounds_ns.len());
            let cells = shared_cells(FIRST + count * 2);
            let single = cells.histogram(FIRST, &bounds_ns);
            let shared = cells.histogram(FIRST + count, &bounds_ns);
            for &value_ns in &values_ns {
                single.observe_ns(value_ns);
                shared.observe_ns_shared(value_ns);
            }
            let expected = oracle(&bounds_ns, &values_ns);
            prop_assert_eq!(single.snapshot(), expected.clone());
            prop_assert_eq!(shared.snapshot(), expected);
            prop_assert_eq!(cells.load(FIRST - 1), 0);
        }
    }

    #[test]
    fn a_value_on_a_bound_belongs_to_it() {
        let index = |value_ns| bucket_index(&LATENCY_BOUNDS_NS, value_ns);
        assert_eq!(index(0), 0);
        assert_eq!(index(10_000_000), 0);
        assert_eq!(index(10_000_001), 1);
        assert_eq!(index(10_000_000_000), 8);
        assert_eq!(index(u64::MAX), 9);
    }

    #[test]
    #[should_panic(expected = "out of range for slice of length")]
    fn a_block_that_ends_too_early_is_refused() {
        let cells = shared_cells(10);
        cells.histogram(0, &LATENCY_BOUNDS_NS).observe_ns(1);
    }
}
