//! Fuzz targets: plain functions of bytes that panic when a rule does not hold.
//!
//! `cargo run` tries them on stable Rust with the small mutator of `main.rs`; `fuzz_targets/` hands the same
//! functions to cargo-fuzz. What the codec accepts is held against the simulator's reader, which shares no
//! code with it; what the engine does is held against the simulator's model of its driver.

mod operations;

use gatewayx_engine::Engine;
use gatewayx_engine::config::Config;
use gatewayx_engine::metrics::geometry;
use gatewayx_http::{
    ChunkLimits, ChunkedDecoder, Framing, HeadLimits, HeadScan, Method, ParseError, RequestHead,
    ResponseFraming, ResponseHead, parse_request, parse_response,
};
use gatewayx_policy::{Facts, Rule, Subject};
use gatewayx_simulator::oracle::{self, Reader};

pub use operations::operations;

/// The target of a name.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    match name {
        "heads" => Some(heads),
        "chunks" => Some(chunks),
        "operations" => Some(operations),
        "config" => Some(config),
        "rules" => Some(rules),
        _ => None,
    }
}

/// Names of all targets.
pub const TARGETS: [&str; 5] = ["heads", "chunks", "operations", "config", "rules"];

/// Heads: the verdict does not depend on how the bytes are cut, and another reader frames them the same.
pub fn heads(data: &[u8]) {
    let Some((&cut, data)) = data.split_first() else {
        return;
    };
    let cut = usize::from(cut) * data.len() / 255;
    let limits = HeadLimits::default();

    let mut whole = RequestHead::default();
    let verdict = parse_request(data, &mut HeadScan::default(), &limits, &mut whole);
    let mut parts = RequestHead::default();
    let again = in_parts(data, cut, |buf, scan| {
        parse_request(buf, scan, &limits, &mut parts)
    });
    assert_eq!(verdict, again, "requests, cut at {cut}");
    if verdict == Ok(true) {
        assert_eq!(format!("{whole:?}"), format!("{parts:?}"));
        let read = first_message(Reader::of_requests(), &data[..whole.len]);
        let framing = match whole.framing {
            Framing::None => oracle::Framing::None,
            Framing::Length(len) => oracle::Framing::Length(len),
            Framing::Chunked => oracle::Framing::Chunked,
        };
        assert_eq!(read.framing, framing);
        assert_eq!(read.method().as_bytes(), whole.method_span.of(data));
    }

    let (method, name) = [(Method::Get, "GET"), (Method::Head, "HEAD")][cut % 2];
    let mut whole = ResponseHead::default();
    let verdict = parse_response(data, &mut HeadScan::default(), &limits, method, &mut whole);
    let mut parts = ResponseHead::default();
    let again = in_parts(data, cut, |buf, scan| {
        parse_response(buf, scan, &limits, method, &mut parts)
    });
    assert_eq!(verdict, again, "responses, cut at {cut}");
    if verdict == Ok(true) {
        assert_eq!(format!("{whole:?}"), format!("{parts:?}"));
        let mut reader = Reader::of_responses();
        reader.ask(name);
        let read = first_message(reader, &data[..whole.len]);
        let framing = match whole.framing {
            ResponseFraming::None => oracle::Framing::None,
            ResponseFraming::Length(len) => oracle::Framing::Length(len),
            ResponseFraming::Chunked => oracle::Framing::Chunked,
            ResponseFraming::UntilClose => oracle::Framing::UntilClose,
        };
        assert_eq!(read.framing, framing);
        assert_eq!(read.status(), whole.status);
    }
}

fn in_parts(
    data: &[u8],
    cut: usize,
    mut parse: impl FnMut(&[u8], &mut HeadScan) -> Result<bool, ParseError>,
) -> Result<bool, ParseError> {
    let mut scan = HeadScan::default();
    match parse(&data[..cut], &mut scan) {
        Ok(false) => parse(data, &mut scan),
        verdict => verdict,
    }
}

fn first_message(mut reader: Reader, head: &[u8]) -> oracle::Message {
    reader.feed(head);
    assert_eq!(reader.fault, None, "accepted, but not by everybody");
    reader.messages.swap_remove(0)
}

/// Chunks: the same, for bodies.
pub fn chunks(data: &[u8]) {
    let Some((&piece, data)) = data.split_first() else {
        return;
    };
    let (verdict, body, consumed) = decode(data, data.len());
    let (again, body_again, _) = decode(data, usize::from(piece).max(1));
    assert_eq!(verdict, again, "in pieces of {piece}");
    assert!(verdict.is_err() || body == body_again);
    if verdict == Ok(true) {
        let mut reader = Reader::of_requests();
        reader.feed(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
        reader.feed(&data[..consumed]);
        assert_eq!(reader.fault, None, "accepted, but not by everybody");
        assert_eq!(reader.messages[0].end, oracle::End::Whole);
        assert_eq!(reader.messages[0].body, body);
    }
}

/// Whether the message became whole, its body, and the bytes that it took.
fn decode(data: &[u8], piece: usize) -> (Result<bool, ParseError>, Vec<u8>, usize) {
    let mut decoder = ChunkedDecoder::new(ChunkLimits::default());
    let (mut body, mut consumed) = (Vec::new(), 0);
    for piece in data.chunks(piece.max(1)) {
        let mut rest = piece;
        while !rest.is_empty() {
            let step = match decoder.step(rest) {
                Ok(step) => step,
                Err(error) => return (Err(error), body, consumed),
            };
            assert!(step.consumed > 0 || step.done, "no progress");
            body.extend_from_slice(&rest[step.data]);
            consumed += step.consumed;
            if step.done {
                return (Ok(true), body, consumed);
            }
            rest = &rest[step.consumed..];
        }
    }
    (Ok(false), body, consumed)
}

/// Access rules: any text is read or refused at a place of its own, and what is read can be held against a request
/// that has nothing.
pub fn rules(data: &[u8]) {
    struct Nothing;
    impl Facts for Nothing {
        fn values(&self, _: &Subject, _: &mut dyn FnMut(&[u8])) {}
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Rule::parse(text) {
        Ok(rule) => {
            let mut allowed = rule.is_public();
            let verdict = rule.explain(&Nothing, &mut |place, outcome| {
                assert!(text.get(place).is_some(), "a comparison has its place");
                allowed = outcome;
            });
            // Whatever was compared last decided.
            assert_eq!(verdict, allowed);
        }
        Err(error) => assert!(text.is_char_boundary(error.at)),
    }
}

/// Configurations: any JSON is read or refused, and what the control plane would let pass can be run.
pub fn config(data: &[u8]) {
    let Ok(config) = serde_json::from_slice::<Config>(data) else {
        return;
    };
    const PROXIES_MAX: usize = 16;
    let mut blocks: Vec<u32> = config.proxies.iter().map(|proxy| proxy.block).collect();
    blocks.sort_unstable();
    blocks.dedup();
    let checked = config.proxies.len() <= PROXIES_MAX
        && blocks.len() == config.proxies.len()
        && blocks.iter().all(|&block| (1..=64).contains(&block))
        && config
            .proxies
            .iter()
            .all(|proxy| (1..=64).contains(&proxy.upstreams.len()));
    if !checked {
        return;
    }
    let region = gatewayx_telemetry::Region::private(geometry(1, 64));
    let mut engine = Engine::new(config.clone(), region, 0, 1);
    engine.handle_config(1, config);
    while engine.poll_action().is_some() {}
}
