//! What the contexts of one worker thread share.

use std::collections::HashMap;
use std::time::Duration;

use gatewayx_policy::fault::nth_draw;
use proxy_wasm::hostcalls;

use super::clock_ns;
use super::metrics::Metrics;
use super::shared;
use crate::held::{Held, Step};
use crate::{PolicySet, Waiting, timer_ms};

/// One worker thread's part of the plugin.
pub(super) struct Worker {
    root_id: u32,
    pub(super) set: PolicySet,
    pub(super) metrics: Metrics,
    // requests that wait
    held: HashMap<u32, (Held, u64)>,
    waiting: Waiting,
    /// When the control plane is asked next.
    pub(super) ask_at_ns: Option<u64>,
    timer_at_ns: Option<u64>,
    // random numbers
    seed: u64,
    drawn: u64,
}

impl Worker {
    pub(super) fn new(root_id: u32) -> Self {
        Self {
            root_id,
            set: PolicySet::default(),
            metrics: Metrics::default(),
            held: HashMap::new(),
            waiting: Waiting::default(),
            ask_at_ns: None,
            timer_at_ns: None,
            seed: 0,
            drawn: 0,
        }
    }

    /// Begins to draw; no two threads draw the same.
    pub(super) fn seed(&mut self) {
        self.seed = nth_draw(clock_ns(), shared::next("gatewayx/threads"));
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.drawn += 1;
        nth_draw(self.seed, self.drawn)
    }

    /// Takes a request as far as it goes now, and holds it if it has to wait.
    pub(super) fn advance(&mut self, id: u32, mut held: Held, now_ns: u64) -> Step {
        let metrics = self.metrics;
        let step = held.advance(now_ns, |delay_ns| metrics.on_delay(delay_ns));
        if let Step::Wait(until_ns) = step {
            self.waiting.insert(until_ns, id);
            self.held.insert(id, (held, until_ns));
        }
        step
    }

    /// A request whose time has come.
    pub(super) fn pop_due(&mut self, now_ns: u64) -> Option<(u32, Held)> {
        let id = self.waiting.pop_due(now_ns)?;
        self.held.remove(&id).map(|(held, _)| (id, held))
    }

    /// Whether the request waits.
    pub(super) fn is_held(&self, id: u32) -> bool {
        self.held.contains_key(&id)
    }

    /// Forgets a request; it is gone or goes on.
    pub(super) fn forget(&mut self, id: u32) {
        if let Some((_, until_ns)) = self.held.remove(&id) {
            self.waiting.remove(until_ns, id);
        }
    }

    /// Requests held by rules that are no longer in force.
    pub(super) fn lifted(&self) -> Vec<u32> {
        let is_lifted = |id: &u32| {
            let (held, _) = &self.held[id];
            !self.set.has_block(held.rule.block)
        };
        self.waiting.ids().into_iter().filter(is_lifted).collect()
    }

    /// Sets the timer to what comes next; in the context `current_id`.
    pub(super) fn arm(&mut self, now_ns: u64, current_id: u32) {
        let next_ns = [self.waiting.earliest_ns(), self.ask_at_ns];
        let next_ns = next_ns.into_iter().flatten().min();
        if next_ns == self.timer_at_ns {
            return;
        }
        self.timer_at_ns = next_ns;
        let period_ms = next_ns.map_or(0, |at_ns| timer_ms(now_ns, at_ns));
        // A timer belongs to the root context.
        let _ = hostcalls::set_effective_context(self.root_id);
        let _ = hostcalls::set_tick_period(Duration::from_millis(period_ms));
        let _ = hostcalls::set_effective_context(current_id);
    }

    /// The timer has run out. Envoy would start it again for the same time, so it counts as unset.
    pub(super) fn on_timer(&mut self) {
        self.timer_at_ns = Some(0);
    }
}
