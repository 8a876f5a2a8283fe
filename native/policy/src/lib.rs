//! Decisions only: who may pass, who waits, who is turned away.
//!
//! A policy sees what happened and when (`now_ns`, of any monotonic clock) and answers at once. It
//! has no clock, no lock, no thread and no I/O, so that every rule can be tested by calling it, and
//! the same rule serves the engine, a Python object and a simulation.

mod access;
mod balance;
mod breaker;
pub mod fault;
mod gradient;
mod limiter;
mod rate;
mod retry_budget;
mod wait_queue;
mod window;

pub use access::{
    COMPARISONS_MAX_COUNT, DEPTH_MAX, Facts, Network, Problem, RULE_MAX_BYTES, Rule, RuleError,
    Subject,
};
pub use balance::{Algorithm, Balancer, Ejection, Pick, UPSTREAMS_MAX_COUNT};
pub use breaker::{Breaker, BreakerConfig, Forced, State, Ticket};
pub use gradient::{Gradient, GradientConfig, Interval};
pub use limiter::{Limiter, Released};
pub use rate::{Rate, Taken};
pub use retry_budget::RetryBudget;
pub use wait_queue::{WaitKey, WaitQueue};
pub use window::{BUCKETS_COUNT, Outcome, Totals, WindowConfig};
