//! Injected faults: what the caller gets, what nobody notices, and that nothing is held meanwhile.

use std::collections::BTreeMap;

use gatewayx_simulator::pair::{Ended, Pair, one_proxy};
use serde_json::{Value, json};

use crate::{get, ms, ok, post, reason, status};

/// The block of the only rule: behind that of the only proxy.
const BLOCK: u32 = 2;

fn pair_with(fault: Value) -> Pair {
    pair_for(&one_proxy(), fault)
}

/// A gateway with one policy of one rule for every request.
fn pair_for(cfg: &Value, fault: Value) -> Pair {
    let mut pair = Pair::new(cfg);
    pair.gateway.set_faults(&policy(fault));
    pair
}

fn policy(fault: Value) -> Value {
    let mut rule = json!({"block": BLOCK, "percentage": 100});
    for (key, value) in fault.as_object().expect("a map") {
        rule[key] = value.clone();
    }
    json!({"policies": [{"name": "p", "service": "sidecar", "namespace": "*", "rules": [rule]}]})
}

fn injected(pair: &Pair) -> BTreeMap<&'static str, u64> {
    let counts = pair.gateway.fault_counts(BLOCK);
    counts
        .injected
        .into_iter()
        .filter(|&(_, count)| count > 0)
        .collect()
}

fn active(pair: &Pair) -> u64 {
    pair.gateway.fault_counts(BLOCK).active
}

fn errors(pair: &Pair) -> u64 {
    pair.gateway.books().errors.values().sum()
}

#[test]
fn an_abort_answers_and_the_upstream_sees_nothing() {
    let mut pair = pair_with(json!({"abort": {"status": 503, "body": "go away"}}));
    let caller = pair.ask(get("first"));
    let answer = pair.received(caller);
    assert_eq!((status(&answer), reason(&answer)), ("503", "none"));
    assert!(answer.contains("X-Fault-Injected: abort\r\n"));
    assert!(answer.ends_with(
        "Content-Length: 7\r\nX-Fault-Injected: abort\r\nX-Request-Id: first\r\n\r\ngo away"
    ));
    assert!(pair.has_no_dial());
    assert_eq!(errors(&pair), 0);
    // The connection goes on.
    pair.send(caller, get("second"));
    assert_eq!(status(&pair.received(caller)), "503");
    assert_eq!(injected(&pair), BTreeMap::from([("abort", 2)]));
}

#[test]
fn an_abort_without_a_body_explains_itself() {
    let mut pair = pair_with(json!({"abort": {"status": 500}}));
    let caller = pair.ask(get("x"));
    let answer = pair.received(caller);
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(body["reason"], "fault_injected");
    assert_eq!(body["request_id"], "x");
}

#[test]
fn a_success_may_be_injected() {
    let mut pair = pair_with(json!({"abort": {"status": 204}}));
    let caller = pair.ask(get("x"));
    let answer = pair.received(caller);
    assert_eq!(status(&answer), "204");
    assert!(!answer.contains("Content-Length"));
    assert!(answer.ends_with("\r\n\r\n"));
}

#[test]
fn a_delay_holds_nothing_and_ends_to_the_millisecond() {
    let mut cfg = one_proxy();
    cfg["proxies"][0]["max_concurrent"] = 1.into();
    let mut pair = pair_for(&cfg, json!({"delay": {"fixed": {"ms": 500.0}}}));
    let caller = pair.ask(get("x"));
    pair.advance(ms(499));
    assert!(pair.has_no_dial());
    assert_eq!(pair.gateway.books().permits["sidecar"], 0);
    pair.advance(ms(1));
    let target = pair.accept();
    pair.send(target, ok("late"));
    assert!(pair.received(caller).ends_with("late"));
    assert_eq!(injected(&pair), BTreeMap::from([("delay", 1)]));
    assert_eq!(errors(&pair), 0);
}

#[test]
fn start_delay_then_delay_then_abort() {
    let mut pair = pair_with(json!({
        "start_delay_ms": 200, "delay": {"fixed": {"ms": 300.0}}, "abort": {"status": 418},
    }));
    let caller = pair.ask(get("x"));
    pair.advance(ms(199));
    assert_eq!(injected(&pair), BTreeMap::new());
    pair.advance(ms(1));
    assert_eq!(injected(&pair), BTreeMap::from([("delay", 1)]));
    pair.advance(ms(299));
    assert_eq!(pair.received(caller), "");
    pair.advance(ms(1));
    assert_eq!(status(&pair.received(caller)), "418");
    assert_eq!(
        injected(&pair),
        BTreeMap::from([("abort", 1), ("delay", 1)])
    );
}

#[test]
fn a_delayed_caller_that_leaves_frees_everything() {
    let mut pair = pair_with(json!({"delay": {"fixed": {"ms": 30_000.0}}, "max_active": 5}));
    for name in ["a", "b", "c", "d", "e"] {
        let caller = pair.ask(get(name));
        assert_eq!(pair.gateway.tally().exchanges, 1);
        assert_eq!(active(&pair), 1);
        pair.shut_down(caller);
        assert_eq!(active(&pair), 0);
        assert_eq!(pair.gateway.tally().downstreams, 0);
    }
    assert!(pair.has_no_dial());
}

#[test]
fn a_delayed_upload_goes_on_with_what_had_arrived() {
    let mut pair = pair_with(json!({"delay": {"fixed": {"ms": 100.0}}}));
    let caller = pair.ask(post("x", "body"));
    pair.advance(ms(100));
    let target = pair.accept();
    assert!(pair.received(target).ends_with("\r\n\r\nbody"));
    pair.send(target, ok("done"));
    assert!(pair.received(caller).ends_with("done"));
}

#[test]
fn only_so_many_faults_at_a_time() {
    let mut pair = pair_with(json!({"delay": {"fixed": {"ms": 1_000.0}}, "max_active": 2}));
    let held = ["a", "b"].map(|name| pair.ask(get(name)));
    assert_eq!(active(&pair), 2);
    let spared = pair.ask(get("y"));
    let target = pair.accept();
    pair.send(target, ok("at once"));
    assert!(pair.received(spared).ends_with("at once"));
    pair.advance(ms(1_000));
    let second = pair.accept();
    pair.send(target, ok("late"));
    pair.send(second, ok("late"));
    for caller in held {
        assert!(pair.received(caller).ends_with("late"));
    }
    assert_eq!(active(&pair), 0);
}

#[test]
fn a_policy_that_is_taken_away_lets_go_of_what_it_holds() {
    let mut pair =
        pair_with(json!({"delay": {"fixed": {"ms": 30_000.0}}, "abort": {"status": 503}}));
    let caller = pair.ask(get("x"));
    assert!(pair.has_no_dial());
    pair.gateway.set_faults(&json!({"policies": []}));
    pair.settle();
    let target = pair.accept();
    pair.send(target, ok("free"));
    assert!(pair.received(caller).ends_with("free"));
}

#[test]
fn a_reset_is_one() {
    let mut pair = pair_with(json!({"reset": true}));
    let caller = pair.ask(get("x"));
    assert_eq!(pair.received(caller), "");
    assert_eq!(pair.ended(caller), Some(Ended::ByReset));
    assert!(pair.has_no_dial());
    assert_eq!(injected(&pair), BTreeMap::from([("reset", 1)]));
    assert_eq!(errors(&pair), 0);
}

#[test]
fn a_response_is_cut_after_so_many_bytes() {
    let mut pair = pair_with(json!({"truncate_after_bytes": 4}));
    let caller = pair.ask(get("x"));
    let target = pair.accept();
    pair.send(target, ok("0123456789"));
    let answer = pair.received(caller);
    assert!(answer.contains("Content-Length: 10\r\n"));
    assert!(answer.ends_with("\r\n\r\n0123"));
    assert_eq!(pair.ended(caller), Some(Ended::Cleanly));
    assert_eq!(pair.ended(target), Some(Ended::ByReset));
    assert_eq!(injected(&pair), BTreeMap::from([("truncate", 1)]));
    assert_eq!(errors(&pair), 0);
}

#[test]
fn a_response_is_cut_behind_its_head() {
    let mut pair = pair_with(json!({"truncate_after_bytes": 0}));
    let caller = pair.ask(get("x"));
    let target = pair.accept();
    pair.send(
        target,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    assert!(pair.received(caller).ends_with("\r\n\r\n"));
    assert_eq!(pair.ended(caller), Some(Ended::Cleanly));
}

#[test]
fn a_shorter_response_passes_whole() {
    let mut pair = pair_with(json!({"truncate_after_bytes": 10}));
    let caller = pair.ask(get("x"));
    let target = pair.accept();
    pair.send(target, ok("0123456789"));
    assert!(pair.received(caller).ends_with("0123456789"));
    assert_eq!(injected(&pair), BTreeMap::new());
}

#[test]
fn a_throttled_response_takes_its_time_and_its_upstream_waits() {
    let mut pair = pair_with(json!({"throttle_bytes_per_second": 1_000}));
    let caller = pair.ask(get("x"));
    let target = pair.accept();
    pair.send(target, ok(&"x".repeat(1_000)));
    let mut received_bytes = pair
        .received(caller)
        .split_once("\r\n\r\n")
        .expect("a head")
        .1
        .len();
    assert!(!pair.is_read(target));
    for elapsed_ms in (50..=950).step_by(50) {
        pair.advance(ms(50));
        received_bytes += pair.received(caller).len();
        let allowed_bytes = elapsed_ms + 50;
        assert!(
            received_bytes <= allowed_bytes,
            "{received_bytes} after {elapsed_ms} ms"
        );
        assert!(
            received_bytes + 60 >= allowed_bytes,
            "{received_bytes} after {elapsed_ms} ms"
        );
    }
    pair.advance(ms(60));
    assert_eq!(received_bytes + pair.received(caller).len(), 1_000);
    assert_eq!(injected(&pair), BTreeMap::from([("throttle", 1)]));
    assert_eq!(pair.gateway.tally().exchanges, 0);
}

#[test]
fn what_is_spared_is_as_if_there_were_no_policy() {
    let mut pair = pair_with(json!({"percentage": 0, "abort": {"status": 503}}));
    let caller = pair.ask(get("x"));
    let target = pair.accept();
    pair.send(target, ok("spared"));
    assert!(pair.received(caller).ends_with("spared"));
    assert_eq!(injected(&pair), BTreeMap::new());
}

#[test]
fn an_open_breaker_does_not_hide_an_abort_and_aborts_do_not_open_it() {
    let mut cfg = one_proxy();
    cfg["proxies"][0]["circuit_breaker"] =
        json!({"failure_threshold": 1, "recovery_timeout_ms": 1_000, "half_open_requests": 1});
    let mut pair = pair_for(&cfg, json!({"abort": {"status": 503}}));
    for name in ["a", "b", "c", "d", "e"] {
        let caller = pair.ask(get(name));
        assert_eq!(reason(&pair.received(caller)), "none");
    }
    assert_eq!(pair.gateway.books().breakers["sidecar"], 0);
}
