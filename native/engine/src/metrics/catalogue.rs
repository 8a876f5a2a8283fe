//! Every metric of the engine: its name, its meaning, and the cells that it is read from.

use super::{Kind, cell, shared_cell};

pub(super) enum Source {
    Cell(u32),
    Permits(u32),
    Limit,
    Breaker,
    /// `(label value, cell)`, one series each.
    Cells(&'static [(&'static str, u32)]),
    Statuses,
    Reasons,
    Histogram(u32),
}

pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    pub(super) labels: &'static [&'static str],
    pub(super) source: Source,
}

const BY_PROXY: &[&str] = &["proxy"];

/// Metrics that every proxy has.
pub(super) const PROXY_METRICS: &[Metric] = &[
    Metric {
        name: "gateway_requests",
        kind: Kind::Counter,
        help: "Requests answered, by status code; 499 is a caller that left early.",
        labels: &["proxy", "status"],
        source: Source::Statuses,
    },
    Metric {
        name: "gateway_errors",
        kind: Kind::Counter,
        help: "Requests that did not end well, by reason; 5xx is the upstream's own answer.",
        labels: &["proxy", "type"],
        source: Source::Reasons,
    },
    Metric {
        name: "gateway_upstream_latency_seconds",
        kind: Kind::Histogram,
        help: "Time from dispatch to the upstream, dial included, until the end of its response.",
        labels: BY_PROXY,
        source: Source::Histogram(cell::UPSTREAM_LATENCY),
    },
    Metric {
        name: "gateway_proxy_latency_seconds",
        kind: Kind::Histogram,
        help: "Time that requests spent in the gateway besides: waiting for a permit, or to be tried \
               again. Its own computing, some microseconds, is not in it.",
        labels: BY_PROXY,
        source: Source::Histogram(cell::PROXY_LATENCY),
    },
    Metric {
        name: "gateway_active_connections",
        kind: Kind::Gauge,
        help: "Requests being served.",
        labels: BY_PROXY,
        source: Source::Cell(cell::ACTIVE),
    },
    Metric {
        name: "gateway_limiter_in_use",
        kind: Kind::Gauge,
        help: "Permits of max_concurrent in use.",
        labels: BY_PROXY,
        source: Source::Permits(shared_cell::PERMITS),
    },
    Metric {
        name: "gateway_limiter_limit",
        kind: Kind::Gauge,
        help: "The limit in force: max_concurrent, or what it has adapted to below that; 0 is no limit.",
        labels: BY_PROXY,
        source: Source::Limit,
    },
    Metric {
        name: "gateway_limiter_queued",
        kind: Kind::Gauge,
        help: "Requests that wait for a permit.",
        labels: BY_PROXY,
        source: Source::Cell(cell::QUEUED),
    },
    Metric {
        name: "gateway_circuit_breaker_state",
        kind: Kind::Gauge,
        help: "0 closed, 1 open, 2 half-open.",
        labels: BY_PROXY,
        source: Source::Breaker,
    },
    Metric {
        name: "gateway_limiter_rejected",
        kind: Kind::Counter,
        help: "Requests refused because max_concurrent was reached.",
        labels: BY_PROXY,
        source: Source::Cell(cell::LIMITER_REJECTED),
    },
    Metric {
        name: "gateway_upstream_tls_handshakes",
        kind: Kind::Counter,
        help: "TLS handshakes with upstreams; those that failed are errors of type tls_failed.",
        labels: &["proxy", "result"],
        source: Source::Cells(&[("full", cell::TLS_FULL), ("resumed", cell::TLS_RESUMED)]),
    },
    Metric {
        name: "gateway_upstream_connections",
        kind: Kind::Gauge,
        help: "Open connections to upstreams.",
        labels: &["proxy", "state"],
        source: Source::Cells(&[
            ("active", cell::UPSTREAM_ACTIVE),
            ("idle", cell::UPSTREAM_IDLE),
        ]),
    },
    Metric {
        name: "gateway_upstream_connects",
        kind: Kind::Counter,
        help: "Connections opened to upstreams.",
        labels: BY_PROXY,
        source: Source::Cell(cell::UPSTREAM_CONNECTS),
    },
    Metric {
        name: "gateway_upstream_reuse",
        kind: Kind::Counter,
        help: "Requests sent over a pooled connection.",
        labels: BY_PROXY,
        source: Source::Cell(cell::UPSTREAM_REUSE),
    },
    Metric {
        name: "gateway_upstream_oddities",
        kind: Kind::Counter,
        help: "Responses passed on although something about them was odd.",
        labels: BY_PROXY,
        source: Source::Cell(cell::ODDITIES),
    },
    Metric {
        name: "gateway_retries",
        kind: Kind::Counter,
        help: "Requests sent a second time.",
        labels: BY_PROXY,
        source: Source::Cell(cell::RETRIES),
    },
    Metric {
        name: "gateway_request_bytes",
        kind: Kind::Counter,
        help: "Bytes received from callers.",
        labels: BY_PROXY,
        source: Source::Cell(cell::BYTES_IN),
    },
    Metric {
        name: "gateway_response_bytes",
        kind: Kind::Counter,
        help: "Bytes sent to callers.",
        labels: BY_PROXY,
        source: Source::Cell(cell::BYTES_OUT),
    },
    Metric {
        name: "gateway_requests_begun",
        kind: Kind::Counter,
        help: "Requests whose head was read whole: answered, being served, or lost.",
        labels: BY_PROXY,
        source: Source::Cell(cell::BEGUN),
    },
    Metric {
        name: "gateway_requests_lost",
        kind: Kind::Counter,
        help: "Requests that were being served by a worker that died.",
        labels: BY_PROXY,
        source: Source::Cell(cell::LOST),
    },
];

/// Metrics of the gateway as a whole.
pub(super) const GATEWAY_METRICS: &[Metric] = &[
    Metric {
        name: "gateway_downstream_connections_accepted",
        kind: Kind::Counter,
        help: "Connections accepted from callers.",
        labels: &[],
        source: Source::Cell(cell::DOWNSTREAM_ACCEPTED),
    },
    Metric {
        name: "gateway_downstream_connections",
        kind: Kind::Gauge,
        help: "Open connections of callers.",
        labels: &[],
        source: Source::Cell(cell::DOWNSTREAM_OPEN),
    },
    Metric {
        name: "gateway_buffer_pool_in_use",
        kind: Kind::Gauge,
        help: "Receive buffers in use.",
        labels: &[],
        source: Source::Cell(cell::BUFFERS_IN_USE),
    },
    Metric {
        name: "gateway_buffer_pool_exhausted",
        kind: Kind::Counter,
        help: "Times that no pooled buffer was free and one was allocated.",
        labels: &[],
        source: Source::Cell(cell::BUFFERS_EXHAUSTED),
    },
    Metric {
        name: "gateway_access_log_dropped",
        kind: Kind::Counter,
        help: "Access log lines given up because the log could not keep pace, refused them, or died with a \
               worker.",
        labels: &[],
        source: Source::Cell(cell::LOG_DROPPED),
    },
    Metric {
        name: "gateway_downstream_connections_lost",
        kind: Kind::Counter,
        help: "Connections of callers that ended because their worker died.",
        labels: &[],
        source: Source::Cell(cell::DOWNSTREAM_LOST),
    },
    Metric {
        name: "gateway_downstream_connections_refused",
        kind: Kind::Counter,
        help: "Connections that were closed at once: over a bound, or without the PROXY header.",
        labels: &["reason"],
        source: Source::Cells(&[
            ("connections", cell::REFUSED_CONNECTIONS),
            ("address", cell::REFUSED_ADDRESS),
            ("proxy_header", cell::REFUSED_PROXY_HEADER),
        ]),
    },
    Metric {
        name: "gateway_downstream_tls_handshakes",
        kind: Kind::Counter,
        help: "TLS handshakes with callers.",
        labels: &["result"],
        source: Source::Cells(&[
            ("full", cell::TLS_FULL),
            ("resumed", cell::TLS_RESUMED),
            ("failed", cell::TLS_FAILED),
        ]),
    },
    Metric {
        name: "gateway_spans_dropped",
        kind: Kind::Counter,
        help: "Spans given up because their export could not keep pace.",
        labels: &[],
        source: Source::Cell(cell::SPANS_DROPPED),
    },
];
