//! Dialogues played by hand, each the smallest that shows its rule.

mod access;
mod back_pressure;
mod cancellation;
mod drain;
mod faults;
mod keep_alive;
mod limiter;
mod pipelining;
mod policies;
mod pool;
mod responses;
mod timeouts;
mod tunnel;
mod uploads;

use std::time::Duration;

/// A request for `/{name}` whose id is its name.
fn get(name: &str) -> String {
    request("GET", name, "")
}

/// A request with a body of a known length.
fn post(name: &str, body: &str) -> String {
    let length = format!("Content-Length: {}\r\n", body.len());
    request("POST", name, &length) + body
}

fn request(method: &str, name: &str, fields: &str) -> String {
    format!("{method} /{name} HTTP/1.1\r\nHost: gateway\r\nX-Request-Id: {name}\r\n{fields}\r\n")
}

/// A whole response.
fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The status that a peer was told.
fn status(received: &str) -> &str {
    received.get(9..12).unwrap_or("none")
}

/// The reason in an answer of the gateway.
fn reason(received: &str) -> &str {
    received
        .split_once("X-Gateway-Reason: ")
        .and_then(|(_, rest)| rest.split_once("\r\n"))
        .map_or("none", |(reason, _)| reason)
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
