use std::cell::Cell;
use std::rc::Rc;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const VECTORS: &str = include_str!("../../../../tests/chaos_policies/vectors.json");

fn vectors() -> Value {
    serde_json::from_str(VECTORS).expect("JSON")
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn text_match(value: &Value) -> Option<TextMatch> {
    let (kind, text) = value
        .as_object()?
        .iter()
        .find(|(key, _)| *key != "name")
        .expect("a test");
    let text = text.as_str().expect("a text").to_owned();
    Some(match kind.as_str() {
        "exact" => TextMatch::Exact(text),
        "prefix" => TextMatch::Prefix(text),
        _ => TextMatch::Regex(text),
    })
}

fn rule_spec() -> RuleSpec {
    serde_json::from_str(r#"{"block": 1, "percentage": 100, "reset": true}"#).expect("a rule")
}

fn plan(rules: Vec<RuleSpec>) -> Plan {
    let policy = PolicySpec {
        name: "p".to_owned(),
        service: "shop".to_owned(),
        namespace: "*".to_owned(),
        rules,
    };
    Plan::compile(&PlanSpec {
        policies: vec![policy],
    })
    .expect("valid")
}

fn only_rule(spec: RuleSpec) -> Rc<Rule> {
    plan(vec![spec]).rules_for("shop", "any").expect("selected")[0].clone()
}

type Fields<'a> = std::vec::IntoIter<(&'a [u8], &'a [u8])>;

fn request<'a>(path: &'a str, headers: &[(&'a str, &'a str)]) -> RequestView<'a, Fields<'a>> {
    let fields: Vec<(&[u8], &[u8])> = headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    RequestView {
        method: b"GET",
        path: path.as_bytes(),
        headers: fields.into_iter(),
    }
}

#[test]
fn matching_agrees_with_the_shared_vectors() {
    for vector in vectors()["matching"].as_array().expect("a list") {
        let rules = vector["rules"]
            .as_array()
            .expect("a list")
            .iter()
            .zip(0..)
            .map(|(rule, block)| RuleSpec {
                block,
                method: text_match(&rule["match"]["method"]),
                path: text_match(&rule["match"]["path"]),
                headers: rule["match"]["headers"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|header| {
                        let name = text(&header["name"]).to_owned();
                        (name, text_match(header).expect("a test"))
                    })
                    .collect(),
                ..rule_spec()
            })
            .collect();
        let rules = plan(rules).rules_for("shop", "default").expect("selected");
        for asked in vector["requests"].as_array().expect("a list") {
            let headers: Vec<(&[u8], &[u8])> = asked["headers"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|field| (text(&field[0]).as_bytes(), text(&field[1]).as_bytes()))
                .collect();
            let (path, _) = text(&asked["path"])
                .split_once('?')
                .unwrap_or((text(&asked["path"]), ""));
            let view = RequestView {
                method: text(&asked["method"]).as_bytes(),
                path: path.as_bytes(),
                headers: headers.into_iter(),
            };
            let found = first_match(&rules, 0, &view).map(|rule| u64::from(rule.block));
            assert_eq!(found, asked["rule"].as_u64(), "{}: {asked}", vector["name"]);
        }
    }
}

#[test]
fn sampling_agrees_with_the_shared_vectors() {
    let vectors = vectors();
    for draw in vectors["draws"].as_array().expect("a list") {
        let seed = number(&draw["seed"]);
        let found = match draw["value"].as_str() {
            Some(value) => value_draw(seed, value.as_bytes()),
            None => nth_draw(seed, number(&draw["n"])),
        };
        assert_eq!(found.to_string(), text(&draw["draw"]));
    }
    for vector in vectors["sampling"].as_array().expect("a list") {
        let percentage = vector["percentage"].as_f64().expect("a number");
        let rule = only_rule(RuleSpec {
            percentage,
            seed: Some(number(&vector["seed"])),
            ..rule_spec()
        });
        let hits: Vec<u64> = (0..200)
            .filter(|&n| {
                rule.decide(&request("/", &[]), || n, || panic!("seeded"))
                    .is_some()
            })
            .collect();
        let expected: Vec<u64> = vector["hits"]
            .as_array()
            .expect("a list")
            .iter()
            .map(number)
            .collect();
        assert_eq!(hits, expected);
    }
    for vector in vectors["sample_by"].as_array().expect("a list") {
        let rule = only_rule(RuleSpec {
            percentage: vector["percentage"].as_f64().expect("a number"),
            seed: Some(number(&vector["seed"])),
            sample_header: Some("x-user".to_owned()),
            ..rule_spec()
        });
        let view = request("/", &[("X-User", text(&vector["value"]))]);
        let hit = rule.decide(&view, || panic!("by header"), || panic!("by header"));
        assert_eq!(Some(hit.is_some()), vector["hit"].as_bool(), "{vector}");
    }
}

#[test]
fn a_request_without_the_sampled_field_is_spared() {
    let rule = only_rule(RuleSpec {
        sample_header: Some("x-user".to_owned()),
        ..rule_spec()
    });
    assert_eq!(rule.decide(&request("/", &[]), || 0, || 0), None);
}

#[test]
fn a_plan_gives_each_service_its_own_rules() {
    let policy = |name: &str, service: &str, namespace: &str, block| PolicySpec {
        name: name.to_owned(),
        service: service.to_owned(),
        namespace: namespace.to_owned(),
        rules: vec![RuleSpec {
            block,
            ..rule_spec()
        }],
    };
    let plan = Plan::compile(&PlanSpec {
        policies: vec![
            policy("a", "shop", "*", 1),
            policy("b", "*", "demo", 2),
            policy("c", "shop", "live", 3),
        ],
    })
    .expect("valid");
    let blocks = |service, namespace| {
        plan.rules_for(service, namespace)
            .map(|rules| rules.iter().map(|rule| rule.block).collect::<Vec<_>>())
    };
    assert_eq!(blocks("shop", "demo"), Some(vec![1, 2]));
    assert_eq!(blocks("shop", "live"), Some(vec![1, 3]));
    assert_eq!(blocks("other", "demo"), Some(vec![2]));
    assert_eq!(blocks("other", "live"), None);
    assert!(plan.has_block(3));
    assert!(!plan.has_block(4));
}

#[test]
fn a_rule_ends_at_its_time_and_the_next_one_is_asked() {
    let rules = plan(vec![
        RuleSpec {
            expires_unix_ms: 100,
            ..rule_spec()
        },
        RuleSpec {
            block: 2,
            ..rule_spec()
        },
    ])
    .rules_for("shop", "x")
    .expect("selected");
    let decides =
        |now_unix_ms| first_match(&rules, now_unix_ms, &request("/", &[])).map(|rule| rule.block);
    assert_eq!(decides(99), Some(1));
    assert_eq!(decides(100), Some(2));
}

#[test]
fn what_is_no_regular_expression_is_refused() {
    let policy = PolicySpec {
        name: "p".to_owned(),
        service: "*".to_owned(),
        namespace: "*".to_owned(),
        rules: vec![RuleSpec {
            path: Some(TextMatch::Regex("(".to_owned())),
            ..rule_spec()
        }],
    };
    let error = Plan::compile(&PlanSpec {
        policies: vec![policy],
    })
    .err()
    .expect("refused");
    assert!(error.to_string().starts_with("policy p: regex parse error"));
}

fn delays_ms(delay: DelaySpec) -> Vec<f64> {
    let rule = only_rule(RuleSpec {
        delay: Some(delay),
        seed: Some(5),
        ..rule_spec()
    });
    let n = Cell::new(0);
    (0..20_000)
        .map(|_| {
            n.set(n.get() + 1);
            let injection = rule
                .decide(&request("/", &[]), || n.get(), || 0)
                .expect("hit");
            injection.delay_ns.expect("a delay") as f64 / 1e6
        })
        .collect()
}

#[test]
fn delays_follow_their_distribution() {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    assert!(
        delays_ms(DelaySpec::Fixed { ms: 12.5 })
            .iter()
            .all(|&ms| ms == 12.5)
    );

    let uniform = delays_ms(DelaySpec::Uniform {
        min_ms: 10.0,
        max_ms: 30.0,
    });
    assert!(uniform.iter().all(|ms| (10.0..=30.0).contains(ms)));
    assert!((mean(&uniform) - 20.0).abs() < 0.2);

    let normal = delays_ms(DelaySpec::Normal {
        mean_ms: 100.0,
        stddev_ms: 10.0,
    });
    let variance = mean(
        &normal
            .iter()
            .map(|ms| (ms - 100.0).powi(2))
            .collect::<Vec<_>>(),
    );
    assert!((mean(&normal) - 100.0).abs() < 0.5);
    assert!((variance.sqrt() - 10.0).abs() < 0.5);

    let pareto = delays_ms(DelaySpec::Pareto {
        scale_ms: 10.0,
        shape: 3.0,
    });
    assert!(pareto.iter().all(|&ms| ms >= 10.0));
    assert!((mean(&pareto) - 15.0).abs() < 0.5);

    let wild = delays_ms(DelaySpec::Normal {
        mean_ms: 15_000.0,
        stddev_ms: 30_000.0,
    });
    assert!(wild.iter().all(|ms| (0.0..=30_000.0).contains(ms)));
    assert!(wild.contains(&0.0));
    assert!(wild.contains(&30_000.0));
}

proptest! {
    /// Within three standard deviations, whatever the seed; and never a hit at 0, never a miss at 100.
    #[test]
    fn the_share_is_as_large_as_asked_for(seed: u64, percentage in 0.0..100.0f64) {
        const DRAWS: u64 = 10_000;
        let hits = (0..DRAWS).filter(|&n| is_hit(percentage, nth_draw(seed, n))).count() as f64;
        let share = percentage / 100.0;
        let deviation = (DRAWS as f64 * share * (1.0 - share)).sqrt();
        prop_assert!((hits - DRAWS as f64 * share).abs() <= 5.0 * deviation + 1.0);
        prop_assert!(!is_hit(0.0, seed));
        prop_assert!(is_hit(100.0, seed));
    }
}
