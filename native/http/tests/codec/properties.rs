//! Parsers against their naive twins and against an independent parser, on generated messages.

use gatewayx_http::{ChunkLimits, HeadLimits, Method, ParseError};
use proptest::prelude::*;

use crate::delivery::{self, Request, Response, Verdict};
use crate::oracle::Opinion;
use crate::{chunk_oracle, generator, request_oracle, response_oracle};

fn head_limits() -> impl Strategy<Value = HeadLimits> {
    let small =
        (20..200_usize, 1..30_usize, 0..5_usize).prop_map(|(head, target, fields)| HeadLimits {
            head_max_bytes: head,
            target_max_bytes: target,
            fields_max_count: fields,
        });
    prop_oneof![4 => Just(HeadLimits::default()), 1 => small]
}

fn agrees<T: PartialEq>(given: &Verdict<T>, expected: &Opinion<T>) -> bool {
    match expected {
        Opinion::Unfinished => !matches!(given, Ok(Some(_))),
        Opinion::Refused => given.is_err(),
        Opinion::Accepted(head) => matches!(given, Ok(Some(given)) if given == head),
    }
}

/// A thousand cases, or `PROPTEST_CASES` if that is more.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: config.cases.max(1000),
        failure_persistence: None,
        ..config
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn requests(raw in generator::request(), limits in head_limits()) {
        let given = delivery::request_within(&raw, &limits);
        let expected = request_oracle::request(&raw, &limits);
        prop_assert!(agrees(&given, &expected), "{}: {given:?}, expected {expected:?}", raw.escape_ascii());
        if let Ok(Some(head)) = given {
            is_seen_alike_by_httparse(&raw, &head)?;
        }
    }

    #[test]
    fn responses(
        raw in generator::response(),
        limits in head_limits(),
        method in prop::sample::select(&[Method::Get, Method::Head, Method::Connect][..]),
    ) {
        let given = delivery::response_within(method, &raw, &limits);
        let expected = response_oracle::response(method, &raw, &limits);
        prop_assert!(agrees(&given, &expected), "{}: {given:?}, expected {expected:?}", raw.escape_ascii());
        if let Ok(Some(head)) = given {
            response_is_seen_alike_by_httparse(&raw, &head)?;
        }
    }

    #[test]
    fn bodies(raw in generator::body()) {
        let given = delivery::body(&raw);
        let expected = chunk_oracle::body(&raw);
        prop_assert!(chunk_oracle::agrees(&given, &expected), "{}: {given:?}, expected {expected:?}", raw.escape_ascii());
    }

    #[test]
    fn bodies_in_any_pieces(raw in generator::body(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(raw.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(delivery::body_in_pieces(&raw, &cuts), delivery::body(&raw));
    }

    #[test]
    fn bodies_within_small_limits(raw in generator::body(), line in 1..12_usize, extensions in 0..12_usize, trailers in 2..24_usize, count in 0..3_usize) {
        // `delivery` compares every cut; here that must hold for the limits too.
        let limits = ChunkLimits {
            size_line_max_bytes: line,
            extensions_max_bytes: extensions,
            trailers_max_bytes: trailers,
            trailer_fields_max_count: count,
        };
        let small = delivery::body_within(&raw, limits);
        let large = delivery::body(&raw);
        let of_limits = [
            ParseError::ChunkLineTooLong,
            ParseError::ChunkExtensionsTooLarge,
            ParseError::TrailersTooLarge,
            ParseError::TooManyTrailers,
        ];
        if small.error.is_some_and(|error| of_limits.contains(&error)) {
            prop_assert!(large.data.starts_with(&small.data));
        } else {
            prop_assert_eq!(small, large);
        }
    }

    #[test]
    fn noise(raw in prop::collection::vec(any::<u8>(), 0..60)) {
        // Only that nothing panics and that every cut agrees.
        let _ = delivery::request(&raw);
        let _ = delivery::response(&raw);
        let _ = delivery::body(&raw);
    }
}

/// What is accepted means the same to a parser that others wrote, if more lenient.
fn is_seen_alike_by_httparse(raw: &[u8], head: &Request) -> Result<(), TestCaseError> {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut headers);
    prop_assert_eq!(request.parse(raw), Ok(httparse::Status::Complete(head.len)));
    prop_assert_eq!(
        request.method.map(str::as_bytes),
        Some(head.method_name.as_slice())
    );
    let target = request.path.unwrap_or_default().as_bytes();
    prop_assert!(target.ends_with(&[head.path.as_slice(), &head.query].concat()));
    prop_assert_eq!(request.version, Some(head.version as u8));
    let fields: Vec<_> = request
        .headers
        .iter()
        .map(|header| (header.name.as_bytes(), header.value))
        .collect();
    let given: Vec<_> = head
        .fields
        .iter()
        .map(|field| (field.name.as_slice(), field.value.as_slice()))
        .collect();
    prop_assert_eq!(given, fields);
    Ok(())
}

fn response_is_seen_alike_by_httparse(raw: &[u8], head: &Response) -> Result<(), TestCaseError> {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut response = httparse::Response::new(&mut headers);
    prop_assert_eq!(
        response.parse(raw),
        Ok(httparse::Status::Complete(head.len))
    );
    prop_assert_eq!(response.code, Some(head.status));
    prop_assert_eq!(response.version, Some(head.version as u8));
    let fields: Vec<_> = response
        .headers
        .iter()
        .map(|header| (header.name.as_bytes(), header.value))
        .collect();
    let given: Vec<_> = head
        .fields
        .iter()
        .map(|field| (field.name.as_slice(), field.value.as_slice()))
        .collect();
    prop_assert_eq!(given, fields);
    Ok(())
}
