//! A policy as users write it, and its form for the code that decides.
//!
//! The control plane refuses bad policies before anyone gets them; a plugin's configuration reaches Envoy
//! without it. So everything is checked here again, by the same rules.

use gatewayx_policy::fault::{AbortSpec, DelaySpec, PolicySpec, RuleSpec, TextMatch};
use serde::Deserialize;
use serde_json::Value;

const DELAY_MAX_MS: f64 = 30_000.0;
const START_DELAY_MAX_MS: u64 = 3_600_000;
const DURATION_MAX_SECONDS: f64 = 30.0 * 24.0 * 3_600.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    #[serde(default)]
    selector: Selector,
    rules: Vec<Rule>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Selector {
    service: Option<String>,
    namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default, rename = "match")]
    matches: Match,
    fault: Fault,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Match {
    method: Option<Text>,
    path: Option<Text>,
    #[serde(default)]
    headers: Vec<Header>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    exact: Option<String>,
    prefix: Option<String>,
    regex: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    name: String,
    exact: Option<String>,
    prefix: Option<String>,
    regex: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    percentage: f64,
    #[serde(default)]
    start_delay_ms: u64,
    #[serde(default)]
    duration_seconds: f64,
    delay: Option<Delay>,
    abort: Option<Abort>,
    #[serde(default)]
    reset: bool,
    truncate: Option<Value>,
    throttle: Option<Value>,
    sample_by: Option<SampleBy>,
    seed: Option<u64>,
    #[serde(default)]
    max_active_faults: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleBy {
    header: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delay {
    fixed_delay_ms: Option<f64>,
    distribution: Option<Distribution>,
    min_ms: Option<f64>,
    max_ms: Option<f64>,
    mean_ms: Option<f64>,
    stddev_ms: Option<f64>,
    scale_ms: Option<f64>,
    shape: Option<f64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Distribution {
    Uniform,
    Normal,
    Pareto,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Abort {
    #[serde(rename = "httpStatus")]
    status: u16,
    body: Option<String>,
    #[serde(default)]
    allow_success: bool,
}

/// Reads a policy that was applied at `applied_unix_ms`. The metrics block of each rule is its index.
///
/// Errors name the place in the policy and what is wrong there.
pub fn policy_of(document: &Value, applied_unix_ms: u64) -> Result<PolicySpec, String> {
    let document: Document =
        serde_path_to_error::deserialize(document).map_err(|error| error.to_string())?;
    let any = || "*".to_owned();
    if document.spec.rules.is_empty() {
        return Err("spec.rules: must have at least one rule".to_owned());
    }
    let rules = document.spec.rules.into_iter().enumerate();
    Ok(PolicySpec {
        name: document.metadata.name,
        service: document.spec.selector.service.unwrap_or_else(any),
        namespace: document.spec.selector.namespace.unwrap_or_else(any),
        rules: rules
            .map(|(index, rule)| {
                let spec = rule.into_spec(index as u32, applied_unix_ms);
                spec.map_err(|error| format!("spec.rules[{index}].{error}"))
            })
            .collect::<Result<_, _>>()?,
    })
}

impl Rule {
    fn into_spec(self, block: u32, applied_unix_ms: u64) -> Result<RuleSpec, String> {
        let fault = self.fault;
        fault.check().map_err(|error| format!("fault.{error}"))?;
        let text = |text: Text, place: &str| {
            test_of(text.exact, text.prefix, text.regex)
                .map_err(|error| format!("match.{place}: {error}"))
        };
        let headers = self.matches.headers.into_iter().map(|header| {
            let test = test_of(header.exact, header.prefix, header.regex);
            test.map(|test| (header.name, test))
                .map_err(|error| format!("match.headers: {error}"))
        });
        Ok(RuleSpec {
            block,
            expires_unix_ms: match fault.duration_seconds {
                0.0 => 0,
                seconds => applied_unix_ms
                    .saturating_add((seconds * 1e3) as u64)
                    .max(1),
            },
            method: self
                .matches
                .method
                .map(|test| text(test, "method"))
                .transpose()?,
            path: self
                .matches
                .path
                .map(|test| text(test, "path"))
                .transpose()?,
            headers: headers.collect::<Result<_, _>>()?,
            percentage: fault.percentage,
            sample_header: fault.sample_by.map(|sample| sample.header),
            seed: fault.seed,
            max_active: fault.max_active_faults,
            start_delay_ms: fault.start_delay_ms,
            delay: fault.delay.map(Delay::into_spec).transpose()?,
            abort: fault.abort.map(|abort| AbortSpec {
                status: abort.status,
                body: abort.body,
            }),
            reset: fault.reset,
            truncate_after_bytes: None,
            throttle_bytes_per_second: None,
        })
    }
}

fn test_of(
    exact: Option<String>,
    prefix: Option<String>,
    regex: Option<String>,
) -> Result<TextMatch, String> {
    match (exact, prefix, regex) {
        (Some(text), None, None) => Ok(TextMatch::Exact(text)),
        (None, Some(text), None) => Ok(TextMatch::Prefix(text)),
        (None, None, Some(text)) => Ok(TextMatch::Regex(text)),
        _ => Err("must have exactly one of exact, prefix and regex".to_owned()),
    }
}

impl Fault {
    fn check(&self) -> Result<(), String> {
        if !(0.0..=100.0).contains(&self.percentage) {
            return Err("percentage: must be 0 to 100".to_owned());
        }
        if self.start_delay_ms > START_DELAY_MAX_MS {
            return Err(format!(
                "start_delay_ms: must be at most {START_DELAY_MAX_MS}"
            ));
        }
        if !(0.0..=DURATION_MAX_SECONDS).contains(&self.duration_seconds) {
            return Err(format!(
                "duration_seconds: must be 0 to {DURATION_MAX_SECONDS}"
            ));
        }
        for (name, is_there) in [
            ("truncate", self.truncate.is_some()),
            ("throttle", self.throttle.is_some()),
        ] {
            if is_there {
                return Err(format!(
                    "{name}: is for the gateway; Envoy's plugin cannot do it"
                ));
            }
        }
        if self.abort.is_some() && self.reset {
            return Err("reset: abort already answers the request".to_owned());
        }
        if self.delay.is_none() && self.abort.is_none() && !self.reset {
            return Err("delay: must have a delay or an abort (or reset)".to_owned());
        }
        self.abort.as_ref().map_or(Ok(()), |abort| {
            let lowest = if abort.allow_success { 200 } else { 400 };
            if (lowest..=599).contains(&abort.status) {
                return Ok(());
            }
            Err(format!("abort.httpStatus: must be {lowest} to 599"))
        })
    }
}

impl Delay {
    fn into_spec(self) -> Result<DelaySpec, String> {
        let wrong = |what: &str| Err(format!("fault.delay{what}"));
        let times = [
            self.fixed_delay_ms,
            self.min_ms,
            self.max_ms,
            self.mean_ms,
            self.stddev_ms,
            self.scale_ms,
        ];
        for ms in times.into_iter().flatten() {
            if !(0.0..=DELAY_MAX_MS).contains(&ms) {
                return wrong(&format!(
                    ": is {ms} ms; the longest delay is {DELAY_MAX_MS} ms"
                ));
            }
        }
        let given = times.iter().flatten().count() + usize::from(self.shape.is_some());
        let (spec, takes) = match self.distribution {
            None => (self.fixed_delay_ms.map(|ms| DelaySpec::Fixed { ms }), 1),
            Some(Distribution::Uniform) => (
                self.min_ms
                    .zip(self.max_ms)
                    .map(|(min_ms, max_ms)| DelaySpec::Uniform { min_ms, max_ms }),
                2,
            ),
            Some(Distribution::Normal) => (
                self.mean_ms
                    .zip(self.stddev_ms)
                    .map(|(mean_ms, stddev_ms)| DelaySpec::Normal { mean_ms, stddev_ms }),
                2,
            ),
            Some(Distribution::Pareto) => (
                self.scale_ms
                    .zip(self.shape)
                    .map(|(scale_ms, shape)| DelaySpec::Pareto { scale_ms, shape }),
                2,
            ),
        };
        match spec {
            Some(DelaySpec::Uniform { min_ms, max_ms }) if min_ms > max_ms => {
                wrong(".min_ms: must not be above max_ms")
            }
            Some(DelaySpec::Pareto { shape, .. }) if !(shape > 0.0 && shape <= 100.0) => {
                wrong(".shape: must be more than 0 and at most 100")
            }
            Some(spec) if given == takes => Ok(spec),
            Some(_) => wrong(": has parameters of another distribution"),
            None => {
                wrong(": must have either fixed_delay_ms or a distribution with its parameters")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with_fault(fault: Value) -> Result<PolicySpec, String> {
        let document = json!({"metadata": {"name": "p"}, "spec": {"rules": [{"fault": fault}]}});
        policy_of(&document, 1_000)
    }

    #[test]
    fn the_contract_is_taken() {
        let document = json!({
            "metadata": {"name": "late-stage"},
            "spec": {
                "selector": {"service": "frontend", "namespace": "demo"},
                "rules": [{
                    "match": {
                        "method": {"exact": "GET"},
                        "path": {"prefix": "/api/"},
                        "headers": [{"name": "x-user-id", "regex": "^test-[0-9]+$"}],
                    },
                    "fault": {
                        "percentage": 50,
                        "start_delay_ms": 200,
                        "duration_seconds": 300,
                        "delay": {"fixed_delay_ms": 1000},
                        "abort": {"httpStatus": 503, "body": "optional text"},
                    },
                }],
            },
        });
        let policy = policy_of(&document, 1_000).expect("the contract's example");
        assert_eq!(
            (policy.service.as_str(), policy.namespace.as_str()),
            ("frontend", "demo")
        );
        let rule = &policy.rules[0];
        assert_eq!(rule.expires_unix_ms, 301_000);
        assert_eq!(rule.delay, Some(DelaySpec::Fixed { ms: 1_000.0 }));
        assert_eq!(rule.method, Some(TextMatch::Exact("GET".to_owned())));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place() {
        for (fault, place) in [
            (json!({}), "spec.rules[0].fault: missing field `percentage`"),
            (json!({"percentage": 5}), "spec.rules[0].fault.delay"),
            (
                json!({"percentage": 101, "reset": true}),
                "spec.rules[0].fault.percentage",
            ),
            (
                json!({"percentage": 1, "delay": {"fixed_delay_ms": 30_001}}),
                "spec.rules[0].fault.delay: is 30001 ms; the longest delay is 30000 ms",
            ),
            (
                json!({"percentage": 1, "delay": {}}),
                "spec.rules[0].fault.delay",
            ),
            (
                json!({"percentage": 1, "delay": {"fixed_delay_ms": 1, "max_ms": 1}}),
                "spec.rules[0].fault.delay",
            ),
            (
                json!({"percentage": 1, "abort": {"httpStatus": 200}}),
                "spec.rules[0].fault.abort.httpStatus: must be 400 to 599",
            ),
            (
                json!({"percentage": 1, "abort": {"httpStatus": 503}, "reset": true}),
                "spec.rules[0].fault.reset",
            ),
            (
                json!({"percentage": 1, "throttle": {"bytes_per_second": 5}}),
                "spec.rules[0].fault.throttle",
            ),
            (
                json!({"percentage": 1, "abrt": {}}),
                "spec.rules[0].fault.abrt",
            ),
        ] {
            let told = with_fault(fault.clone()).expect_err("wrong");
            assert!(told.starts_with(place), "{fault}: {told}");
        }
    }

    #[test]
    fn a_test_is_one_of_three() {
        for path in [json!({}), json!({"exact": "/", "prefix": "/"})] {
            let document = json!({"metadata": {"name": "p"}, "spec": {"rules": [
                {"match": {"path": path}, "fault": {"percentage": 1, "reset": true}}
            ]}});
            let told = policy_of(&document, 0).expect_err("wrong");
            assert!(told.starts_with("spec.rules[0].match.path"), "{told}");
        }
    }
}
