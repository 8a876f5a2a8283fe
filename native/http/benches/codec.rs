//! Nanoseconds an operation of the codec, beside `httparse` where that does a part of the same
//! work.
//!
//! `cargo bench -p gatewayx-http --bench codec ["part of a name"]`. Each figure is the best of many
//! rounds, since everything but the code itself only ever adds time; every operation's answer is
//! verified before it is timed.

use std::hint::black_box;
use std::time::{Duration, Instant};

use gatewayx_http::{
    ChunkLimits, ChunkedDecoder, FieldId, HeadLimits, HeadScan, Method, RequestHead, ResponseHead,
    parse_request, parse_response, write_chunk_head,
};

const ROUNDS: usize = 200;
const ROUND_TIME: Duration = Duration::from_millis(2);

/// A browser-like request: 10 fields, about 300 bytes.
const TYPICAL: &[u8] = b"GET /api/proxy/sidecar/v1/items?page=2&size=50 HTTP/1.1\r\n\
    Host: gateway.example.com\r\n\
    User-Agent: python-requests/2.32\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip, deflate\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n\
    Authorization: Bearer abcdef0123456789\r\n\
    Cache-Control: no-cache\r\n\
    X-Request-Id: 4f1c2d3e\r\n\
    Content-Type: text/plain\r\n\
    Connection: keep-alive\r\n\r\n";

const SMALL: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
    Server: uvicorn\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 1234\r\n\
    Vary: Accept-Encoding\r\n\
    Cache-Control: no-store\r\n\
    X-Process-Time: 0.0123\r\n\r\n";

/// Prints the best time of one operation, if the command line selects it.
fn time(name: &str, bytes: usize, mut operation: impl FnMut()) {
    let selection = std::env::args()
        .nth(1)
        .filter(|argument| !argument.starts_with("--"));
    if selection.is_some_and(|part| !name.contains(&part)) {
        return;
    }
    let mut iterations = 1_u32;
    let per_round = loop {
        let started = Instant::now();
        (0..iterations).for_each(|_| operation());
        if started.elapsed() > ROUND_TIME {
            break iterations;
        }
        iterations *= 2;
    };
    let best = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            (0..per_round).for_each(|_| operation());
            started.elapsed()
        })
        .min()
        .unwrap_or_default();
    let nanoseconds = best.as_nanos() as f64 / f64::from(per_round);
    println!(
        "{name:<44} {nanoseconds:>9.1} ns {:>7.2} GB/s",
        bytes as f64 / nanoseconds
    );
}

fn requests(name: &str, raw: &[u8]) {
    let limits = HeadLimits::default();
    let mut head = RequestHead::default();
    assert_eq!(
        parse_request(raw, &mut HeadScan::default(), &limits, &mut head),
        Ok(true)
    );
    assert_eq!(head.len, raw.len());
    time(&format!("request, {name}"), raw.len(), || {
        let mut scan = HeadScan::default();
        black_box(parse_request(black_box(raw), &mut scan, &limits, &mut head)).ok();
    });
    let mut headers = [httparse::EMPTY_HEADER; 128];
    time(&format!("httparse alone, {name}"), raw.len(), || {
        let mut request = httparse::Request::new(&mut headers);
        black_box(request.parse(black_box(raw))).ok();
    });
}

fn byte_by_byte(name: &str, raw: &[u8]) {
    let limits = HeadLimits::default();
    let mut head = RequestHead::default();
    time(&format!("request byte by byte, {name}"), raw.len(), || {
        let mut scan = HeadScan::default();
        for end in 1..=raw.len() {
            black_box(parse_request(
                black_box(&raw[..end]),
                &mut scan,
                &limits,
                &mut head,
            ))
            .ok();
        }
    });
}

fn responses() {
    let limits = HeadLimits::default();
    let mut head = ResponseHead::default();
    assert_eq!(
        parse_response(
            RESPONSE,
            &mut HeadScan::default(),
            &limits,
            Method::Get,
            &mut head
        ),
        Ok(true)
    );
    assert!(head.oddities.is_empty());
    time("response, 7 fields", RESPONSE.len(), || {
        let mut scan = HeadScan::default();
        black_box(parse_response(
            black_box(RESPONSE),
            &mut scan,
            &limits,
            Method::Get,
            &mut head,
        ))
        .ok();
    });
    let mut headers = [httparse::EMPTY_HEADER; 128];
    time("response, 7 fields: httparse alone", RESPONSE.len(), || {
        let mut response = httparse::Response::new(&mut headers);
        black_box(response.parse(black_box(RESPONSE))).ok();
    });
}

fn chunks(name: &str, chunk_bytes: usize, count: usize) {
    let mut raw = Vec::new();
    for _ in 0..count {
        write_chunk_head(&mut raw, chunk_bytes);
        raw.resize(raw.len() + chunk_bytes, b'x');
        raw.extend_from_slice(b"\r\n");
    }
    raw.extend_from_slice(b"0\r\n\r\n");
    let decode = |raw: &[u8]| {
        let mut decoder = ChunkedDecoder::new(ChunkLimits::default());
        let (mut at, mut data_bytes) = (0, 0);
        loop {
            let Ok(step) = decoder.step(&raw[at..]) else {
                return 0;
            };
            at += step.consumed;
            data_bytes += step.data.len();
            if step.done {
                return data_bytes;
            }
        }
    };
    assert_eq!(decode(&raw), chunk_bytes * count);
    time(&format!("chunked body, {name}"), raw.len(), || {
        black_box(decode(black_box(&raw)));
    });
}

fn names() {
    let names: Vec<&[u8]> = FieldId::ALL.iter().map(|id| id.name().as_bytes()).collect();
    time("FieldId::of, all known names", 0, || {
        for name in &names {
            black_box(FieldId::of(black_box(name)));
        }
    });
}

fn main() {
    let cookie = ["x=0123456789abcdef; "; 64].concat();
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}end\r\n\r\n");
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X-H: 1\r\n".repeat(100)
    );
    let huge = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "v".repeat(60_000)
    );
    requests("10 fields", TYPICAL);
    requests("1 field", SMALL);
    requests("1.3 KB cookie", long.as_bytes());
    requests("100 fields", many.as_bytes());
    requests("60 KB field", huge.as_bytes());
    byte_by_byte("10 fields", TYPICAL);
    byte_by_byte("60 KB field", huge.as_bytes());
    responses();
    chunks("64 x 16 B", 16, 64);
    chunks("8 x 4 KiB", 4096, 8);
    names();
}
