//! A proxy's circuit breaker as all workers share it: the state machine of the policy crate, packed into one
//! atomic cell, so that a trip in one worker is a trip in all.

use gatewayx_policy::{Breaker, BreakerConfig, State, Ticket};
use gatewayx_telemetry::Cells;

use crate::config::CircuitBreakerConfig;
use crate::metrics::shared_cell;

pub(crate) fn breaker_config(cfg: &CircuitBreakerConfig) -> BreakerConfig {
    BreakerConfig {
        failure_threshold: cfg.failure_threshold,
        recovery_timeout_ns: cfg.recovery_timeout_ms.saturating_mul(1_000_000),
        half_open_requests: cfg.half_open_requests,
    }
}

/// One proxy's breaker.
pub(crate) struct SharedBreaker<'a> {
    pub(crate) cfg: BreakerConfig,
    pub(crate) cells: &'a Cells,
}

impl SharedBreaker<'_> {
    /// Leave to send a request upstream, or `None`.
    pub(crate) fn try_acquire(&self, now_ns: u64) -> Option<Ticket> {
        self.change(now_ns, |breaker| breaker.try_acquire(now_ns))
    }

    /// What became of it: well, badly, or nothing that tells of the upstream.
    pub(crate) fn on_result(&self, ticket: Ticket, now_ns: u64, failed: Option<bool>) {
        self.change(now_ns, |breaker| match failed {
            Some(false) => breaker.on_success(ticket),
            Some(true) => breaker.on_failure(ticket, now_ns),
            None => breaker.on_cancel(ticket),
        });
    }

    pub(crate) fn state(&self, now_ns: u64) -> State {
        let bits = self.cells.load(shared_cell::BREAKER);
        Breaker::from_bits(self.cfg, bits, now_ns).state(now_ns)
    }

    fn change<R>(&self, now_ns: u64, mut change: impl FnMut(&mut Breaker) -> R) -> R {
        self.cells.update(shared_cell::BREAKER, |bits| {
            let mut breaker = Breaker::from_bits(self.cfg, bits, now_ns);
            let result = change(&mut breaker);
            (breaker.to_bits(), result)
        })
    }
}

/// The state's name in the log and in `X-Circuit-Breaker`.
pub(crate) fn state_name(state: State) -> &'static str {
    match state {
        State::Closed => "closed",
        State::Open => "open",
        State::HalfOpen => "half-open",
    }
}
