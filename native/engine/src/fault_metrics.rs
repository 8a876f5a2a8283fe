//! What is counted of injected faults.
//!
//! The gateway's own block has the sums, under the names that an Envoy with the same policies shows. Every rule
//! has a block of its own, so that its counters, its bound and its sequence live as long as it does.

use gatewayx_telemetry::{Permits, Region};

use crate::metrics::{Family, HistogramSample, Kind, Sample, Samples, cell, shared_cell};

/// Upper bounds of the delay histogram: half a millisecond to an hour.
pub const DELAY_BOUNDS_NS: [u64; 19] = {
    const MS: u64 = 1_000_000;
    [
        MS / 2,
        MS,
        5 * MS,
        10 * MS,
        25 * MS,
        50 * MS,
        100 * MS,
        250 * MS,
        500 * MS,
        1_000 * MS,
        2_500 * MS,
        5_000 * MS,
        10_000 * MS,
        30_000 * MS,
        60_000 * MS,
        300_000 * MS,
        600_000 * MS,
        1_800_000 * MS,
        3_600_000 * MS,
    ]
};

/// Kinds of faults, by their cells after [`cell::FAULT_INJECTED`].
const KINDS: [&str; 5] = ["abort", "delay", "reset", "truncate", "throttle"];

/// How many kinds of faults there are.
pub(crate) const KINDS_COUNT: u32 = KINDS.len() as u32;

/// A set of kinds of faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Injected(u8);

impl Injected {
    pub(crate) const ABORT: Self = Self(1);
    pub(crate) const DELAY: Self = Self(1 << 1);
    pub(crate) const RESET: Self = Self(1 << 2);
    pub(crate) const TRUNCATE: Self = Self(1 << 3);
    pub(crate) const THROTTLE: Self = Self(1 << 4);

    pub(crate) fn contains(self, kind: Self) -> bool {
        self.0 & kind.0 != 0
    }

    pub(crate) fn insert(&mut self, kind: Self) {
        self.0 |= kind.0;
    }

    /// The cell that counts a single kind.
    pub(crate) fn cell(self) -> u32 {
        cell::FAULT_INJECTED + self.0.trailing_zeros()
    }

    /// As the log has it: `delay,abort` in the order in which they happen.
    pub(crate) fn name(self) -> &'static str {
        match (
            self.contains(Self::DELAY),
            self.contains(Self::TRUNCATE),
            self.contains(Self::THROTTLE),
            self.contains(Self::ABORT),
            self.contains(Self::RESET),
        ) {
            (false, _, _, true, _) => "abort",
            (true, _, _, true, _) => "delay,abort",
            (false, _, _, _, true) => "reset",
            (true, _, _, _, true) => "delay,reset",
            (false, false, false, ..) => "",
            (true, false, false, ..) => "delay",
            (false, true, false, ..) => "truncate",
            (true, true, false, ..) => "delay,truncate",
            (false, false, true, ..) => "throttle",
            (true, false, true, ..) => "delay,throttle",
            (false, true, true, ..) => "throttle,truncate",
            (true, true, true, ..) => "delay,throttle,truncate",
        }
    }
}

/// A policy whose metrics are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySeries {
    /// The `policy` label.
    pub policy: String,
    /// The blocks of its rules.
    pub blocks: Vec<u32>,
}

/// What has happened because of some rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultCounts {
    /// Requests that they decided about.
    pub matched: u64,
    /// Requests that count against `max_active` now.
    pub active: u64,
    /// Faults by kind.
    pub injected: Vec<(&'static str, u64)>,
}

/// Reads the counters of some rules.
pub fn fault_counts(region: &Region, blocks: &[u32]) -> FaultCounts {
    let sum = |cell| blocks.iter().map(|&block| region.sum(block, cell)).sum();
    FaultCounts {
        matched: sum(cell::FAULT_MATCHED),
        active: blocks
            .iter()
            .map(|&block| Permits::count_in(region.shared(block).load(shared_cell::PERMITS)))
            .sum(),
        injected: KINDS
            .iter()
            .zip(cell::FAULT_INJECTED..)
            .map(|(&kind, cell)| (kind, sum(cell)))
            .collect(),
    }
}

/// Numbers the requests that a rule matches from 0 again: for a policy that is applied anew.
pub fn restart_sequence(region: &Region, block: u32) {
    region.shared(block).store(shared_cell::FAULT_SEQUENCE, 0);
}

/// Reads everything that is counted of faults.
pub fn fault_families(region: &Region, policies: &[PolicySeries]) -> Vec<Family> {
    let total = |name, help, kind: Injected| Family {
        name,
        kind: Kind::Counter,
        help,
        labels: &[],
        samples: Samples::Numbers(vec![Sample {
            labels: Vec::new(),
            value: region.sum(0, kind.cell()),
        }]),
    };
    let by_policy = |name, help, labels, values: fn(FaultCounts) -> Vec<(&'static str, u64)>| {
        let samples = policies.iter().flat_map(|one| {
            values(fault_counts(region, &one.blocks))
                .into_iter()
                .map(|(kind, value)| {
                    let kind = (!kind.is_empty()).then(|| kind.to_owned());
                    Sample {
                        labels: [one.policy.clone()].into_iter().chain(kind).collect(),
                        value,
                    }
                })
        });
        Family {
            name,
            kind: Kind::Counter,
            help,
            labels,
            samples: Samples::Numbers(samples.collect()),
        }
    };
    vec![
        total(
            "wasmcustom_hfi_faults_aborts",
            "Requests that a fault policy answered in place of the upstream.",
            Injected::ABORT,
        ),
        total(
            "wasmcustom_hfi_faults_delays",
            "Requests that a fault policy held.",
            Injected::DELAY,
        ),
        delays(region),
        by_policy(
            "gateway_faults_injected",
            "Faults injected, by policy and kind.",
            &["policy", "kind"],
            |counts| counts.injected,
        ),
        by_policy(
            "gateway_faults_matched",
            "Requests that a rule of the policy decided about, hit or spared.",
            &["policy"],
            |counts| vec![("", counts.matched)],
        ),
    ]
}

fn delays(region: &Region) -> Family {
    let mut total = 0;
    let cumulative_counts = (0..=DELAY_BOUNDS_NS.len() as u32)
        .map(|bucket| {
            total += region.sum(0, cell::FAULT_DELAY + bucket);
            total
        })
        .collect();
    let sum_cell = cell::FAULT_DELAY + DELAY_BOUNDS_NS.len() as u32 + 1;
    Family {
        name: "wasmcustom_hfi_faults_delay_duration_milliseconds",
        kind: Kind::Histogram,
        help: "Delays as they were injected, in milliseconds.",
        labels: &[],
        samples: Samples::Histograms(
            &DELAY_BOUNDS_NS,
            vec![HistogramSample {
                labels: Vec::new(),
                cumulative_counts,
                sum_ns: region.sum(0, sum_cell),
            }],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_their_cells_and_names() {
        let singles = [
            Injected::ABORT,
            Injected::DELAY,
            Injected::RESET,
            Injected::TRUNCATE,
            Injected::THROTTLE,
        ];
        for (kind, (name, cell)) in singles.iter().zip(KINDS.iter().zip(cell::FAULT_INJECTED..)) {
            assert_eq!((kind.name(), kind.cell()), (*name, cell));
        }
        let mut both = Injected::DELAY;
        both.insert(Injected::ABORT);
        assert_eq!(both.name(), "delay,abort");
        assert_eq!(Injected::default().name(), "");
    }
}
