//! What is counted, where it lies in a block, and under which name users see it.
//!
//! Block 0 is the gateway's own (connections, and requests that reached no proxy); every proxy has one more.
//! Each worker writes its own copy of a block, so recording is a plain load and store; a scrape adds up the
//! copies.

mod catalogue;
mod text;

use gatewayx_policy::{Breaker, BreakerConfig, State};
use gatewayx_telemetry::{Geometry, Histogram, LATENCY_BOUNDS_NS, PermitCells, Permits, Region};

pub use self::text::write_families;

use self::catalogue::{GATEWAY_METRICS, Metric, PROXY_METRICS, Source};
use crate::adaptive::limit_now;
use crate::error::{REASON_COUNT, REASON_NAMES};
use crate::rate_limit::CALLERS_MIN_COUNT;

use crate::fault_metrics::{DELAY_BOUNDS_NS, KINDS_COUNT};
pub use crate::rate_limit::CALLERS_COUNT;

/// Cells of a histogram: its buckets, the one without a bound, and the sum.
const LATENCY_CELLS: u32 = Histogram::cells_count(LATENCY_BOUNDS_NS.len());

/// Status codes 100 to 599 have a cell each; all others share one more.
pub(crate) const STATUS_CELLS: u32 = 501;

/// The cell that counts responses of a status.
pub(crate) fn status_cell(status: u16) -> u32 {
    match status {
        100..=599 => cell::REQUESTS + u32::from(status) - 100,
        _ => cell::REQUESTS + STATUS_CELLS - 1,
    }
}

/// Offsets in a worker's block.
pub(crate) mod cell {
    use super::{
        DELAY_BOUNDS_NS, Histogram, KINDS_COUNT, LATENCY_CELLS, REASON_COUNT, STATUS_CELLS,
    };

    pub(crate) const ACTIVE: u32 = 0;
    pub(crate) const UPSTREAM_ACTIVE: u32 = 1;
    pub(crate) const UPSTREAM_IDLE: u32 = 2;
    pub(crate) const UPSTREAM_CONNECTS: u32 = 3;
    pub(crate) const UPSTREAM_REUSE: u32 = 4;
    pub(crate) const RETRIES: u32 = 5;
    pub(crate) const LIMITER_REJECTED: u32 = 6;
    pub(crate) const BYTES_IN: u32 = 7;
    pub(crate) const BYTES_OUT: u32 = 8;
    pub(crate) const ODDITIES: u32 = 9;
    pub(crate) const DOWNSTREAM_ACCEPTED: u32 = 10;
    pub(crate) const DOWNSTREAM_OPEN: u32 = 11;
    pub(crate) const BUFFERS_IN_USE: u32 = 12;
    pub(crate) const BUFFERS_EXHAUSTED: u32 = 13;
    pub(crate) const LOG_DROPPED: u32 = 14;
    /// Permits that this worker holds and is about to take, to be given back should it die.
    pub(crate) const PERMIT_LEDGER: u32 = 15;
    /// Requests of this worker that wait for a permit.
    pub(crate) const QUEUED: u32 = 16;
    pub(crate) const UPSTREAM_LATENCY: u32 = 17;
    pub(crate) const PROXY_LATENCY: u32 = UPSTREAM_LATENCY + LATENCY_CELLS;
    pub(crate) const ERRORS: u32 = PROXY_LATENCY + LATENCY_CELLS;
    pub(crate) const REQUESTS: u32 = ERRORS + REASON_COUNT as u32;
    /// Exchanges begun: those that have ended, are under way, or died with a worker.
    pub(crate) const BEGUN: u32 = REQUESTS + STATUS_CELLS;
    /// Exchanges that died with a worker.
    pub(crate) const LOST: u32 = BEGUN + 1;
    /// Connections of callers that died with a worker.
    pub(crate) const DOWNSTREAM_LOST: u32 = LOST + 1;
    /// Access log lines made, and those that the log has taken.
    pub(crate) const LOG_MADE: u32 = DOWNSTREAM_LOST + 1;
    pub(crate) const LOG_WRITTEN: u32 = LOG_MADE + 1;
    /// The last change of the permits by this worker that others have seen.
    pub(crate) const PERMIT_SEEN: u32 = LOG_WRITTEN + 1;
    pub(crate) const SPANS_DROPPED: u32 = PERMIT_SEEN + 1;
    /// Requests that a fault rule decided about, the faults by kind, and the delays as injected.
    pub(crate) const FAULT_MATCHED: u32 = SPANS_DROPPED + 1;
    pub(crate) const FAULT_INJECTED: u32 = FAULT_MATCHED + 1;
    pub(crate) const FAULT_DELAY: u32 = FAULT_INJECTED + KINDS_COUNT;
    /// Handshakes: of callers in block 0, of targets in their proxy's.
    pub(crate) const TLS_FULL: u32 = FAULT_DELAY + Histogram::cells_count(DELAY_BOUNDS_NS.len());
    pub(crate) const TLS_RESUMED: u32 = TLS_FULL + 1;
    pub(crate) const TLS_FAILED: u32 = TLS_RESUMED + 1;
    /// Connections that were closed at once, by why.
    pub(crate) const REFUSED_CONNECTIONS: u32 = TLS_FAILED + 1;
    pub(crate) const REFUSED_ADDRESS: u32 = REFUSED_CONNECTIONS + 1;
    pub(crate) const REFUSED_PROXY_HEADER: u32 = REFUSED_ADDRESS + 1;
    pub(crate) const COUNT: u32 = REFUSED_PROXY_HEADER + 1;
}

/// Offsets in the block that all workers share.
pub(crate) mod shared_cell {
    /// Permits in use.
    pub(crate) const PERMITS: u32 = 0;
    /// The circuit breaker, packed.
    pub(crate) const BREAKER: u32 = 2;
    /// Bit n: a health check has found upstream n down.
    pub(crate) const DOWN: u32 = 3;
    /// The adaptive limit, packed.
    pub(crate) const LIMIT: u32 = 4;
    /// The times to the first byte that it goes by.
    pub(crate) const SAMPLES: u32 = 5;
    pub(crate) const FAULT_SEQUENCE: u32 = 6;
    /// The rate limit of all callers together, and of those the table has no room for.
    pub(crate) const RATE: u32 = 7;
    /// The breaker's sliding window, on cache lines of its own.
    pub(crate) const WINDOW: u32 = 8;
    pub(crate) const COUNT: u32 = WINDOW + gatewayx_policy::BUCKETS_COUNT as u32;
}

/// Where the permits of a proxy lie.
pub(crate) const PERMIT_CELLS: PermitCells = PermitCells {
    in_use: shared_cell::PERMITS,
    ledger: cell::PERMIT_LEDGER,
    seen: cell::PERMIT_SEEN,
};

/// The gateway's own cells that a driver records into: see [`Region::cells`] of block 0.
pub mod driver_cell {
    use super::cell;

    /// Receive buffers in use.
    pub const BUFFERS_IN_USE: u32 = cell::BUFFERS_IN_USE;
    /// Times that no pooled buffer was free.
    pub const BUFFERS_EXHAUSTED: u32 = cell::BUFFERS_EXHAUSTED;
    /// Log lines given up because the log could not keep pace.
    pub const LOG_DROPPED: u32 = cell::LOG_DROPPED;
    /// Log lines that the log has taken; only the log's writer adds to it.
    pub const LOG_WRITTEN: u32 = cell::LOG_WRITTEN;
    /// Spans given up because their reader could not keep pace.
    pub const SPANS_DROPPED: u32 = cell::SPANS_DROPPED;
}

/// The layout of a region for so many workers and proxies.
pub fn geometry(workers_count: u32, proxies_count: u32) -> Geometry {
    Geometry {
        slots_count: workers_count,
        blocks_count: proxies_count + 1,
        cells_per_block: cell::COUNT,
        shared_cells_per_block: shared_cell::COUNT,
        entries_count: CALLERS_MIN_COUNT,
    }
}

/// Tells all workers which upstreams of a block's proxy health checks have found down: bit n for upstream n.
pub fn set_down(region: &Region, block: u32, down: u64) {
    region.shared(block).store(shared_cell::DOWN, down);
}

/// How a family of metrics is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Comes and goes.
    Gauge,
    /// Buckets and a sum.
    Histogram,
}

impl Kind {
    /// The name that Prometheus uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One series of a counter or gauge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Values of the family's labels.
    pub labels: Vec<String>,
    /// The sum over all workers.
    pub value: u64,
}

/// One series of a histogram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSample {
    /// Values of the family's labels.
    pub labels: Vec<String>,
    /// Observations up to each bound, then all.
    pub cumulative_counts: Vec<u64>,
    /// Sum of the observations.
    pub sum_ns: u64,
}

/// The series of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Samples {
    /// Of a counter or gauge.
    Numbers(Vec<Sample>),
    /// Of a histogram, with its bounds.
    Histograms(&'static [u64], Vec<HistogramSample>),
}

/// A metric with all its series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Name, counters without their `_total`.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// What it tells.
    pub help: &'static str,
    /// Label names.
    pub labels: &'static [&'static str],
    /// Values.
    pub samples: Samples,
}

impl Family {
    /// Nanoseconds of the unit that a histogram's name ends with.
    pub fn unit_ns(&self) -> f64 {
        if self.name.ends_with("_milliseconds") {
            1e6
        } else {
            1e9
        }
    }
}

/// A proxy whose metrics are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The `proxy` label.
    pub proxy: String,
    /// Its block.
    pub block: u32,
    /// Its configured limit.
    pub max_concurrent: u32,
    /// The least that the limit may adapt to; 0 when it is fixed.
    pub adaptive_min: u32,
    /// How long its breaker stays open; 0 when it has none.
    pub recovery_timeout_ms: u64,
    /// How much longer it may stay open.
    pub recovery_jitter_percent: u32,
}

/// Reads everything: the gateway's own metrics, then each proxy's. Requests that reached no proxy carry an
/// empty `proxy` label. `now_ns` is of the clock that the engines are driven by.
pub fn families(region: &Region, proxies: &[Series], now_ns: u64) -> Vec<Family> {
    let gateway = [Series {
        proxy: String::new(),
        block: 0,
        max_concurrent: 0,
        adaptive_min: 0,
        recovery_timeout_ms: 0,
        recovery_jitter_percent: 0,
    }];
    let with_unrouted: Vec<Series> = gateway.iter().chain(proxies).cloned().collect();
    let of_gateway = GATEWAY_METRICS
        .iter()
        .map(|metric| read(region, metric, &gateway, now_ns));
    let of_proxies = PROXY_METRICS.iter().map(|metric| {
        let counts_unrouted = matches!(metric.source, Source::Statuses | Source::Reasons);
        read(
            region,
            metric,
            if counts_unrouted {
                &with_unrouted
            } else {
                proxies
            },
            now_ns,
        )
    });
    of_gateway.chain(of_proxies).collect()
}

fn read(region: &Region, metric: &Metric, series: &[Series], now_ns: u64) -> Family {
    let mut numbers = Vec::new();
    let mut histograms = Vec::new();
    for one in series {
        let labels = |extra: Option<String>| {
            let proxy = metric.labels.contains(&"proxy").then(|| one.proxy.clone());
            proxy.into_iter().chain(extra).collect()
        };
        let sum = |cell: u32| region.sum(one.block, cell);
        match &metric.source {
            Source::Cell(cell) => numbers.push(Sample {
                labels: labels(None),
                value: sum(*cell),
            }),
            Source::Permits(cell) => {
                let value = Permits::count_in(region.shared(one.block).load(*cell));
                numbers.push(Sample {
                    labels: labels(None),
                    value,
                });
            }
            Source::Limit => {
                let value = u64::from(match one.adaptive_min {
                    0 => one.max_concurrent,
                    limit_min => {
                        let shared = region.shared(one.block);
                        limit_now(&shared, limit_min, one.max_concurrent)
                    }
                });
                numbers.push(Sample {
                    labels: labels(None),
                    value,
                });
            }
            Source::Breaker => {
                let cfg = BreakerConfig {
                    recovery_timeout_ns: one.recovery_timeout_ms.saturating_mul(1_000_000),
                    recovery_jitter_percent: one.recovery_jitter_percent,
                    ..BreakerConfig::default()
                };
                let bits = region.shared(one.block).load(shared_cell::BREAKER);
                let value = match Breaker::from_bits(cfg, bits, now_ns).state(now_ns) {
                    State::Closed => 0,
                    State::Open => 1,
                    State::HalfOpen => 2,
                };
                numbers.push(Sample {
                    labels: labels(None),
                    value,
                });
            }
            Source::Cells(cells) => numbers.extend(cells.iter().map(|&(label, cell)| Sample {
                labels: labels(Some(label.to_owned())),
                value: sum(cell),
            })),
            Source::Statuses => {
                numbers.extend((0..STATUS_CELLS).filter_map(|offset| {
                    let value = sum(cell::REQUESTS + offset);
                    let other = offset == STATUS_CELLS - 1;
                    let label = if other {
                        "other".to_owned()
                    } else {
                        (offset + 100).to_string()
                    };
                    (value > 0).then(|| Sample {
                        labels: labels(Some(label)),
                        value,
                    })
                }));
            }
            Source::Reasons => {
                numbers.extend(REASON_NAMES.iter().enumerate().filter_map(|(index, name)| {
                    let value = sum(cell::ERRORS + index as u32);
                    (value > 0).then(|| Sample {
                        labels: labels(Some((*name).to_owned())),
                        value,
                    })
                }));
            }
            Source::Histogram(first) => {
                let mut total = 0;
                let cumulative_counts = (0..=LATENCY_BOUNDS_NS.len() as u32)
                    .map(|bucket| {
                        total += sum(first + bucket);
                        total
                    })
                    .collect();
                histograms.push(HistogramSample {
                    labels: labels(None),
                    cumulative_counts,
                    sum_ns: sum(first + LATENCY_CELLS - 1),
                });
            }
        }
    }
    let samples = match metric.kind {
        Kind::Histogram => Samples::Histograms(&LATENCY_BOUNDS_NS, histograms),
        Kind::Counter | Kind::Gauge => Samples::Numbers(numbers),
    };
    Family {
        name: metric.name,
        kind: metric.kind,
        help: metric.help,
        labels: metric.labels,
        samples,
    }
}
