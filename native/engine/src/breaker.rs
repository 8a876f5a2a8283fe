//! A proxy's circuit breaker as all workers share it: the state machine of the policy crate, packed into one
//! atomic cell, so that a trip in one worker is a trip in all, and beside it the sliding window of its calls.

use gatewayx_policy::{
    BUCKETS_COUNT, Breaker, BreakerConfig, Forced, Outcome, State, Ticket, WindowConfig,
};
use gatewayx_telemetry::{Cells, Region, Ring};

use crate::config::CircuitBreakerConfig;
use crate::metrics::shared_cell;

/// What a proxy's breaker is configured to do.
#[derive(Clone, Copy)]
pub(crate) struct BreakerRules {
    breaker: BreakerConfig,
    window: Option<WindowConfig>,
    /// Time to the response from which on a call is slow; `None` = never.
    slow_after_ns: Option<u64>,
}

impl BreakerRules {
    pub(crate) fn new(cfg: &CircuitBreakerConfig) -> Self {
        let ns = |ms: u64| ms.saturating_mul(1_000_000);
        let window = cfg.window.as_ref();
        Self {
            breaker: BreakerConfig {
                failure_threshold: cfg.failure_threshold,
                recovery_timeout_ns: ns(cfg.recovery_timeout_ms),
                recovery_jitter_percent: cfg.recovery_jitter_percent,
                half_open_requests: cfg.half_open_requests,
            },
            window: window.map(|window| WindowConfig {
                window_ns: ns(window.window_ms),
                volume_min: window.volume_min,
                failure_percent: window.failure_percent,
                slow_percent: window.slow_percent,
            }),
            slow_after_ns: window
                .filter(|window| window.slow_percent > 0)
                .map(|window| ns(window.slow_after_ms)),
        }
    }
}

/// One proxy's breaker.
pub(crate) struct SharedBreaker<'a> {
    pub(crate) rules: BreakerRules,
    pub(crate) cells: &'a Cells,
}

impl SharedBreaker<'_> {
    /// Leave to send a request upstream, or `None`.
    pub(crate) fn try_acquire(&self, now_ns: u64) -> Option<Ticket> {
        self.change(now_ns, |breaker| breaker.try_acquire(now_ns))
    }

    /// What became of it: well, badly, or nothing that tells of the upstream; and how long its response took
    /// to begin.
    pub(crate) fn on_result(
        &self,
        ticket: Ticket,
        now_ns: u64,
        failed: Option<bool>,
        waited_ns: u64,
    ) {
        let Some(failed) = failed else {
            return self.change(now_ns, |breaker| breaker.on_cancel(ticket));
        };
        let slow = self
            .rules
            .slow_after_ns
            .is_some_and(|slow_after_ns| waited_ns >= slow_after_ns);
        let counts = self.change(now_ns, |breaker| {
            match (failed, slow) {
                (true, _) => breaker.on_failure(ticket, now_ns),
                (false, true) => breaker.on_slow_success(ticket, now_ns),
                (false, false) => breaker.on_success(ticket),
            }
            breaker.counts(ticket)
        });
        if let Some(window) = self.rules.window
            && counts
        {
            self.count(&window, ticket, now_ns, Outcome { failed, slow });
        }
    }

    /// Adds a call to the window and opens the breaker when its share of bad calls is too high.
    fn count(&self, window: &WindowConfig, ticket: Ticket, now_ns: u64, outcome: Outcome) {
        let ring = Ring::<BUCKETS_COUNT>::new(self.cells, shared_cell::WINDOW);
        let epoch = ticket.generation();
        ring.update(window.index(now_ns), |bucket| {
            window.add(bucket, now_ns, epoch, outcome)
        });
        let is_bad = outcome.failed || outcome.slow;
        if is_bad && window.trips(outcome, window.totals(&ring.read(), now_ns, epoch)) {
            self.change(now_ns, |breaker| breaker.trip(ticket, now_ns));
        }
    }

    pub(crate) fn state(&self, now_ns: u64) -> State {
        let bits = self.cells.load(shared_cell::BREAKER);
        Breaker::from_bits(self.rules.breaker, bits, now_ns).state(now_ns)
    }

    fn change<R>(&self, now_ns: u64, mut change: impl FnMut(&mut Breaker) -> R) -> R {
        update(self.rules.breaker, self.cells, now_ns, &mut change)
    }
}

fn update<R>(
    cfg: BreakerConfig,
    cells: &Cells,
    now_ns: u64,
    change: &mut impl FnMut(&mut Breaker) -> R,
) -> R {
    cells.update(shared_cell::BREAKER, |bits| {
        let mut breaker = Breaker::from_bits(cfg, bits, now_ns);
        let result = change(&mut breaker);
        (breaker.to_bits(), result)
    })
}

/// Keeps the breaker of a proxy's block open or closed in all workers, or (`None`) has it decide again, closed
/// and without a past.
pub fn force_breaker(region: &Region, block: u32, now_ns: u64, forced: Option<Forced>) {
    let cells = region.shared(block);
    update(
        BreakerConfig::default(),
        &cells,
        now_ns,
        &mut |breaker| match forced {
            Some(forced) => breaker.force(forced),
            None => breaker.reset(),
        },
    );
}

/// What the breaker of a proxy's block is forced to.
pub fn forced_breaker(region: &Region, block: u32) -> Option<Forced> {
    let bits = region.shared(block).load(shared_cell::BREAKER);
    Breaker::from_bits(BreakerConfig::default(), bits, 0).forced()
}

/// The state's name in the log and in `X-Circuit-Breaker`.
pub(crate) fn state_name(state: State) -> &'static str {
    match state {
        State::Closed => "closed",
        State::Open => "open",
        State::HalfOpen => "half-open",
    }
}
