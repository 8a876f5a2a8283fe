//! Breaker, retries and balancing: what an exchange takes of them it gives back.

use gatewayx_engine::ConnId;
use gatewayx_simulator::pair::{Dialling, Pair, one_proxy};
use serde_json::{Value, json};

use crate::{get, ms, ok, post, reason, request, status};

const FAILURE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

fn pair_with(name: &str, policy: Value) -> Pair {
    let mut cfg = one_proxy();
    cfg["proxies"][0][name] = policy;
    cfg["proxies"][0]["websocket"] = true.into();
    Pair::new(&cfg)
}

fn breaker() -> Pair {
    pair_with(
        "circuit_breaker",
        json!({"failure_threshold": 2, "recovery_timeout_ms": 1_000, "half_open_requests": 1}),
    )
}

/// Two failures open it; returns the connection to the target, which is idle.
fn trip(pair: &mut Pair) -> ConnId {
    let caller = pair.ask(get("failure1"));
    let target = pair.accept();
    pair.send(target, FAILURE);
    pair.send(caller, get("failure2"));
    pair.send(target, FAILURE);
    pair.received(target);
    target
}

#[test]
fn failures_in_a_row_open_the_breaker_and_a_probe_closes_it() {
    let mut pair = breaker();
    let target = trip(&mut pair);
    let refused = pair.ask(get("refused"));
    let answer = pair.received(refused);
    assert_eq!((status(&answer), reason(&answer)), ("503", "circuit_open"));
    assert!(answer.contains("X-Circuit-Breaker: open\r\n"));
    assert_eq!(pair.gateway.books().breakers["sidecar"], 1);
    pair.advance(ms(1_000));
    let probe = pair.ask(get("probe"));
    let second = pair.ask(get("second"));
    assert_eq!(reason(&pair.received(second)), "circuit_open");
    assert!(pair.received(target).starts_with("GET /probe "));
    pair.send(target, ok("well"));
    assert!(pair.received(probe).ends_with("well"));
    assert_eq!(pair.gateway.books().breakers["sidecar"], 0);
}

#[test]
fn a_probe_that_is_given_up_gives_its_place_back() {
    let mut pair = breaker();
    trip(&mut pair);
    pair.advance(ms(1_000));
    let impatient = pair.ask(get("impatient"));
    pair.reset(impatient);
    let next = pair.ask(get("next"));
    let target = pair.accept();
    pair.send(target, ok("well"));
    assert!(pair.received(next).ends_with("well"));
}

#[test]
fn a_tunnel_gives_back_what_it_held() {
    let mut pair = breaker();
    let target = trip(&mut pair);
    pair.advance(ms(1_000));
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let caller = pair.ask(request("GET", "socket", upgrade));
    let switch = "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    pair.send(target, switch);
    assert_eq!(status(&pair.received(caller)), "101");
    pair.shut_down(caller);
    pair.shut_down(target);
    let next = pair.ask(get("next"));
    let target = pair.accept();
    pair.send(target, ok("well"));
    assert!(pair.received(next).ends_with("well"));
}

fn retrying(attempts: u32) -> Pair {
    pair_with(
        "retry",
        json!({
            "attempts": attempts, "on_connect_failure": true, "on_reset": true, "on_timeout": true,
            "on_statuses": [503], "backoff_ms": 100, "backoff_max_ms": 1_000,
            "budget_percent": 100, "budget_floor": 100, "body_max_bytes": 8,
        }),
    )
}

#[test]
fn an_idempotent_request_is_tried_as_often_as_allowed() {
    let mut pair = retrying(3);
    let caller = pair.ask(request("PUT", "again", "Content-Length: 4\r\n") + "body");
    for attempt in 0..3 {
        let target = pair.accept();
        let asked = pair.received(target);
        assert!(
            asked.starts_with("PUT /again ") && asked.ends_with("body"),
            "{attempt}"
        );
        assert_eq!(pair.received(caller), "");
        pair.send(target, FAILURE);
        pair.advance(ms(400));
    }
    assert_eq!(status(&pair.received(caller)), "503");
    assert!(pair.has_no_dial());
}

#[test]
fn what_was_sent_is_not_repeated_if_it_is_not_idempotent() {
    let mut pair = retrying(3);
    let caller = pair.ask(post("once", "body"));
    let target = pair.accept();
    pair.reset(target);
    pair.advance(ms(5_000));
    assert_eq!(reason(&pair.received(caller)), "upstream_reset");
    assert_eq!(pair.gateway.ledger.sends_count("once"), 1);
}

#[test]
fn what_was_never_sent_is_repeated_whatever_it_is() {
    let mut pair = retrying(2);
    pair.dialling = Dialling::Fails;
    let caller = pair.ask(post("once", "body"));
    assert_eq!(pair.received(caller), "");
    pair.dialling = Dialling::Succeeds;
    pair.advance(ms(100));
    let target = pair.accept();
    assert!(pair.received(target).ends_with("body"));
    pair.send(target, ok("stored"));
    assert!(pair.received(caller).ends_with("stored"));
}

#[test]
fn a_body_too_large_to_keep_is_not_repeated() {
    let mut pair = retrying(3);
    let caller = pair.ask(request("PUT", "large", "Content-Length: 9\r\n") + "too large");
    let target = pair.accept();
    pair.send(target, FAILURE);
    assert_eq!(status(&pair.received(caller)), "503");
}

#[test]
fn a_raised_limit_lets_the_waiting_in() {
    let mut cfg = one_proxy();
    cfg["proxies"][0]["max_concurrent"] = 1.into();
    cfg["proxies"][0]["queue"] = json!({"size": 5, "timeout_ms": 5_000});
    let mut pair = Pair::new(&cfg);
    pair.ask(get("first"));
    pair.accept();
    pair.ask(get("second"));
    assert!(pair.has_no_dial());
    cfg["proxies"][0]["max_concurrent"] = 2.into();
    pair.gateway.configure(&cfg);
    pair.settle();
    let target = pair.accept();
    assert!(pair.received(target).starts_with("GET /second "));
}
