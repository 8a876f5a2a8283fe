//! Phrases of errors: stable, told apart, and fit for a log line.

use std::collections::HashMap;

use gatewayx_http::ParseError;

use crate::{chunks, request_fields, request_lines, responses};

#[test]
fn every_rule_of_the_tables_has_a_phrase_of_its_own() {
    let of_bodies = chunks::REFUSED.iter().map(|&(.., error)| error);
    let of_heads = [
        request_lines::REFUSED,
        request_fields::REFUSED,
        responses::REFUSED,
    ]
    .into_iter()
    .flatten()
    .map(|&(.., error)| error);
    let mut errors: HashMap<&str, ParseError> = HashMap::new();
    for error in of_heads.chain(of_bodies) {
        let phrase = error.as_str();
        assert_eq!(*errors.entry(phrase).or_insert(error), error, "{phrase}");
        assert_eq!(error.to_string(), phrase);
        assert!(phrase.is_ascii() && !phrase.ends_with('.'), "{phrase}");
    }
    assert!(errors.len() > 40);
}
