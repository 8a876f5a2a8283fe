//! Limits of heads are met exactly, and on heads that are not whole.

use gatewayx_http::HeadLimits;
use gatewayx_http::Method;
use gatewayx_http::ParseError::{HeadTooLarge, TargetTooLong, TooManyFields};

use crate::delivery::{request, request_within, response_within};

#[test]
fn bytes_of_a_head() {
    let raw = "\r\nGET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n";
    let limits = |head_max_bytes| HeadLimits {
        head_max_bytes,
        ..HeadLimits::default()
    };
    assert!(request_within(raw, &limits(raw.len())).is_ok_and(|head| head.is_some()));
    let followed = format!("{raw}more");
    assert!(request_within(&followed, &limits(raw.len())).is_ok_and(|head| head.is_some()));
    for max in 0..raw.len() {
        assert_eq!(
            request_within(raw, &limits(max)),
            Err(HeadTooLarge),
            "{max}"
        );
        assert_eq!(
            request_within(&raw[..max], &limits(max)),
            Err(HeadTooLarge),
            "{max}"
        );
    }
    let answer = "HTTP/1.1 200 OK\r\nX: 1\r\n\r\n";
    assert!(
        response_within(Method::Get, answer, &limits(answer.len()))
            .is_ok_and(|head| head.is_some())
    );
    for max in 0..answer.len() {
        assert_eq!(
            response_within(Method::Get, answer, &limits(max)),
            Err(HeadTooLarge),
            "{max}"
        );
    }
}

#[test]
fn bytes_of_a_target() {
    let limits = HeadLimits {
        target_max_bytes: 10,
        ..HeadLimits::default()
    };
    let head =
        |target: &str| request_within(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"), &limits);
    assert!(head("/234567890").is_ok_and(|head| head.is_some()));
    assert_eq!(head("/2345678901"), Err(TargetTooLong));
    assert_eq!(head("/2345678901#\n"), Err(TargetTooLong));
    assert_eq!(
        request_within("GET /2345678901", &limits),
        Err(TargetTooLong)
    );
    assert_eq!(request_within("GET /234567890", &limits), Ok(None));
}

#[test]
fn field_lines() {
    let limits = HeadLimits {
        fields_max_count: 3,
        ..HeadLimits::default()
    };
    let head =
        |lines: &str| request_within(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}"), &limits);
    assert!(
        head("X: 1\r\nX: 2\r\n\r\n")
            .is_ok_and(|head| head.is_some_and(|head| head.fields.len() == 3))
    );
    assert_eq!(head("X: 1\r\nX: 2\r\nX: 3\r\n\r\n"), Err(TooManyFields));
    assert_eq!(head("X: 1\r\nX: 2\r\nX"), Err(TooManyFields));
    assert_eq!(head("X: 1\r\nX: 2\r\n"), Ok(None));
    assert_eq!(
        response_within(
            Method::Get,
            "HTTP/1.1 200 OK\r\nA:\r\nB:\r\nC:\r\nD",
            &limits
        ),
        Err(TooManyFields)
    );
}

#[test]
fn the_defaults_take_what_deployments_send() {
    // RFC 9112 section 3: a request line of at least 8,000 octets.
    let target = "a".repeat(7900);
    assert!(
        request(format!("GET /{target} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .is_ok_and(|head| head.is_some())
    );
    let lines = "X-H: 1\r\n".repeat(100);
    assert!(
        request(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
            .is_ok_and(|head| head.is_some())
    );
    let ranges = "0-,".repeat(1000);
    let ranged = format!("GET / HTTP/1.1\r\nHost: a\r\nRange: bytes={ranges}0-0\r\n\r\n");
    assert!(request(ranged).is_ok_and(|head| head.is_some()));
}

#[test]
fn the_defaults_stop_what_attackers_send() {
    let name = "n".repeat(70_000);
    assert_eq!(
        request(format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: 1\r\n\r\n")),
        Err(HeadTooLarge)
    );
    let blank = " ".repeat(70_000);
    assert_eq!(
        request(format!("GET / HTTP/1.1\r\nHost: a\r\nX:{blank}")),
        Err(HeadTooLarge)
    );
    let line = format!("X-H: {}\r\n", "v".repeat(90));
    assert_eq!(
        request(format!("GET / HTTP/1.1\r\n{}", line.repeat(200))),
        Err(TooManyFields)
    );
    assert_eq!(
        request(format!("GET /{}", "a".repeat(100_000))),
        Err(TargetTooLong)
    );
}
