//! A configured proxy as the engine works with it: what is known once a configuration is loaded is computed
//! here, not once a request.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use gatewayx_http::Oddities;
use gatewayx_policy::fault::Rules;
use gatewayx_policy::{Algorithm, Balancer, Ejection, RetryBudget, Rule};
use gatewayx_telemetry::{Cells, Permits, Region};

use crate::adaptive::{AdaptiveLimit, AdaptiveRules};
use crate::breaker::{BreakerRules, SharedBreaker, state_name};
use crate::config::{LoadBalancingAlgorithm, LoadBalancingConfig, ProxyConfig, UpstreamConfig};
use crate::metrics::PERMIT_CELLS;
use crate::queue::Queue;
use crate::rate_limit::RateLimit;
use crate::template::Template;
use crate::tls::{ClientTls, TargetTls};

/// Where connections are opened to. Proxies that lead to the same place share its idle connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How it is secured, if it is.
    pub tls: Option<TargetTls>,
}

impl Target {
    pub(crate) fn of(upstream: &UpstreamConfig) -> Self {
        Self {
            host: upstream.host.clone(),
            port: upstream.port,
            tls: upstream.tls.clone(),
        }
    }
}

/// One upstream of a proxy.
pub(crate) struct ProxyTarget {
    /// Index into the engine's targets.
    pub(crate) id: u32,
    /// What it has to show, and as whom.
    pub(crate) tls: Option<(Option<ClientTls>, String)>,
    /// `Host: ...\r\n`.
    pub(crate) host_line: Vec<u8>,
    /// Put before the path.
    pub(crate) base_path: Vec<u8>,
    /// `host:port`, for the log.
    pub(crate) authority: Vec<u8>,
}

/// One proxy of the running configuration.
pub(crate) struct Proxy {
    pub(crate) cfg: ProxyConfig,
    pub(crate) targets: Vec<ProxyTarget>,
    /// The path to remove, without a trailing slash; empty when nothing is removed.
    pub(crate) strip: Vec<u8>,
    /// Configured header lines.
    pub(crate) header_lines: Vec<u8>,
    /// Configured header fields that differ from request to request.
    pub(crate) templates: Vec<Template>,
    /// Their names in lower case, with `-` for `_`: a caller's field of such a name is dropped, also in
    /// the spelling that CGI and WSGI cannot tell apart.
    pub(crate) header_names: Vec<Vec<u8>>,
    /// Who may call.
    pub(crate) rule: Rule,
    /// How often callers may come.
    pub(crate) rate_limit: Option<RateLimit>,
    /// Whether anything has to be found out about the caller.
    pub(crate) is_guarded: bool,
    /// Oddities of its upstreams that an operator has been told of.
    pub(crate) warned: Cell<Oddities>,
    /// Chooses among `targets`.
    pub(crate) balancer: RefCell<Balancer>,
    /// What retries may add.
    pub(crate) retry_budget: RefCell<RetryBudget>,
    /// Requests that wait for a permit; outlives a change of configuration.
    pub(crate) queue: Rc<RefCell<Queue>>,
    breaker: Option<BreakerRules>,
    adaptive: Option<AdaptiveRules>,
    /// The fault rules that are for it.
    pub(crate) faults: RefCell<Option<Rules>>,
    /// This worker's metrics of the proxy.
    pub(crate) cells: Cells,
    /// The same of every worker, by slot: they share the permits.
    slots: Vec<Cells>,
    slot: u32,
    /// The cells that all workers share: permits in use.
    pub(crate) shared: Cells,
}

impl Proxy {
    pub(crate) fn new(
        cfg: ProxyConfig,
        region: &Region,
        rate_limit_seed: u64,
        slot: u32,
        targets: Vec<u32>,
        queue: Rc<RefCell<Queue>>,
        upstream_tls: &HashMap<String, ClientTls>,
    ) -> Self {
        let targets = cfg
            .upstreams
            .iter()
            .zip(targets)
            .map(|(upstream, id)| ProxyTarget {
                id,
                tls: upstream.tls.as_ref().map(|tls| {
                    (
                        upstream_tls.get(&tls.settings).cloned(),
                        tls.server_name.clone(),
                    )
                }),
                host_line: format!("Host: {}\r\n", upstream.authority).into_bytes(),
                base_path: upstream.base_path.clone().into_bytes(),
                authority: format!("{}:{}", upstream.host, upstream.port).into_bytes(),
            })
            .collect();
        let strip = if cfg.strip_path {
            cfg.path.trim_end_matches('/')
        } else {
            ""
        };
        let header_lines = cfg
            .headers
            .iter()
            .flat_map(|(name, value)| format!("{name}: {value}\r\n").into_bytes())
            .collect();
        let templated = cfg.header_templates.iter().map(|template| &template.name);
        let header_names = cfg
            .headers
            .iter()
            .map(|(name, _)| name)
            .chain(templated)
            .map(|name| canonical(name.as_bytes()))
            .collect();
        let templates: Vec<Template> = cfg.header_templates.iter().map(Template::new).collect();
        // The control plane has refused what cannot be read; should it slip through, nobody gets in.
        let rule = Rule::parse(&cfg.access_rule).unwrap_or(Rule::Superuser);
        let rate_limit = RateLimit::new(&cfg, rate_limit_seed, region.table());
        let is_guarded = !rule.is_public()
            || rate_limit.is_some()
            || templates.iter().any(Template::names_caller);
        Self {
            targets,
            strip: strip.as_bytes().to_vec(),
            header_lines,
            templates,
            rule,
            is_guarded,
            rate_limit,
            header_names,
            warned: Cell::default(),
            balancer: RefCell::new(balancer(&cfg)),
            retry_budget: RefCell::new(
                cfg.retry.as_ref().map_or(RetryBudget::new(0, 0), |retry| {
                    RetryBudget::new(retry.budget_percent, retry.budget_floor)
                }),
            ),
            queue,
            adaptive: AdaptiveRules::new(&cfg),
            faults: RefCell::default(),
            breaker: cfg.circuit_breaker.as_ref().map(BreakerRules::new),
            cells: region.cells(slot, cfg.block),
            slots: (0..region.geometry().slots_count)
                .map(|slot| region.cells(slot, cfg.block))
                .collect(),
            slot,
            shared: region.shared(cfg.block),
            cfg,
        }
    }

    /// The permits of `max_concurrent`, which all workers share.
    pub(crate) fn permits(&self) -> Permits<'_> {
        Permits::new(&self.shared, &self.slots, self.slot, PERMIT_CELLS)
    }

    /// The limit that finds itself, if it is to.
    pub(crate) fn adaptive(&self) -> Option<AdaptiveLimit<'_>> {
        self.adaptive.map(|rules| AdaptiveLimit {
            rules,
            cells: &self.shared,
            in_use: self.permits().count(),
        })
    }

    /// Most exchanges at once at this moment; 0 = no limit.
    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        self.adaptive()
            .map_or(self.cfg.max_concurrent, |adaptive| adaptive.limit())
    }

    /// The breaker, if it is on.
    pub(crate) fn breaker(&self) -> Option<SharedBreaker<'_>> {
        self.breaker.map(|rules| SharedBreaker {
            rules,
            cells: &self.shared,
        })
    }

    /// The breaker's state, if responses are to show it.
    pub(crate) fn shown_circuit_state(&self, now_ns: u64) -> Option<&'static str> {
        let shown = self
            .cfg
            .circuit_breaker
            .as_ref()
            .is_some_and(|breaker| breaker.header);
        self.breaker()
            .filter(|_| shown)
            .map(|breaker| state_name(breaker.state(now_ns)))
    }

    /// Whether a response of this status is a failure of the upstream.
    pub(crate) fn is_failure(&self, status: u16) -> bool {
        match &self.cfg.circuit_breaker {
            Some(breaker) => breaker.failure_statuses.contains(&status),
            None => status >= 500,
        }
    }

    /// Whether the configuration sets this header, in any spelling.
    #[inline]
    pub(crate) fn sets_header(&self, name: &[u8]) -> bool {
        self.header_names.iter().any(|set| {
            set.len() == name.len()
                && set
                    .iter()
                    .zip(name)
                    .all(|(&set, &byte)| set == canonical_byte(byte))
        })
    }
}

fn balancer(cfg: &ProxyConfig) -> Balancer {
    let LoadBalancingConfig {
        algorithm,
        slow_start_ms,
        eject_after_failures,
        eject_ms,
        eject_max_ms,
        eject_max_percent,
        ..
    } = cfg.load_balancing;
    let algorithm = match algorithm {
        LoadBalancingAlgorithm::RoundRobin => Algorithm::RoundRobin,
        LoadBalancingAlgorithm::LeastConnections => Algorithm::LeastConnections,
        LoadBalancingAlgorithm::RandomOfTwo => Algorithm::RandomOfTwo,
        LoadBalancingAlgorithm::ConsistentHash => Algorithm::ConsistentHash,
    };
    let ejection = Ejection {
        consecutive_failures: eject_after_failures,
        base_ns: eject_ms.saturating_mul(1_000_000),
        max_ns: eject_max_ms.saturating_mul(1_000_000),
        max_percent: eject_max_percent,
    };
    let weights: Vec<u32> = cfg
        .upstreams
        .iter()
        .map(|upstream| upstream.weight)
        .collect();
    Balancer::new(
        algorithm,
        ejection,
        slow_start_ms.saturating_mul(1_000_000),
        &weights,
    )
}

fn canonical(name: &[u8]) -> Vec<u8> {
    name.iter().map(|&byte| canonical_byte(byte)).collect()
}

fn canonical_byte(byte: u8) -> u8 {
    if byte == b'_' {
        b'-'
    } else {
        byte.to_ascii_lowercase()
    }
}
