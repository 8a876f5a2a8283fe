//! Whether a request is one that a rule is for.

use regex::bytes::Regex;

use super::spec::{RuleSpec, TextMatch};

/// A request as a rule sees it; `headers` are names and values.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a, H> {
    /// As on the request line.
    pub method: &'a [u8],
    /// Without the query.
    pub path: &'a [u8],
    /// Every field.
    pub headers: H,
}

/// The tests of a rule.
#[derive(Debug)]
pub(super) struct Matcher {
    method: Option<Text>,
    path: Option<Text>,
    headers: Vec<(Vec<u8>, Text)>,
}

#[derive(Debug)]
enum Text {
    Exact(Vec<u8>),
    Prefix(Vec<u8>),
    Regex(Regex),
}

impl Matcher {
    /// Compiles the tests; an error is a regular expression that is none.
    pub(super) fn new(spec: &RuleSpec) -> Result<Self, regex::Error> {
        let headers = spec
            .headers
            .iter()
            .map(|(name, text)| Ok((name.as_bytes().to_vec(), Text::new(text)?)))
            .collect::<Result<_, regex::Error>>()?;
        Ok(Self {
            method: spec.method.as_ref().map(Text::new).transpose()?,
            path: spec.path.as_ref().map(Text::new).transpose()?,
            headers,
        })
    }

    /// Whether every test passes; a header's when any of its fields does.
    pub(super) fn matches<'a, H>(&self, request: &RequestView<'a, H>) -> bool
    where
        H: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    {
        let passes = |test: &Option<Text>, text| test.as_ref().is_none_or(|test| test.passes(text));
        passes(&self.method, request.method)
            && passes(&self.path, request.path)
            && self.headers.iter().all(|(wanted, test)| {
                request
                    .headers
                    .clone()
                    .any(|(name, value)| name.eq_ignore_ascii_case(wanted) && test.passes(value))
            })
    }
}

impl Text {
    fn new(spec: &TextMatch) -> Result<Self, regex::Error> {
        Ok(match spec {
            TextMatch::Exact(text) => Self::Exact(text.as_bytes().to_vec()),
            TextMatch::Prefix(text) => Self::Prefix(text.as_bytes().to_vec()),
            TextMatch::Regex(pattern) => Self::Regex(Regex::new(pattern)?),
        })
    }

    fn passes(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(whole) => text == whole,
            Self::Prefix(start) => text.starts_with(start),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}
