//! The three metrics.
//!
//! Envoy puts `wasmcustom.` before each name and drops one leading `wasmcustom.` when it writes Prometheus
//! text. With the prefix in the name itself, users see `wasmcustom_hfi_faults_...` there.

use proxy_wasm::hostcalls::{define_metric, increment_metric, record_metric};
use proxy_wasm::types::MetricType;

/// Ids of the metrics. One that Envoy would not define is missing, and nothing else suffers.
#[derive(Clone, Copy, Default)]
pub(super) struct Metrics {
    aborts: Option<u32>,
    delays: Option<u32>,
    delay_duration: Option<u32>,
}

impl Metrics {
    /// Defines them; they show at once, at zero.
    pub(super) fn define() -> Self {
        let define = |kind, name: &str| {
            let defined = define_metric(kind, name);
            if let Err(status) = &defined {
                log::error!("metric {name} cannot be defined ({status:?}) and is not counted");
            }
            defined.ok()
        };
        Self {
            aborts: define(MetricType::Counter, "wasmcustom.hfi_faults_aborts_total"),
            delays: define(MetricType::Counter, "wasmcustom.hfi_faults_delays_total"),
            delay_duration: define(
                MetricType::Histogram,
                "wasmcustom.hfi_faults_delay_duration_milliseconds",
            ),
        }
    }

    pub(super) fn on_abort(self) {
        if let Some(id) = self.aborts {
            let _ = increment_metric(id, 1);
        }
    }

    /// Envoy's histograms take whole numbers.
    pub(super) fn on_delay(self, delay_ns: u64) {
        if let Some(id) = self.delays {
            let _ = increment_metric(id, 1);
        }
        if let Some(id) = self.delay_duration {
            let _ = record_metric(id, (delay_ns + 500_000) / 1_000_000);
        }
    }
}
