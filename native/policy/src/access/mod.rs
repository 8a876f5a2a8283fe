//! Access rules: who may call a proxy.
//!
//! ```text
//! rule       = ""                          the superuser only
//!            | "true"                      everyone
//!            | any
//! any        = all *( "||" all )
//! all        = term *( "&&" term )
//! term       = "(" any ")" | operand ( "=" | "!=" ) operand
//! operand    = "@request.auth." name *( "." name )
//!            | "@request.headers." name
//!            | "@request.method" | "@request.ip"
//!            | text in single or double quotes, without escapes
//! ```
//!
//! `&&` binds tighter than `||`. A subject may have any number of values: a claim that is a list has one for each
//! item, one that is missing has none. `=` holds when any value is equal; none at all equals the empty text, and
//! only that. `!=` is the opposite of `=`. So two subjects that are both missing are *not* equal, and a caller who
//! leaves both out passes no rule that compares them.
//!
//! Text beside `@request.ip` is an address or a network (`10.0.0.0/8`); an IPv4 address equals its IPv6-mapped form.
//!
//! Evaluation goes from left to right, stops as soon as the outcome is certain, allocates nothing and asks for a
//! subject only when it gets there: a rule that is decided by the method never looks at a token.
//!
//! Bounds: [`RULE_MAX_BYTES`], [`DEPTH_MAX`], [`COMPARISONS_MAX_COUNT`]; recursion is as deep as parentheses.

mod network;
mod parser;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use network::Network;
pub use parser::{Problem, RuleError};

/// Longest rule.
pub const RULE_MAX_BYTES: usize = 2_048;

/// Parentheses within parentheses.
pub const DEPTH_MAX: usize = 16;

/// Comparisons in one rule.
pub const COMPARISONS_MAX_COUNT: usize = 64;

/// Who may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The superuser only.
    Superuser,
    /// Everyone.
    Public,
    /// Whoever the expression holds for.
    Expression(Expression),
}

/// What a rule compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The request's method, as it was sent.
    Method,
    /// The caller's address.
    Ip,
    /// A claim of the caller's credential; nested ones are named with dots.
    Claim(Box<str>),
    /// A request field, by its name in lower case.
    Header(Box<str>),
}

/// What is known of a request.
pub trait Facts {
    /// Hands every value of `subject` to `visit`; none when it is missing.
    fn values(&self, subject: &Subject, visit: &mut dyn FnMut(&[u8]));
}

/// A parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    root: Node,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Compare(Comparison),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Comparison {
    subject: Subject,
    other: Operand,
    equal: bool,
    /// Where it stands in the rule.
    place: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operand {
    Text(Box<[u8]>),
    Network(Network),
    Subject(Subject),
}

impl Rule {
    /// Reads a rule.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        match text.trim() {
            "" => Ok(Self::Superuser),
            "true" => Ok(Self::Public),
            _ => Ok(Self::Expression(Expression {
                root: parser::parse(text)?,
            })),
        }
    }

    /// Whether the rule lets everyone in.
    pub fn is_public(&self) -> bool {
        *self == Self::Public
    }

    /// Whether who the caller is can matter; if not, a credential would not help somebody who is refused.
    pub fn names_caller(&self) -> bool {
        match self {
            Self::Superuser => true,
            Self::Public => false,
            Self::Expression(expression) => expression.root.names_caller(),
        }
    }

    /// Whether the rule lets an ordinary caller in. The superuser is not asked.
    #[inline]
    pub fn allows(&self, facts: &impl Facts) -> bool {
        self.explain(facts, &mut |_, _| {})
    }

    /// As [`Self::allows`]; every comparison that was made is reported with its place and outcome.
    pub fn explain(&self, facts: &impl Facts, report: &mut impl FnMut(Range<usize>, bool)) -> bool {
        match self {
            Self::Superuser => false,
            Self::Public => true,
            Self::Expression(expression) => expression.root.holds(facts, report),
        }
    }
}

impl Node {
    fn holds(&self, facts: &impl Facts, report: &mut impl FnMut(Range<usize>, bool)) -> bool {
        match self {
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(facts, report)),
            Self::All(nodes) => nodes.iter().all(|node| node.holds(facts, report)),
            Self::Compare(comparison) => {
                let outcome = comparison.are_equal(facts) == comparison.equal;
                report(comparison.place.clone(), outcome);
                outcome
            }
        }
    }

    fn names_caller(&self) -> bool {
        match self {
            Self::Any(nodes) | Self::All(nodes) => nodes.iter().any(Self::names_caller),
            Self::Compare(comparison) => {
                let is_claim = |subject: &Subject| matches!(subject, Subject::Claim(_));
                is_claim(&comparison.subject)
                    || matches!(&comparison.other, Operand::Subject(other) if is_claim(other))
            }
        }
    }
}

impl Comparison {
    fn are_equal(&self, facts: &impl Facts) -> bool {
        let mut equal = false;
        match &self.other {
            Operand::Text(text) => {
                let mut missing = true;
                facts.values(&self.subject, &mut |value| {
                    missing = false;
                    equal |= value == &**text;
                });
                equal || (missing && text.is_empty())
            }
            Operand::Network(network) => {
                facts.values(&self.subject, &mut |value| {
                    equal |= network.contains(value);
                });
                equal
            }
            Operand::Subject(other) => {
                facts.values(&self.subject, &mut |value| {
                    facts.values(other, &mut |other| equal |= value == other);
                });
                equal
            }
        }
    }
}
