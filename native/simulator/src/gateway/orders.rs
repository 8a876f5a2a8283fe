//! What its loop, its operator or another worker has a gateway do.

use gatewayx_engine::fault_metrics::{FaultCounts, fault_counts};
use gatewayx_policy::fault::Plan;

use super::{Gateway, parse};

impl Gateway {
    /// The armed time has come, or any other.
    pub fn fire_timer(&mut self) {
        if self.armed_ns.is_some_and(|at_ns| at_ns <= self.now_ns) {
            self.armed_ns = None;
        }
        self.engine.handle_timer(self.now_ns);
        self.drain(&[]);
    }

    /// Another worker says that a permit has come free.
    pub fn wake(&mut self) {
        self.trace(format_args!("wake"));
        self.engine.handle_wake(self.now_ns);
        self.drain(&[]);
    }

    /// A name leads elsewhere by now: all its connections go to addresses that it no longer has.
    pub fn move_target(&mut self, host: &str) {
        self.trace(format_args!("{host} has moved"));
        for key in self.engine.upstreams_to(host, 80) {
            self.engine.handle_upstream_moved(key);
        }
        self.drain(&[]);
    }

    /// Another configuration.
    pub fn configure(&mut self, cfg: &serde_json::Value) {
        let cfg = parse(cfg);
        self.trace(format_args!("reload"));
        self.learn(&cfg);
        self.idle_max = None;
        self.engine.handle_config(self.now_ns, cfg);
        self.drain(&[]);
    }

    /// Other fault policies.
    pub fn set_faults(&mut self, policies: &serde_json::Value) {
        self.trace(format_args!("faults {policies}"));
        let spec = serde_json::from_value(policies.clone()).expect("policies that are known");
        // What is held has no permit, so exchanges and permits are not the same number any more.
        self.idle_max = None;
        let plan = Plan::compile(&spec).expect("policies that compile");
        self.engine.handle_faults(self.now_ns, plan);
        self.drain(&[]);
    }

    /// What is counted of a fault rule.
    pub fn fault_counts(&self, block: u32) -> FaultCounts {
        fault_counts(&self.region, &[block])
    }

    /// Stops serving.
    pub fn start_draining(&mut self) {
        self.trace(format_args!("drain"));
        self.engine.handle_drain();
        self.drain(&[]);
    }

    /// Cuts what is under way.
    pub fn shut_down(&mut self) {
        self.trace(format_args!("shutdown"));
        self.engine.handle_shutdown(self.now_ns);
        self.drain(&[]);
    }
}
