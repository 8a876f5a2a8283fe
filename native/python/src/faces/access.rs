//! Access rules and keys as the control plane asks about them: before they are in force.

use gatewayx_auth::Authenticator;
use gatewayx_policy::{Facts, Rule, Subject};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// What is wrong with an access rule: the byte at which it begins, and words for it. `None`: the rule is sound.
#[pyfunction]
pub(super) fn check_access_rule(rule: &str) -> Option<(usize, String)> {
    Rule::parse(rule)
        .err()
        .map(|error| (error.at, error.to_string()))
}

/// Whether the rule lets everyone in.
#[pyfunction]
pub(super) fn is_public_rule(rule: &str) -> bool {
    Rule::parse(rule).is_ok_and(|rule| rule.is_public())
}

/// Why a key, in the engine's form, is of no use; `None`: it can be used.
#[pyfunction]
pub(super) fn check_verifying_key(key: &[u8]) -> PyResult<Option<String>> {
    let key =
        serde_json::from_slice(key).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(Authenticator::check_key(&key)
        .err()
        .map(|error| error.to_string()))
}

/// Holds a made-up request against a rule: whether it would pass, and `[(comparison, outcome)]` for every comparison
/// that was made. `subjects` are `[(name, value)]`, named as in a rule without `@request.`; more values of one name
/// are a list. The superuser passes every rule.
#[pyfunction]
pub(super) fn explain_access_rule(
    rule: &str,
    subjects: Vec<(String, String)>,
) -> PyResult<(bool, Vec<(String, bool)>)> {
    let parsed = Rule::parse(rule).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let mut steps = Vec::new();
    let facts = Named { subjects };
    let allowed = parsed.explain(&facts, &mut |place, outcome| {
        steps.push((rule[place].to_owned(), outcome));
    });
    Ok((allowed, steps))
}

struct Named {
    subjects: Vec<(String, String)>,
}

impl Facts for Named {
    fn values(&self, subject: &Subject, visit: &mut dyn FnMut(&[u8])) {
        let wanted = match subject {
            Subject::Method => "method".to_owned(),
            Subject::Ip => "ip".to_owned(),
            Subject::Claim(name) => format!("auth.{name}"),
            Subject::Header(name) => format!("headers.{name}"),
        };
        for (name, value) in &self.subjects {
            if *name == wanted {
                visit(value.as_bytes());
            }
        }
    }
}
