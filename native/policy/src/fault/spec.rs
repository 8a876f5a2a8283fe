//! Policies as the control plane hands them over. All values are checked there; here they are only typed.

use serde::Deserialize;

/// Every policy that is in force, in the order in which their rules are asked.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PlanSpec {
    /// The policies.
    pub policies: Vec<PolicySpec>,
}

/// One policy.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PolicySpec {
    /// Its unique name.
    pub name: String,
    /// The service it is for; `*` is any.
    pub service: String,
    /// The namespace it is for; `*` is any.
    pub namespace: String,
    /// The first that matches decides.
    pub rules: Vec<RuleSpec>,
}

/// One rule: what it matches and what happens then.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Metrics block, unique.
    pub block: u32,
    /// When it ends, in milliseconds since 1970; 0 never.
    #[serde(default)]
    pub expires_unix_ms: u64,
    /// `None` matches any.
    #[serde(default)]
    pub method: Option<TextMatch>,
    /// Of the path without the query; `None` matches any.
    #[serde(default)]
    pub path: Option<TextMatch>,
    /// All must match.
    #[serde(default)]
    pub headers: Vec<(String, TextMatch)>,
    /// Share of the matching requests, 0 to 100.
    pub percentage: f64,
    /// Decides by the value of this header.
    #[serde(default)]
    pub sample_header: Option<String>,
    /// Decides the same way in every run.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Most faults under way at a time; 0 = no limit.
    #[serde(default)]
    pub max_active: u32,
    /// From the request's arrival to the fault.
    #[serde(default)]
    pub start_delay_ms: u64,
    /// How long the request is held.
    #[serde(default)]
    pub delay: Option<DelaySpec>,
    /// The answer in place of the upstream's.
    #[serde(default)]
    pub abort: Option<AbortSpec>,
    /// Reset the caller's connection.
    #[serde(default)]
    pub reset: bool,
    /// Cut the response's body after so many bytes.
    #[serde(default)]
    pub truncate_after_bytes: Option<u64>,
    /// Pass the response's body on no faster.
    #[serde(default)]
    pub throttle_bytes_per_second: Option<u64>,
}

/// A test of a text.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum TextMatch {
    /// The whole text.
    Exact(String),
    /// Its beginning.
    Prefix(String),
    /// Found anywhere in it.
    Regex(String),
}

/// How long a request is held, in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum DelaySpec {
    /// Always so long.
    Fixed {
        /// The delay.
        ms: f64,
    },
    /// Any time between the two, equally likely.
    Uniform {
        /// Shortest.
        min_ms: f64,
        /// Longest.
        max_ms: f64,
    },
    /// Around a mean.
    Normal {
        /// The mean.
        mean_ms: f64,
        /// The standard deviation.
        stddev_ms: f64,
    },
    /// Mostly short, sometimes very long.
    Pareto {
        /// Shortest.
        scale_ms: f64,
        /// The smaller, the heavier the tail.
        shape: f64,
    },
}

/// An answer.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct AbortSpec {
    /// Its status.
    pub status: u16,
    /// Its body; `None` explains the fault.
    #[serde(default)]
    pub body: Option<String>,
}
