use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Values by the subject's name in a rule.
#[derive(Default, Debug)]
struct Known(HashMap<&'static str, Vec<&'static str>>);

impl Known {
    fn of(known: &[(&'static str, &[&'static str])]) -> Self {
        Self(
            known
                .iter()
                .map(|&(name, values)| (name, values.to_vec()))
                .collect(),
        )
    }
}

impl Facts for Known {
    fn values(&self, subject: &Subject, visit: &mut dyn FnMut(&[u8])) {
        let name = match subject {
            Subject::Method => "method".to_owned(),
            Subject::Ip => "ip".to_owned(),
            Subject::Claim(name) => format!("auth.{name}"),
            Subject::Header(name) => format!("headers.{name}"),
        };
        for value in self.0.get(name.as_str()).into_iter().flatten() {
            visit(value.as_bytes());
        }
    }
}

fn allows(rule: &str, known: &[(&'static str, &[&'static str])]) -> bool {
    Rule::parse(rule)
        .unwrap_or_else(|error| panic!("{rule}: {error}"))
        .allows(&Known::of(known))
}

fn problem(rule: &str) -> (usize, Problem) {
    let error = Rule::parse(rule).expect_err(rule);
    (error.at, error.problem)
}

#[test]
fn the_two_words() {
    assert_eq!(Rule::parse(""), Ok(Rule::Superuser));
    assert_eq!(Rule::parse("  "), Ok(Rule::Superuser));
    assert_eq!(Rule::parse("true"), Ok(Rule::Public));
    assert!(!allows("", &[("auth.id", &["u1"])]));
    assert!(allows("true", &[]));
}

#[test]
fn any_valid_token() {
    let rule = "@request.auth.id != ''";
    assert!(!allows(rule, &[]));
    assert!(allows(rule, &[("auth.id", &["u1"])]));
    assert!(Rule::parse(rule).expect("sound").names_caller());
}

#[test]
fn both_quotes_and_either_side() {
    let known: &[(_, &[_])] = &[("auth.role", &["it's"])];
    assert!(allows("@request.auth.role = \"it's\"", known));
    assert!(allows("\"it's\"=@request.auth.role", known));
}

#[test]
fn and_binds_tighter_than_or() {
    let known: &[(_, &[_])] = &[("method", &["GET"]), ("ip", &["10.1.1.1"])];
    let (yes, no) = ("@request.method='GET'", "@request.method='PUT'");
    assert!(allows(&format!("{yes} || {no} && {no}"), known));
    assert!(!allows(&format!("({yes} || {no}) && {no}"), known));
    assert!(allows(&format!("{no} && {no} || {yes}"), known));
    assert!(allows(
        &format!("({yes} && ({no} || @request.ip = '10.0.0.0/8'))"),
        known
    ));
}

#[test]
fn a_list_equals_each_of_its_items() {
    let known: &[(_, &[_])] = &[("auth.groups", &["ops", "dev"])];
    assert!(allows("@request.auth.groups = 'dev'", known));
    assert!(!allows("@request.auth.groups != 'dev'", known));
    assert!(allows("@request.auth.groups != 'hr'", known));
}

#[test]
fn what_is_missing_equals_the_empty_text_and_nothing_else() {
    assert!(allows("@request.headers.x-a = ''", &[]));
    assert!(!allows("@request.headers.x-a != ''", &[]));
    assert!(!allows(
        "@request.auth.tenant = @request.headers.x-tenant",
        &[]
    ));
    assert!(allows(
        "@request.auth.tenant != @request.headers.x-tenant",
        &[]
    ));
    let same: &[(_, &[_])] = &[("auth.tenant", &["t"]), ("headers.x-tenant", &["t"])];
    assert!(allows(
        "@request.auth.tenant = @request.headers.X-Tenant",
        same
    ));
}

#[test]
fn problems_name_their_place() {
    for (rule, at, expected) in [
        ("false", 0, Problem::OperandExpected),
        ("@request.auth.id", 16, Problem::OperatorExpected),
        ("@request.auth.id != ", 20, Problem::OperandExpected),
        ("@request.auth.id == ''", 18, Problem::OperandExpected),
        ("@request.auth.id ~ ''", 17, Problem::OperatorExpected),
        ("@request.auth.id != '", 20, Problem::Unquoted),
        ("@request.auth. != ''", 0, Problem::UnknownSubject),
        ("@request.auth.a..b != ''", 0, Problem::UnknownSubject),
        ("@request.path = '/'", 0, Problem::UnknownSubject),
        ("@request.headers. = ''", 0, Problem::UnknownSubject),
        ("'a' = 'a'", 0, Problem::NothingToCompare),
        ("@request.ip = 'here'", 14, Problem::NoAddress),
        ("  (@request.method='GET'", 2, Problem::Unclosed),
        ("@request.method='GET')", 21, Problem::JunctionExpected),
        ("@request.method='GET' and", 22, Problem::JunctionExpected),
        ("@request.method='GET' && ", 25, Problem::OperandExpected),
    ] {
        assert_eq!(problem(rule), (at, expected), "{rule}");
    }
}

#[test]
fn bounds() {
    let term = "@request.method='GET'";
    let nested = |depth: usize| format!("{}{term}{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Rule::parse(&nested(DEPTH_MAX)).is_ok());
    assert_eq!(problem(&nested(DEPTH_MAX + 1)).1, Problem::TooDeep);
    let many = |count| vec!["@request.ip='::1'"; count].join("||");
    assert!(Rule::parse(&many(COMPARISONS_MAX_COUNT)).is_ok());
    assert_eq!(
        problem(&many(COMPARISONS_MAX_COUNT + 1)).1,
        Problem::TooManyComparisons
    );
    assert_eq!(problem(&"(".repeat(RULE_MAX_BYTES + 1)).1, Problem::TooLong);
}

#[test]
fn what_was_compared_is_reported_until_the_outcome_is_certain() {
    let text = "@request.method = 'GET' && @request.auth.id != '' || @request.ip = '::1'";
    let rule = Rule::parse(text).expect("sound");
    let mut seen = Vec::new();
    let known = Known::of(&[("method", &["GET"])]);
    assert!(!rule.explain(&known, &mut |place, outcome| {
        seen.push((&text[place], outcome));
    }));
    assert_eq!(
        seen,
        [
            ("@request.method = 'GET'", true),
            ("@request.auth.id != ''", false),
            ("@request.ip = '::1'", false),
        ]
    );
}

/// A rule as a tree of its own, with a writer and an evaluator that share nothing with the parser.
#[derive(Clone, Debug)]
enum Tree {
    Any(Box<Tree>, Box<Tree>),
    All(Box<Tree>, Box<Tree>),
    Leaf(&'static str, bool, &'static str),
}

const NAMES: [&str; 4] = ["method", "auth.role", "auth.org.unit", "headers.x-a"];
const TEXTS: [&str; 3] = ["", "a", "b"];

impl Tree {
    fn write(&self, gap: &str) -> String {
        match self {
            Self::Any(left, right) => {
                format!("{}{gap}||{gap}{}", left.write(gap), right.write(gap))
            }
            Self::All(left, right) => {
                let side = |tree: &Self| match tree {
                    Self::Any(..) => format!("({gap}{}{gap})", tree.write(gap)),
                    _ => tree.write(gap),
                };
                format!("{}{gap}&&{gap}{}", side(left), side(right))
            }
            Self::Leaf(name, equal, text) => {
                let operator = if *equal { "=" } else { "!=" };
                format!("@request.{name}{gap}{operator}{gap}'{text}'")
            }
        }
    }

    fn holds(&self, known: &Known) -> bool {
        match self {
            Self::Any(left, right) => left.holds(known) | right.holds(known),
            Self::All(left, right) => left.holds(known) & right.holds(known),
            Self::Leaf(name, equal, text) => {
                let values = known.0.get(name).cloned().unwrap_or_default();
                let found = if values.is_empty() {
                    text.is_empty()
                } else {
                    values.contains(text)
                };
                found == *equal
            }
        }
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = (
        prop::sample::select(&NAMES[..]),
        any::<bool>(),
        prop::sample::select(&TEXTS[..]),
    )
        .prop_map(|(name, equal, text)| Tree::Leaf(name, equal, text));
    leaf.prop_recursive(5, 32, 2, |inner| {
        let pair = (inner.clone(), inner).prop_map(|(left, right)| (left.into(), right.into()));
        (any::<bool>(), pair).prop_map(|(any, (left, right))| {
            if any {
                Tree::Any(left, right)
            } else {
                Tree::All(left, right)
            }
        })
    })
}

proptest! {
    #[test]
    fn rules_mean_what_the_naive_evaluator_says(
        tree in trees(),
        gap in prop::sample::select(vec!["", " ", "\n\t"]),
        values in prop::collection::vec(
            prop::collection::vec(prop::sample::select(&TEXTS[..]), 0..3), NAMES.len()),
    ) {
        let known = Known(NAMES.into_iter().zip(values).collect());
        let text = tree.write(gap);
        let rule = Rule::parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        prop_assert_eq!(rule.allows(&known), tree.holds(&known), "{}", text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[@a-z.'\"()=!&| é]{0,80}") {
        if let Err(error) = Rule::parse(&text) {
            prop_assert!(error.at <= text.len() && text.is_char_boundary(error.at));
        }
    }
}
