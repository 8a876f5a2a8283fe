//! The metrics, read as a scrape reads them, and what must hold between them at any time.

use std::collections::BTreeMap;

use gatewayx_engine::metrics::{Samples, Series, families};
use gatewayx_telemetry::Region;

use crate::ledger::LogSums;

/// One reading of the metrics that the simulator knows the truth of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Requests by proxy and status.
    pub requests: BTreeMap<(String, String), u64>,
    /// Failures by proxy and reason.
    pub errors: BTreeMap<(String, String), u64>,
    /// Callers' connections so far.
    pub accepted: u64,
    /// Callers' connections now.
    pub open: u64,
    /// Exchanges of each proxy now.
    pub active: BTreeMap<String, u64>,
    /// Permits of each proxy now.
    pub permits: BTreeMap<String, u64>,
    /// Requests that wait for a permit, by proxy.
    pub queued: BTreeMap<String, u64>,
    /// Limit of each proxy.
    pub limits: BTreeMap<String, u64>,
    /// State of each breaker: 0 closed, 1 open, 2 half-open.
    pub breakers: BTreeMap<String, u64>,
    /// Targets' connections that serve.
    pub upstream_active: u64,
    /// Those that idle.
    pub upstream_idle: u64,
    /// Connections to targets so far.
    pub connects: u64,
    /// Requests over a pooled connection so far.
    pub reuses: u64,
    /// Requests sent a second time.
    pub retries: u64,
    /// Refusals of the limiter.
    pub rejected: u64,
    /// Bytes from callers.
    pub bytes_in: u64,
    /// Bytes to callers.
    pub bytes_out: u64,
    /// Observations of the upstream's and of the proxy's latency.
    pub observed: (u64, u64),
}

impl Books {
    /// Reads everything.
    pub fn read(region: &Region, series: &[Series], now_ns: u64) -> Self {
        let mut books = Self::default();
        for family in families(region, series, now_ns) {
            match family.samples {
                Samples::Numbers(samples) => {
                    for sample in samples {
                        books.enter(family.name, &sample.labels, sample.value);
                    }
                }
                Samples::Histograms(_, samples) => {
                    let count = samples
                        .iter()
                        .filter_map(|sample| sample.cumulative_counts.last())
                        .sum();
                    match family.name {
                        "gateway_upstream_latency_seconds" => books.observed.0 = count,
                        "gateway_proxy_latency_seconds" => books.observed.1 = count,
                        _ => {}
                    }
                }
            }
        }
        // An adaptive limit falls below what was let in before; what holds is its bound.
        for one in series.iter().filter(|one| one.adaptive_min > 0) {
            let max_concurrent = u64::from(one.max_concurrent);
            assert!(books.limits[&one.proxy] <= max_concurrent, "{}", one.proxy);
            books.limits.insert(one.proxy.clone(), max_concurrent);
        }
        books
    }

    fn enter(&mut self, name: &str, labels: &[String], value: u64) {
        let label = |index: usize| labels.get(index).cloned().unwrap_or_default();
        match name {
            "gateway_requests" => {
                self.requests.insert((label(0), label(1)), value);
            }
            "gateway_errors" => {
                self.errors.insert((label(0), label(1)), value);
            }
            "gateway_downstream_connections_accepted" => self.accepted = value,
            "gateway_downstream_connections" => self.open = value,
            "gateway_active_connections" => {
                self.active.insert(label(0), value);
            }
            "gateway_limiter_in_use" => {
                self.permits.insert(label(0), value);
            }
            "gateway_limiter_queued" => {
                self.queued.insert(label(0), value);
            }
            "gateway_limiter_limit" => {
                self.limits.insert(label(0), value);
            }
            "gateway_circuit_breaker_state" => {
                self.breakers.insert(label(0), value);
            }
            "gateway_upstream_connections" if label(1) == "active" => self.upstream_active += value,
            "gateway_upstream_connections" => self.upstream_idle += value,
            "gateway_upstream_connects" => self.connects += value,
            "gateway_upstream_reuse" => self.reuses += value,
            "gateway_retries" => self.retries += value,
            "gateway_limiter_rejected" => self.rejected += value,
            "gateway_request_bytes" => self.bytes_in += value,
            "gateway_response_bytes" => self.bytes_out += value,
            _ => {}
        }
    }

    /// Exchanges that have ended.
    pub fn requests_count(&self) -> u64 {
        self.requests.values().sum()
    }

    /// Holds the metrics against what is known otherwise. `limits_exact`: no reload has moved a limit below
    /// what was already let in.
    pub fn agree_with(&self, tally: &Tally, limits_exact: bool) {
        let open = [
            ("callers' connections", self.open, tally.downstreams),
            ("idle connections", self.upstream_idle, tally.idle_upstreams),
            (
                "connections that serve",
                self.upstream_active,
                tally.upstreams - tally.dials - tally.idle_upstreams,
            ),
            ("exchanges", self.active.values().sum(), tally.exchanges),
            ("accepted connections", self.accepted, tally.accepted),
            ("connections to targets", self.connects, tally.connected),
        ];
        for (what, counted, known) in open {
            assert_eq!(counted, known, "{what}, in the metrics and in fact");
        }
        for (proxy, &permits) in &self.permits {
            let (limit, active) = (self.limits[proxy], self.active[proxy]);
            let queued = self.queued.get(proxy).copied().unwrap_or(0);
            assert!(
                permits + queued <= active,
                "{proxy}: {permits} permits for {active} exchanges"
            );
            if limit > 0 && limits_exact {
                assert!(permits <= limit, "{proxy}: {permits} permits over {limit}");
                assert_eq!(permits + queued, active, "{proxy}: permits and exchanges");
            }
        }
        // Every exchange observes the gateway's own latency; those of no proxy are not scraped.
        let routed = self
            .requests
            .iter()
            .filter(|((proxy, _), _)| !proxy.is_empty());
        let routed: u64 = routed.map(|(_, count)| count).sum();
        assert_eq!(
            self.observed.1, routed,
            "observations of the gateway's latency"
        );
        assert!(
            self.observed.0 <= routed,
            "observations of the upstream's latency"
        );
        tally.log.agree_with(self);
    }
}

/// What is known without the metrics: by the engines' own count, by the driver, by the log.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Callers' connections.
    pub downstreams: u64,
    /// Targets' connections, dials included.
    pub upstreams: u64,
    /// Those that idle.
    pub idle_upstreams: u64,
    /// Exchanges under way.
    pub exchanges: u64,
    /// Dials under way.
    pub dials: u64,
    /// Callers' connections so far.
    pub accepted: u64,
    /// Targets' connections so far.
    pub connected: u64,
    /// The log, added up.
    pub log: LogSums,
}

impl Tally {
    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        self.downstreams += other.downstreams;
        self.upstreams += other.upstreams;
        self.idle_upstreams += other.idle_upstreams;
        self.exchanges += other.exchanges;
        self.dials += other.dials;
        self.accepted += other.accepted;
        self.connected += other.connected;
        self.log.add(&other.log);
    }

    /// What stays when the worker is gone.
    pub fn past(self) -> Self {
        Self {
            accepted: self.accepted,
            connected: self.connected,
            log: self.log,
            ..Self::default()
        }
    }
}
