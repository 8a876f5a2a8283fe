//! A configuration comes into force: what can be computed once is, and what stays keeps its state.

use std::cell::RefCell;
use std::rc::Rc;

use gatewayx_auth::Authenticator;
use gatewayx_http::HeadLimits;

use crate::config::Config;
use crate::engine::Engine;
use crate::proxy::{Proxy, Target};
use crate::route::Routes;

impl Engine {
    /// Switches to another configuration. Exchanges under way finish on the one they began with.
    pub fn handle_config(&mut self, now_ns: u64, cfg: Config) {
        self.cfg = cfg;
        self.install();
        // A limit may have been raised or lifted.
        self.handle_wake(now_ns);
    }

    pub(crate) fn install(&mut self) {
        let limits = &self.cfg.downstream;
        self.limits = HeadLimits {
            head_max_bytes: limits.head_max_bytes,
            target_max_bytes: limits.target_max_bytes,
            fields_max_count: limits.fields_max,
        };
        let spans = self.cfg.tracing.as_ref().is_some_and(|cfg| cfg.spans);
        self.records_requests = self.cfg.access_log.enabled || spans;
        self.via_line = format!("Via: 1.1 {}\r\n", self.cfg.server_name).into_bytes();
        self.authenticator = RefCell::new(Authenticator::new(&self.cfg.auth));
        for (address, listener) in &mut self.listeners {
            *listener = self.cfg.listeners.get(address).cloned().unwrap_or_default();
        }
        self.routes = Routes::default();
        let before = std::mem::take(&mut self.proxies);
        for cfg in self.cfg.proxies.clone() {
            let index = self.proxies.len() as u32;
            if cfg.active {
                self.routes.insert(cfg.host.as_deref(), &cfg.path, index);
            }
            let known = before.iter().find(|proxy| proxy.cfg.name == cfg.name);
            if let Some(same) = known.filter(|proxy| proxy.cfg == cfg) {
                self.proxies.push(same.clone());
                continue;
            }
            let queue = known.map(|proxy| proxy.queue.clone()).unwrap_or_default();
            let targets = cfg
                .upstreams
                .iter()
                .map(|upstream| {
                    let target = Target::of(upstream);
                    *self.target_ids.entry(target).or_insert_with_key(|target| {
                        self.targets.push(target.clone());
                        self.targets.len() as u32 - 1
                    })
                })
                .collect();
            let tls = &self.cfg.upstream_tls;
            let proxy = Proxy::new(
                cfg,
                &self.region,
                self.cfg.rate_limit_seed,
                self.slot,
                targets,
                queue,
                tls,
            );
            self.proxies.push(Rc::new(proxy));
        }
        self.assign_faults();
    }
}
