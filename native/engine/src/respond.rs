//! Answers that the gateway makes itself.
//!
//! `{"error", "details", "reason", "request_id"}` as `application/json`, the reason once more in
//! `X-Gateway-Reason`. Every text comes from the tables of `error.rs`; only the request id is variable, and
//! `request_id.rs` lets nothing through that JSON would have to escape.

use gatewayx_policy::fault::Abort;

use crate::error::Reason;
use crate::rate_limit::{Quota, write_quota};
use crate::rewrite::{Connection, write_decimal, write_field, write_length, write_status};

/// Appends a whole error response. `body` is left out, its length is not, for `HEAD`.
pub(crate) fn write_error(
    out: &mut Vec<u8>,
    reason: Reason,
    request_id: &[u8],
    retry_after_seconds: Option<u32>,
    quota: Option<&Quota>,
    connection: Connection,
    body: bool,
) {
    write_status(out, reason.status(), phrase(reason.status()).as_bytes());
    out.extend_from_slice(b"Content-Type: application/json\r\n");
    let parts: [&[u8]; 9] = [
        b"{\"error\":\"",
        reason.title().as_bytes(),
        b"\",\"details\":\"",
        reason.details().as_bytes(),
        b"\",\"reason\":\"",
        reason.name().as_bytes(),
        b"\",\"request_id\":\"",
        request_id,
        b"\"}\n",
    ];
    write_length(out, parts.iter().map(|part| part.len() as u64).sum());
    write_field(out, b"X-Gateway-Reason", reason.name().as_bytes());
    write_field(out, b"X-Request-Id", request_id);
    if reason == Reason::AuthRequired {
        out.extend_from_slice(b"WWW-Authenticate: Bearer\r\n");
    }
    if reason == Reason::CircuitOpen {
        out.extend_from_slice(b"X-Circuit-Breaker: open\r\n");
    }
    if let Some(seconds) = retry_after_seconds {
        out.extend_from_slice(b"Retry-After: ");
        write_decimal(out, u64::from(seconds));
        out.extend_from_slice(b"\r\n");
    }
    if let Some(quota) = quota {
        write_quota(out, quota);
    }
    connection.write(out);
    out.extend_from_slice(b"\r\n");
    if body {
        for part in parts {
            out.extend_from_slice(part);
        }
    }
}

/// Appends the answer of an injected fault: the policy's own text, or what explains it.
pub(crate) fn write_abort(
    out: &mut Vec<u8>,
    abort: &Abort,
    request_id: &[u8],
    connection: Connection,
    body: bool,
) {
    write_status(out, abort.status, phrase(abort.status).as_bytes());
    let explained: [&[u8]; 5] = [
        b"{\"error\":\"",
        phrase(abort.status).as_bytes(),
        b"\",\"details\":\"a fault policy answered in place of the upstream\",\"reason\":\"fault_injected\",\"request_id\":\"",
        request_id,
        b"\"}\n",
    ];
    let parts: &[&[u8]] = match &abort.body {
        // RFC 9110 section 6.4.1: these have no content.
        _ if matches!(abort.status, 204 | 304) => &[],
        Some(text) => &[text],
        None => &explained,
    };
    if abort.status != 204 {
        out.extend_from_slice(match &abort.body {
            Some(_) => b"Content-Type: text/plain; charset=utf-8\r\n".as_slice(),
            None => b"Content-Type: application/json\r\n",
        });
        write_length(out, parts.iter().map(|part| part.len() as u64).sum());
    }
    write_field(out, b"X-Fault-Injected", b"abort");
    write_field(out, b"X-Request-Id", request_id);
    connection.write(out);
    out.extend_from_slice(b"\r\n");
    if body {
        for part in parts {
            out.extend_from_slice(part);
        }
    }
}

/// Appends the gateway's own answer to `OPTIONS`: it is here, and has nothing to add.
pub(crate) fn write_own(
    out: &mut Vec<u8>,
    request_id: &[u8],
    via_line: &[u8],
    connection: Connection,
) {
    write_status(out, 200, b"OK");
    write_length(out, 0);
    write_field(out, b"X-Request-Id", request_id);
    out.extend_from_slice(via_line);
    connection.write(out);
    out.extend_from_slice(b"\r\n");
}

fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reason: Reason, body: bool) -> String {
        let mut out = Vec::new();
        write_error(
            &mut out,
            reason,
            b"id-1",
            Some(3),
            None,
            Connection::Close,
            body,
        );
        String::from_utf8(out).expect("tables are ASCII")
    }

    #[test]
    fn the_announced_length_is_the_length() {
        let text = text(Reason::LimitReached, true);
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 429 Too Many Requests\r\n"));
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert!(head.contains("Retry-After: 3\r\n"));
        let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(json["error"], "Too Many Requests");
        assert_eq!(json["reason"], "limit_reached");
        assert_eq!(json["request_id"], "id-1");
    }

    #[test]
    fn head_gets_the_length_without_the_body() {
        assert!(text(Reason::NoRoute, false).ends_with("\r\n\r\n"));
    }
}
