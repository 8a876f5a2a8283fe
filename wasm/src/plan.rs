//! The policies in force for one service, whatever they came from.

use gatewayx_policy::fault::{Plan, PlanSpec, Rules, value_draw};
use serde_json::Value;

use crate::document::policy_of;

/// A policy and when it was applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// As the user wrote it.
    pub document: Value,
    /// In milliseconds since 1970, if it is told; else it counts from when this thread put it in force.
    pub applied_unix_ms: Option<u64>,
}

/// A policy of a set.
#[derive(Clone)]
struct Known {
    origin: Origin,
    /// When its time began.
    since_unix_ms: u64,
    /// Of its first rule; the others follow.
    first_block: u32,
}

/// Policies that have been compiled.
///
/// Invariant: a policy that stays unchanged from one set to the next keeps the blocks of its rules, and no
/// other ever gets them. So `Rule::block` tells whether the rule that holds a request is still in force.
#[derive(Default)]
pub struct PolicySet {
    /// The rules that are for this service, if any.
    pub rules: Option<Rules>,
    plan: Plan,
    known: Vec<Known>,
    next_block: u32,
    names: Vec<(u32, String)>,
}

impl PolicySet {
    /// Puts other policies in force, for a service; all or none.
    ///
    /// Errors name the policy, the place in it and what is wrong there.
    pub fn replace(
        &mut self,
        origins: Vec<Origin>,
        service: &str,
        namespace: &str,
        now_unix_ms: u64,
    ) -> Result<(), String> {
        let mut spec = PlanSpec::default();
        let mut known = Vec::new();
        let mut names = Vec::new();
        let mut next_block = self.next_block;
        for origin in origins {
            let unchanged = self.known.iter().find(|known| known.origin == origin);
            let one = unchanged.cloned().unwrap_or_else(|| Known {
                since_unix_ms: origin.applied_unix_ms.unwrap_or(now_unix_ms),
                first_block: next_block,
                origin,
            });
            let document = &one.origin.document;
            let mut policy = policy_of(document, one.since_unix_ms)
                .map_err(|error| format!("{}: {error}", name_of(document)))?;
            let digest = value_draw(
                one.origin.applied_unix_ms.unwrap_or(0),
                document.to_string().as_bytes(),
            );
            for (index, rule) in policy.rules.iter_mut().enumerate() {
                rule.block = one.first_block + index as u32;
                names.push((rule.block, format!("{digest:016x}/{index}")));
            }
            next_block = next_block.max(one.first_block + policy.rules.len() as u32);
            known.push(one);
            spec.policies.push(policy);
        }
        self.plan = Plan::compile(&spec).map_err(|error| error.to_string())?;
        self.rules = self.plan.rules_for(service, namespace);
        (self.known, self.next_block, self.names) = (known, next_block, names);
        Ok(())
    }

    /// Whether these are the policies in force.
    pub fn is_of(&self, origins: &[Origin]) -> bool {
        self.known.iter().map(|known| &known.origin).eq(origins)
    }

    /// Whether the rule with this block is still in force.
    pub fn has_block(&self, block: u32) -> bool {
        self.plan.has_block(block)
    }

    /// A name for what all worker threads share about a rule, the same in each of them.
    pub fn shared_name(&self, block: u32) -> &str {
        let found = self.names.iter().find(|(known, _)| *known == block);
        found.map_or("", |(_, name)| name)
    }

    /// How many policies there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// What a policy is called, for messages about one that may not even have a name.
pub fn name_of(document: &Value) -> &str {
    let name = document.pointer("/metadata/name");
    name.and_then(Value::as_str)
        .unwrap_or("a policy without a name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatewayx_policy::fault::{RequestView, first_match, is_hit, nth_draw};
    use serde_json::json;

    fn origin(name: &str, service: &str, rules: &Value, applied_unix_ms: u64) -> Origin {
        Origin {
            document: json!({
                "metadata": {"name": name},
                "spec": {"selector": {"service": service}, "rules": rules},
            }),
            applied_unix_ms: Some(applied_unix_ms),
        }
    }

    fn aborts() -> Value {
        json!([{"fault": {"percentage": 100, "abort": {"httpStatus": 503}}}])
    }

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../tests/chaos_policies/vectors.json"))
            .expect("the vectors are JSON")
    }

    #[test]
    fn only_what_selects_the_service_is_asked() {
        let mut set = PolicySet::default();
        let policies = vec![origin("a", "other", &aborts(), 0)];
        set.replace(policies.clone(), "mine", "default", 0)
            .expect("good");
        assert!(set.rules.is_none());
        set.replace(policies, "other", "default", 0).expect("good");
        assert_eq!(set.rules.expect("selected").len(), 1);
    }

    #[test]
    fn an_unchanged_policy_keeps_its_blocks_and_nobody_else_gets_them() {
        let mut set = PolicySet::default();
        let (a, b) = (
            origin("a", "*", &aborts(), 5),
            origin("b", "*", &aborts(), 5),
        );
        set.replace(vec![a.clone(), b.clone()], "s", "n", 0)
            .expect("good");
        assert!(set.has_block(0) && set.has_block(1));
        set.replace(vec![b], "s", "n", 0).expect("good");
        assert!(!set.has_block(0) && set.has_block(1));
        set.replace(
            vec![Origin {
                applied_unix_ms: Some(6),
                ..a
            }],
            "s",
            "n",
            0,
        )
        .expect("good");
        assert!(!set.has_block(0) && !set.has_block(1) && set.has_block(2));
    }

    #[test]
    fn what_was_not_told_when_it_was_applied_counts_from_its_first_use() {
        let rules = json!([{"fault": {"percentage": 100, "duration_seconds": 1, "reset": true}}]);
        let origin = Origin {
            applied_unix_ms: None,
            ..origin("a", "*", &rules, 0)
        };
        let mut set = PolicySet::default();
        set.replace(vec![origin.clone()], "s", "n", 5_000)
            .expect("good");
        let name = set.shared_name(0).to_owned();
        assert!(set.is_of(std::slice::from_ref(&origin)) && !set.is_of(&[]));
        set.replace(vec![origin.clone()], "s", "n", 7_000)
            .expect("good");
        let request = RequestView {
            method: b"GET",
            path: b"/",
            headers: [].into_iter(),
        };
        let rules = set.rules.clone().expect("for all");
        assert!(first_match(&rules, 5_999, &request).is_some());
        assert!(first_match(&rules, 6_000, &request).is_none());
        // Another thread began later and shares its numbers all the same.
        let mut other = PolicySet::default();
        other.replace(vec![origin], "s", "n", 9_000).expect("good");
        assert_eq!(other.shared_name(0), name);
    }

    #[test]
    fn a_bad_policy_changes_nothing() {
        let mut set = PolicySet::default();
        set.replace(vec![origin("a", "*", &aborts(), 0)], "s", "n", 0)
            .expect("good");
        let bad = origin("b", "*", &json!([{"fault": {"percentage": 7}}]), 0);
        let told = set.replace(vec![bad], "s", "n", 0).expect_err("bad");
        assert!(told.starts_with("b: spec.rules[0].fault"), "{told}");
        let bad = origin(
            "b",
            "*",
            &json!([{"match": {"path": {"regex": "("}},
            "fault": {"percentage": 7, "reset": true}}]),
            0,
        );
        set.replace(vec![bad], "s", "n", 0).expect_err("bad");
        assert!(set.has_block(0) && set.len() == 1);
    }

    #[test]
    fn matching_agrees_with_the_shared_vectors() {
        let vectors = vectors();
        let cases = vectors["matching"].as_array().expect("a list");
        assert!(!cases.is_empty());
        for case in cases {
            let mut set = PolicySet::default();
            let policies = vec![origin("p", "*", &case["rules"], 0)];
            set.replace(policies, "s", "n", 0).expect("good");
            let rules = set.rules.expect("any service");
            for request in case["requests"].as_array().expect("a list") {
                let text = |value: &Value| value.as_str().expect("text").to_owned();
                let headers: Vec<(String, String)> = request["headers"]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .map(|pair| (text(&pair[0]), text(&pair[1])))
                    .collect();
                let path = text(&request["path"]);
                let method = text(&request["method"]);
                let view = RequestView {
                    method: method.as_bytes(),
                    path: path.split('?').next().expect("one part").as_bytes(),
                    headers: headers.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())),
                };
                let found = first_match(&rules, 1, &view).map(|rule| u64::from(rule.block));
                assert_eq!(
                    found,
                    request["rule"].as_u64(),
                    "{}: {request}",
                    case["name"]
                );
            }
        }
    }

    #[test]
    fn draws_agree_with_the_shared_vectors() {
        let vectors = vectors();
        let list = |name: &str| vectors[name].as_array().expect("a list").clone();
        for case in list("draws") {
            let seed = case["seed"].as_u64().expect("a seed");
            let draw = match case["n"].as_u64() {
                Some(n) => nth_draw(seed, n),
                None => value_draw(seed, case["value"].as_str().expect("text").as_bytes()),
            };
            assert_eq!(
                draw.to_string(),
                case["draw"].as_str().expect("text"),
                "{case}"
            );
        }
        for case in list("sample_by") {
            let seed = case["seed"].as_u64().expect("a seed");
            let draw = value_draw(seed, case["value"].as_str().expect("text").as_bytes());
            let hit = is_hit(case["percentage"].as_f64().expect("a share"), draw);
            assert_eq!(Some(hit), case["hit"].as_bool(), "{case}");
        }
    }
}
