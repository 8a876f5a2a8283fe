//! Every wait ends, to the millisecond, and says which one it was.

use gatewayx_engine::{ConnId, DialError};
use gatewayx_simulator::pair::{Dialling, Ended, Pair, one_proxy};
use serde_json::{Value, json};

use crate::{get, ms, ok, post, reason, request, status};

fn pair_with(timeout: Value) -> Pair {
    let mut cfg = one_proxy();
    cfg["proxies"][0]["timeout"] = timeout;
    Pair::new(&cfg)
}

fn pair_for_callers(downstream: Value) -> Pair {
    let mut cfg = one_proxy();
    cfg["downstream"] = downstream;
    Pair::new(&cfg)
}

/// Nothing happens a millisecond before; returns what the caller gets then.
fn after_exactly(pair: &mut Pair, caller: ConnId, wait_ms: u64) -> String {
    pair.advance(ms(wait_ms - 1));
    assert_eq!(pair.received(caller), "", "too early");
    pair.advance(ms(1));
    pair.received(caller)
}

#[test]
fn a_silent_target_is_a_header_timeout() {
    let mut pair = pair_with(json!({"response_header_ms": 300}));
    let caller = pair.ask(get("slow"));
    let target = pair.accept();
    let answer = after_exactly(&mut pair, caller, 300);
    assert_eq!(
        (status(&answer), reason(&answer)),
        ("504", "header_timeout")
    );
    assert_eq!(pair.ended(target), Some(Ended::ByReset));
}

#[test]
fn the_header_wait_begins_when_the_request_is_whole() {
    let mut pair = pair_with(json!({"response_header_ms": 300}));
    let caller = pair.ask(request("POST", "slow", "Content-Length: 2\r\n"));
    pair.accept();
    pair.advance(ms(5_000));
    pair.send(caller, "ab");
    let answer = after_exactly(&mut pair, caller, 300);
    assert_eq!(reason(&answer), "header_timeout");
}

#[test]
fn zero_waits_for_ever() {
    let mut pair = pair_with(json!({"response_header_ms": 0}));
    let caller = pair.ask(get("inference"));
    let target = pair.accept();
    pair.advance(ms(86_400_000));
    pair.send(target, ok("at last"));
    assert!(pair.received(caller).ends_with("at last"));
}

#[test]
fn a_hanging_dial_is_a_dial_timeout() {
    let mut pair = pair_with(json!({"dial_ms": 200}));
    pair.dialling = Dialling::Hangs;
    let caller = pair.ask(get("far"));
    let answer = after_exactly(&mut pair, caller, 200);
    assert_eq!((status(&answer), reason(&answer)), ("504", "dial_timeout"));
    assert_eq!(pair.cancelled_count, 1);
}

#[test]
fn a_driver_that_gives_up_dialling_is_believed() {
    let mut pair = pair_with(json!({"dial_ms": 0}));
    pair.dialling = Dialling::Hangs;
    let caller = pair.ask(get("far"));
    pair.fail_dial(DialError::TimedOut);
    assert_eq!(reason(&pair.received(caller)), "dial_timeout");
}

#[test]
fn a_refused_dial_is_told_at_once_and_the_caller_stays() {
    let mut pair = Pair::new(&one_proxy());
    pair.dialling = Dialling::Fails;
    let caller = pair.ask(post("down", "body"));
    let answer = pair.received(caller);
    assert_eq!((status(&answer), reason(&answer)), ("502", "dial_failed"));
    pair.dialling = Dialling::Succeeds;
    pair.send(caller, get("up"));
    let target = pair.accept();
    pair.send(target, ok("up"));
    assert!(pair.received(caller).ends_with("up"));
}

#[test]
fn a_body_that_stops_is_cut_so_that_the_caller_can_tell() {
    let mut pair = pair_with(json!({"body_idle_ms": 400}));
    let caller = pair.ask(get("stall"));
    let target = pair.accept();
    pair.send(target, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..3 {
        pair.advance(ms(399));
        pair.send(target, "x");
    }
    pair.advance(ms(399));
    assert_eq!(pair.ended(caller), None);
    pair.advance(ms(1));
    assert!(pair.ended(caller).is_some());
    assert!(pair.received(caller).ends_with("xxx"));
    let line = pair.gateway.ledger.line("stall").expect("a line");
    assert_eq!((line.status, &line.error[..]), (200, "idle_timeout"));
}

#[test]
fn a_body_that_never_begins_is_cut_as_well() {
    let mut pair = pair_with(json!({"body_idle_ms": 400, "response_header_ms": 0}));
    let caller = pair.ask(get("stall"));
    let target = pair.accept();
    pair.send(target, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    pair.advance(ms(399));
    assert_eq!(pair.ended(caller), None);
    pair.advance(ms(1));
    assert!(pair.ended(caller).is_some());
}

#[test]
fn the_whole_exchange_has_a_limit() {
    let mut pair = pair_with(json!({"total_ms": 1_000, "response_header_ms": 900}));
    let before = pair.ask(get("before"));
    pair.accept();
    let within = pair.ask(get("within"));
    let target = pair.accept();
    pair.send(target, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    assert_eq!(
        reason(&after_exactly(&mut pair, before, 900)),
        "header_timeout"
    );
    pair.advance(ms(99));
    assert_eq!(pair.ended(within), None);
    pair.advance(ms(1));
    assert_eq!(pair.ended(within), Some(Ended::ByReset));
}

#[test]
fn half_a_head_is_answered_and_no_head_is_not() {
    let mut pair = pair_for_callers(json!({"request_head_ms": 500}));
    let silent = pair.connect();
    let half = pair.ask("GET / HTTP/1.1\r\nHost:");
    let answer = after_exactly(&mut pair, half, 500);
    assert_eq!(
        (status(&answer), reason(&answer)),
        ("408", "request_timeout")
    );
    assert_eq!(pair.received(silent), "");
    assert_eq!(pair.ended(silent), Some(Ended::Cleanly));
}

#[test]
fn a_head_that_drips_has_no_more_time() {
    let mut pair = pair_for_callers(json!({"request_head_ms": 500}));
    let caller = pair.connect();
    for byte in get("drip").bytes().take(5) {
        pair.send(caller, [byte]);
        pair.advance(ms(99));
    }
    assert_eq!(
        reason(&after_exactly(&mut pair, caller, 5)),
        "request_timeout"
    );
}

#[test]
fn a_request_body_that_stops_is_a_request_timeout() {
    let mut pair = pair_for_callers(json!({"request_body_idle_ms": 700}));
    let caller = pair.ask(request("POST", "stall", "Content-Length: 9\r\n") + "some");
    let target = pair.accept();
    let answer = after_exactly(&mut pair, caller, 700);
    assert_eq!(
        (status(&answer), reason(&answer)),
        ("408", "request_timeout")
    );
    assert_eq!(pair.ended(target), Some(Ended::ByReset));
}

#[test]
fn an_unused_caller_is_closed_without_a_word() {
    let mut pair = pair_for_callers(json!({"keep_alive_ms": 600}));
    let caller = pair.ask(get("one"));
    let target = pair.accept();
    pair.send(target, ok(""));
    pair.received(caller);
    pair.advance(ms(599));
    assert_eq!(pair.ended(caller), None);
    pair.advance(ms(1));
    assert_eq!(pair.received(caller), "");
    assert_eq!(pair.ended(caller), Some(Ended::Cleanly));
}
