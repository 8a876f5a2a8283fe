//! Fault injection: which requests get a fault, and which one.
//!
//! Policies are compiled once into a [`Plan`]. A plan gives each service the rules that are for it, in
//! order; a service without any has nothing to ask. For a request the first rule decides that is in force
//! and matches. It may spare the request, because its percentage, its sample or its bound says so; no later
//! rule is asked then.
//!
//! Nothing here knows the time, counts, or draws at random: they are arguments. So a decision is a function
//! of the request, the time and one drawn number, and with a seed that number is the same in every run.
//!
//! Cost: regular expressions are matched in time linear in the text; nothing is allocated for a request.

mod matcher;
mod plan;
mod sample;
mod spec;

pub use matcher::RequestView;
pub use plan::{Abort, Injection, Plan, PlanError, Rule, Rules, first_match};
pub use sample::{is_hit, nth_draw, value_draw};
pub use spec::{AbortSpec, DelaySpec, PlanSpec, PolicySpec, RuleSpec, TextMatch};

#[cfg(test)]
mod tests;
