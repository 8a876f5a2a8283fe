//! The Envoy plugin: fault policies inside an Envoy or an Istio sidecar.
//!
//! It takes the policies that the gateway takes and decides with the gateway's own code
//! (`gatewayx_policy::fault`), so that the same file does the same in both. What is here is what differs:
//! reading policies as users write them, asking the control plane for them, and doing to a request of Envoy
//! what was decided.
//!
//! ```text
//!   root (one a worker thread)                request
//!   ──────────────────────────                ───────
//!   configuration ─┐
//!   control plane ─┴► plan ──────────────────► head arrives: decide
//!        ▲                                       │ nothing: goes on
//!        │ every interval                        │ abort at once: answered
//!   timer ── due ──► start delay is over ◄───────┤ wait: paused, in `Waiting`
//!                    delay is over: goes on, is answered, or is reset
//! ```
//!
//! The timer is set to the earliest of what waits, in whole milliseconds rounded up, and stops when nothing
//! does. A policy that cannot be done here is refused, not done in part. Whatever fails, requests go on.
//!
//! Cost: without a policy for the service, a request costs one look at an empty option; Envoy's own cost
//! of entering a plugin comes on top.

mod config;
mod document;
mod held;
mod plan;
mod waiting;

pub use config::{ANSWER_MAX_BYTES, ControlPlane, Moment, PluginConfig, parse_answer};
pub use document::policy_of;
pub use held::{Held, Step};
pub use plan::{Origin, PolicySet, name_of};
pub use waiting::{Waiting, timer_ms};

// What needs Envoy cannot be linked elsewhere; lints see it all the same.
#[cfg(any(target_arch = "wasm32", clippy))]
mod envoy;
