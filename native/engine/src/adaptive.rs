//! A proxy's limit as all workers share it: fixed, or found by the gradient of the policy crate, whose state is
//! one atomic cell; beside it the samples of the present interval. One worker at a time moves it on.

use gatewayx_policy::{Gradient, GradientConfig, Interval};
use gatewayx_telemetry::{Cells, Samples};

use crate::config::ProxyConfig;
use crate::metrics::shared_cell;

/// What a proxy's limit goes by when it is adaptive.
#[derive(Clone, Copy)]
pub(crate) struct AdaptiveRules {
    gradient: GradientConfig,
    interval_ms: u64,
    samples_min: u64,
    measure_every: u64,
}

impl AdaptiveRules {
    pub(crate) fn new(cfg: &ProxyConfig) -> Option<Self> {
        let adaptive = cfg.adaptive.as_ref()?;
        Some(Self {
            gradient: GradientConfig {
                limit_min: adaptive.limit_min,
                limit_max: cfg.max_concurrent,
                tolerance_percent: adaptive.tolerance_percent,
            },
            interval_ms: adaptive.interval_ms,
            samples_min: u64::from(adaptive.samples_min),
            measure_every: u64::from(adaptive.measure_every).max(1),
        })
    }
}

/// The limit that is in force for a proxy whose limit is adaptive.
pub(crate) fn limit_now(cells: &Cells, limit_min: u32, limit_max: u32) -> u32 {
    let cfg = GradientConfig {
        limit_min,
        limit_max,
        tolerance_percent: 0,
    };
    Gradient::from_bits(cfg, cells.load(shared_cell::LIMIT)).limit()
}

/// One proxy's adaptive limit.
pub(crate) struct AdaptiveLimit<'a> {
    pub(crate) rules: AdaptiveRules,
    pub(crate) cells: &'a Cells,
    /// Exchanges at this moment.
    pub(crate) in_use: u64,
}

impl AdaptiveLimit<'_> {
    /// Most exchanges at a time.
    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        self.gradient().limit()
    }

    /// A response has begun, so long after its upstream had all it needed. `true`: the limit may have risen.
    pub(crate) fn on_response(&self, now_ns: u64, waited_ns: u64) -> bool {
        let samples = Samples::new(self.cells, shared_cell::SAMPLES);
        let now_ms = now_ns / 1_000_000;
        let began_ms = now_ns.saturating_sub(waited_ns) / 1_000_000;
        // What began under an earlier limit says nothing of the present one.
        if began_ms < samples.last_turn() {
            return false;
        }
        samples.add(waited_ns / 1_000, self.in_use);
        let AdaptiveRules {
            interval_ms,
            samples_min,
            measure_every,
            ..
        } = self.rules;
        let Some(taken) = samples.try_take(now_ms, interval_ms, samples_min) else {
            return false;
        };
        let interval = Interval {
            mean_us: taken.sum / taken.count,
            peak: u32::try_from(taken.peak).unwrap_or(u32::MAX),
            measure: taken.turns_count.is_multiple_of(measure_every),
        };
        self.cells.update(shared_cell::LIMIT, |bits| {
            let mut gradient = Gradient::from_bits(self.rules.gradient, bits);
            gradient.on_interval(interval);
            (gradient.to_bits(), ())
        });
        true
    }

    /// An attempt has failed without a response. That an upstream refuses quickly does not make it fast: only
    /// one that took longer than usual, up to a time-out, tells something.
    pub(crate) fn on_failure(&self, now_ns: u64, waited_ns: u64) {
        if waited_ns / 1_000 > self.gradient().baseline_us() {
            self.on_response(now_ns, waited_ns);
        }
    }

    fn gradient(&self) -> Gradient {
        Gradient::from_bits(self.rules.gradient, self.cells.load(shared_cell::LIMIT))
    }
}
