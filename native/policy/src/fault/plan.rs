//! Policies, compiled.

use std::fmt;
use std::rc::Rc;

use super::matcher::{Matcher, RequestView};
use super::sample::{is_hit, nth_draw, unit, value_draw};
use super::spec::{DelaySpec, PlanSpec, RuleSpec};

/// Longest delay: what a distribution draws beyond it is cut.
const DELAY_MAX_MS: f64 = 30_000.0;

/// The rules for one service, in order.
pub type Rules = Rc<[Rc<Rule>]>;

/// Every policy in force.
#[derive(Default)]
pub struct Plan {
    policies: Vec<(Selector, Vec<Rc<Rule>>)>,
}

struct Selector {
    service: String,
    namespace: String,
}

/// One rule of a policy.
#[derive(Debug)]
pub struct Rule {
    /// Where its metrics are.
    pub block: u32,
    /// Most faults under way at a time; 0 = no limit.
    pub max_active: u32,
    /// The answer in place of the upstream's.
    pub abort: Option<Abort>,
    /// Reset the caller's connection.
    pub reset: bool,
    /// Cut the response's body after so many bytes.
    pub truncate_after_bytes: Option<u64>,
    /// Pass the response's body on no faster.
    pub throttle_bytes_per_second: Option<u64>,
    matcher: Matcher,
    expires_unix_ms: u64,
    percentage: f64,
    sample_header: Option<Vec<u8>>,
    seed: Option<u64>,
    start_delay_ns: u64,
    delay: Option<DelaySpec>,
}

/// An answer in place of the upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// 200 to 599.
    pub status: u16,
    /// `None` explains the fault.
    pub body: Option<Vec<u8>>,
}

/// What a request that is hit has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// From the request's arrival to the fault.
    pub start_delay_ns: u64,
    /// How long it is held then.
    pub delay_ns: Option<u64>,
}

/// A policy that cannot be compiled, which the control plane should not have let pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError(String);

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PlanError {}

impl Plan {
    /// Compiles policies; all or none.
    pub fn compile(spec: &PlanSpec) -> Result<Self, PlanError> {
        let policies = spec
            .policies
            .iter()
            .map(|policy| {
                let rules = policy
                    .rules
                    .iter()
                    .map(|rule| Rule::new(rule).map(Rc::new))
                    .collect::<Result<_, regex::Error>>()
                    .map_err(|error| PlanError(format!("policy {}: {error}", policy.name)))?;
                let selector = Selector {
                    service: policy.service.clone(),
                    namespace: policy.namespace.clone(),
                };
                Ok((selector, rules))
            })
            .collect::<Result<_, PlanError>>()?;
        Ok(Self { policies })
    }

    /// The rules for a service; `None` when there are none.
    pub fn rules_for(&self, service: &str, namespace: &str) -> Option<Rules> {
        let rules: Rules = self
            .policies
            .iter()
            .filter(|(selector, _)| {
                selects(&selector.service, service) && selects(&selector.namespace, namespace)
            })
            .flat_map(|(_, rules)| rules.iter().cloned())
            .collect();
        (!rules.is_empty()).then_some(rules)
    }

    /// Whether a rule that records into `block` is in force.
    pub fn has_block(&self, block: u32) -> bool {
        let mut rules = self.policies.iter().flat_map(|(_, rules)| rules);
        rules.any(|rule| rule.block == block)
    }
}

fn selects(wanted: &str, name: &str) -> bool {
    wanted == "*" || wanted == name
}

/// The rule that decides about a request, if any does.
pub fn first_match<'r, 'a, H>(
    rules: &'r [Rc<Rule>],
    now_unix_ms: u64,
    request: &RequestView<'a, H>,
) -> Option<&'r Rc<Rule>>
where
    H: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
{
    rules
        .iter()
        .find(|rule| rule.is_in_force(now_unix_ms) && rule.matcher.matches(request))
}

impl Rule {
    fn new(spec: &RuleSpec) -> Result<Self, regex::Error> {
        Ok(Self {
            block: spec.block,
            max_active: spec.max_active,
            abort: spec.abort.as_ref().map(|abort| Abort {
                status: abort.status,
                body: abort.body.as_ref().map(|body| body.as_bytes().to_vec()),
            }),
            reset: spec.reset,
            truncate_after_bytes: spec.truncate_after_bytes,
            throttle_bytes_per_second: spec.throttle_bytes_per_second,
            matcher: Matcher::new(spec)?,
            expires_unix_ms: spec.expires_unix_ms,
            percentage: spec.percentage,
            sample_header: spec
                .sample_header
                .as_ref()
                .map(|name| name.as_bytes().to_vec()),
            seed: spec.seed,
            start_delay_ns: spec.start_delay_ms.saturating_mul(1_000_000),
            delay: spec.delay,
        })
    }

    fn is_in_force(&self, now_unix_ms: u64) -> bool {
        self.expires_unix_ms == 0 || now_unix_ms < self.expires_unix_ms
    }

    /// Whether a request that matched is hit, and what it waits for then.
    ///
    /// `sequence` numbers the requests that match, over all workers; `random` draws. At most one of them is
    /// called, once.
    pub fn decide<'a, H>(
        &self,
        request: &RequestView<'a, H>,
        sequence: impl FnOnce() -> u64,
        random: impl FnOnce() -> u64,
    ) -> Option<Injection>
    where
        H: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    {
        let draw = if let Some(wanted) = &self.sample_header {
            let (_, value) = request
                .headers
                .clone()
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
            value_draw(self.seed.unwrap_or(0), value)
        } else if let Some(seed) = self.seed {
            nth_draw(seed, sequence())
        } else {
            random()
        };
        is_hit(self.percentage, draw).then(|| Injection {
            start_delay_ns: self.start_delay_ns,
            delay_ns: self.delay.map(|delay| delay_ns(delay, draw)),
        })
    }
}

/// Draws a delay. What follows from one draw is always the same.
fn delay_ns(delay: DelaySpec, draw: u64) -> u64 {
    let ms = match delay {
        DelaySpec::Fixed { ms } => ms,
        DelaySpec::Uniform { min_ms, max_ms } => min_ms + (max_ms - min_ms) * unit(draw, 0),
        DelaySpec::Normal { mean_ms, stddev_ms } => {
            // Box and Muller's transform.
            let radius = (-2.0 * unit(draw, 0).ln()).sqrt();
            mean_ms + stddev_ms * radius * (std::f64::consts::TAU * unit(draw, 1)).cos()
        }
        DelaySpec::Pareto { scale_ms, shape } => scale_ms / unit(draw, 0).powf(shape.recip()),
    };
    // Whole microseconds, so that sums of milliseconds stay exact.
    (ms.clamp(0.0, DELAY_MAX_MS) * 1_000.0).round() as u64 * 1_000
}
