//! From a rule's text to its tree, by recursive descent over one token at a time.

use std::fmt;
use std::ops::Range;

use super::{
    COMPARISONS_MAX_COUNT, Comparison, DEPTH_MAX, Network, Node, Operand, RULE_MAX_BYTES, Subject,
};

/// Why a text is no rule, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Byte of the text at which the problem begins.
    pub at: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Longer than [`RULE_MAX_BYTES`].
    TooLong,
    /// Deeper than [`DEPTH_MAX`].
    TooDeep,
    /// More than [`COMPARISONS_MAX_COUNT`].
    TooManyComparisons,
    /// A subject or a text is missing.
    OperandExpected,
    /// `=` or `!=` is missing.
    OperatorExpected,
    /// `&&`, `||` or the end is missing.
    JunctionExpected,
    /// A `(` has no `)`.
    Unclosed,
    /// A quote has no partner.
    Unquoted,
    /// `@...` names nothing that a rule can ask for.
    UnknownSubject,
    /// Two texts are compared.
    NothingToCompare,
    /// The text beside `@request.ip` is no address.
    NoAddress,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the rule is longer than {RULE_MAX_BYTES} bytes"),
            Self::TooDeep => write!(f, "more than {DEPTH_MAX} parentheses within each other"),
            Self::TooManyComparisons => write!(f, "more than {COMPARISONS_MAX_COUNT} comparisons"),
            Self::OperandExpected => f.write_str(
                "expected a text in quotes, @request.auth.NAME, @request.method, \
                     @request.headers.NAME or @request.ip",
            ),
            Self::OperatorExpected => f.write_str("expected = or !="),
            Self::JunctionExpected => f.write_str("expected && or || or the end of the rule"),
            Self::Unclosed => f.write_str("this parenthesis is not closed"),
            Self::Unquoted => f.write_str("this quote is not closed"),
            Self::UnknownSubject => f.write_str(
                "unknown: a rule can ask for @request.auth.NAME, @request.method, \
                     @request.headers.NAME and @request.ip",
            ),
            Self::NothingToCompare => {
                f.write_str("compares two texts: one side has to be @request...")
            }
            Self::NoAddress => f.write_str("expected an address or a network such as 10.0.0.0/8"),
        }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.problem)
    }
}

impl std::error::Error for RuleError {}

/// Either side of a comparison before it is known what stands on the other.
enum Side<'a> {
    Text(&'a str),
    Subject(Subject),
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    comparisons_count: usize,
}

pub(super) fn parse(text: &str) -> Result<Node, RuleError> {
    if text.len() > RULE_MAX_BYTES {
        return Err(RuleError {
            at: RULE_MAX_BYTES,
            problem: Problem::TooLong,
        });
    }
    let mut parser = Parser {
        text,
        at: 0,
        comparisons_count: 0,
    };
    let node = parser.any(0)?;
    if parser.rest().is_empty() {
        Ok(node)
    } else {
        Err(parser.error(Problem::JunctionExpected))
    }
}

impl<'a> Parser<'a> {
    fn any(&mut self, depth: usize) -> Result<Node, RuleError> {
        let mut nodes = vec![self.all(depth)?];
        while self.take("||") {
            nodes.push(self.all(depth)?);
        }
        Ok(joined(nodes, Node::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Node, RuleError> {
        let mut nodes = vec![self.term(depth)?];
        while self.take("&&") {
            nodes.push(self.term(depth)?);
        }
        Ok(joined(nodes, Node::All))
    }

    fn term(&mut self, depth: usize) -> Result<Node, RuleError> {
        self.rest();
        let opened_at = self.at;
        if !self.take("(") {
            return self.comparison();
        }
        if depth == DEPTH_MAX {
            return Err(RuleError {
                at: opened_at,
                problem: Problem::TooDeep,
            });
        }
        let node = self.any(depth + 1)?;
        if self.take(")") {
            Ok(node)
        } else if self.rest().is_empty() {
            Err(RuleError {
                at: opened_at,
                problem: Problem::Unclosed,
            })
        } else {
            Err(self.error(Problem::JunctionExpected))
        }
    }

    fn comparison(&mut self) -> Result<Node, RuleError> {
        self.rest();
        let start = self.at;
        let (left, left_place) = self.side()?;
        let equal = if self.take("!=") {
            false
        } else if self.take("=") {
            true
        } else {
            return Err(self.error(Problem::OperatorExpected));
        };
        let (right, right_place) = self.side()?;
        self.comparisons_count += 1;
        if self.comparisons_count > COMPARISONS_MAX_COUNT {
            return Err(RuleError {
                at: start,
                problem: Problem::TooManyComparisons,
            });
        }
        let (subject, other) = match (left, right) {
            (Side::Subject(subject), Side::Text(text)) => {
                let operand = operand(&subject, text, &right_place)?;
                (subject, operand)
            }
            (Side::Text(text), Side::Subject(subject)) => {
                let operand = operand(&subject, text, &left_place)?;
                (subject, operand)
            }
            (Side::Subject(left), Side::Subject(right)) => (left, Operand::Subject(right)),
            (Side::Text(_), Side::Text(_)) => {
                return Err(RuleError {
                    at: start,
                    problem: Problem::NothingToCompare,
                });
            }
        };
        Ok(Node::Compare(Comparison {
            subject,
            other,
            equal,
            place: start..self.at,
        }))
    }

    fn side(&mut self) -> Result<(Side<'a>, Range<usize>), RuleError> {
        let rest = self.rest();
        let start = self.at;
        match rest.bytes().next() {
            Some(quote @ (b'\'' | b'"')) => {
                let Some(len) = rest[1..].find(char::from(quote)) else {
                    return Err(self.error(Problem::Unquoted));
                };
                self.at += len + 2;
                Ok((Side::Text(&rest[1..=len]), start..self.at))
            }
            Some(b'@') => {
                let len = 1 + rest[1..]
                    .bytes()
                    .position(|byte| !is_name(byte) && byte != b'.')
                    .unwrap_or(rest.len() - 1);
                let subject = subject(&rest[..len]);
                let subject = subject.ok_or_else(|| self.error(Problem::UnknownSubject))?;
                self.at += len;
                Ok((Side::Subject(subject), start..self.at))
            }
            _ => Err(self.error(Problem::OperandExpected)),
        }
    }

    /// What is left, beginning with the next token.
    fn rest(&mut self) -> &'a str {
        let rest = self.text[self.at..].trim_start_matches([' ', '\t', '\r', '\n']);
        self.at = self.text.len() - rest.len();
        rest
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn error(&self, problem: Problem) -> RuleError {
        RuleError {
            at: self.at,
            problem,
        }
    }
}

fn joined(mut nodes: Vec<Node>, join: impl Fn(Vec<Node>) -> Node) -> Node {
    if nodes.len() == 1 {
        nodes.remove(0)
    } else {
        join(nodes)
    }
}

fn operand(subject: &Subject, text: &str, place: &Range<usize>) -> Result<Operand, RuleError> {
    if *subject != Subject::Ip {
        return Ok(Operand::Text(text.as_bytes().into()));
    }
    Network::parse(text).map(Operand::Network).ok_or(RuleError {
        at: place.start,
        problem: Problem::NoAddress,
    })
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn subject(text: &str) -> Option<Subject> {
    let name = text.strip_prefix("@request.")?;
    if let Some(claim) = name.strip_prefix("auth.") {
        let whole = claim.split('.').all(|step| !step.is_empty());
        return whole.then(|| Subject::Claim(claim.into()));
    }
    if let Some(header) = name.strip_prefix("headers.") {
        let whole = !header.is_empty() && !header.contains('.');
        return whole.then(|| Subject::Header(header.to_ascii_lowercase().into()));
    }
    match name {
        "method" => Some(Subject::Method),
        "ip" => Some(Subject::Ip),
        _ => None,
    }
}
