//! `max_concurrent`: exact, and given back whatever happens.

use gatewayx_simulator::pair::{Dialling, Pair, one_proxy};
use serde_json::{Value, json};

use crate::{get, ms, ok, reason, status};

fn limited(queue: Value) -> Pair {
    let mut cfg = one_proxy();
    cfg["proxies"][0]["max_concurrent"] = 1.into();
    cfg["proxies"][0]["retry_after_seconds"] = 7.into();
    cfg["proxies"][0]["queue"] = queue;
    Pair::new(&cfg)
}

#[test]
fn one_too_many_is_told_to_come_back() {
    let mut pair = limited(Value::Null);
    let first = pair.ask(get("first"));
    let target = pair.accept();
    let second = pair.ask(get("second"));
    let answer = pair.received(second);
    assert_eq!((status(&answer), reason(&answer)), ("429", "limit_reached"));
    assert!(answer.contains("Retry-After: 7\r\n"));
    pair.send(target, ok("done"));
    assert!(pair.received(first).ends_with("done"));
    pair.send(second, get("third"));
    assert!(pair.received(target).contains("GET /third "));
    assert_eq!(pair.gateway.books().rejected, 1);
}

#[test]
fn a_permit_comes_back_whatever_happens() {
    let mut pair = limited(Value::Null);
    for turn in 0..4 {
        let caller = pair.ask(get(&format!("turn{turn}")));
        match turn {
            0 => pair.reset(caller),
            1 => {
                let target = pair.accept();
                pair.reset(target);
            }
            2 => {
                let target = pair.accept();
                pair.send(target, "nonsense\r\n");
            }
            _ => pair.advance(ms(30_000)),
        }
        assert_eq!(pair.gateway.books().permits["sidecar"], 0, "turn {turn}");
        if turn == 0 {
            pair.accept();
        }
    }
}

#[test]
fn whoever_waits_is_served_in_turn() {
    let mut pair = limited(json!({"size": 2, "timeout_ms": 5_000}));
    pair.ask(get("first"));
    let target = pair.accept();
    pair.received(target);
    let callers = [pair.ask(get("second")), pair.ask(get("third"))];
    let full = pair.ask(get("fourth"));
    assert_eq!(reason(&pair.received(full)), "queue_full");
    assert_eq!(pair.gateway.books().queued["sidecar"], 2);
    for (caller, name) in callers.into_iter().zip(["second", "third"]) {
        pair.send(target, ok(name));
        let asked = pair.received(target);
        assert!(asked.starts_with(&format!("GET /{name} ")), "{asked}");
        assert_eq!(pair.received(caller), "");
    }
    pair.send(target, ok("last"));
    assert!(pair.received(callers[1]).ends_with("last"));
}

#[test]
fn nobody_waits_longer_than_the_queue_allows() {
    let mut pair = limited(json!({"size": 2, "timeout_ms": 5_000}));
    pair.ask(get("first"));
    let waiting = pair.ask(get("second"));
    pair.advance(ms(4_999));
    assert_eq!(pair.received(waiting), "");
    pair.advance(ms(1));
    let answer = pair.received(waiting);
    assert_eq!((status(&answer), reason(&answer)), ("503", "queue_timeout"));
}

#[test]
fn a_caller_that_leaves_gives_up_its_place() {
    let mut pair = limited(json!({"size": 1, "timeout_ms": 5_000}));
    pair.ask(get("first"));
    let impatient = pair.ask(get("second"));
    pair.reset(impatient);
    assert_eq!(pair.gateway.books().queued["sidecar"], 0);
    let patient = pair.ask(get("third"));
    let target = pair.accept();
    pair.received(target);
    pair.send(target, ok(""));
    assert!(pair.received(target).starts_with("GET /third "));
    assert_eq!(pair.received(patient), "");
}

#[test]
fn a_request_that_cannot_be_dialled_lets_the_next_one_in() {
    let mut pair = limited(json!({"size": 5, "timeout_ms": 5_000}));
    pair.dialling = Dialling::Hangs;
    let callers = [pair.ask(get("first")), pair.ask(get("second"))];
    pair.fail_dial(gatewayx_engine::DialError::Failed);
    assert_eq!(reason(&pair.received(callers[0])), "dial_failed");
    pair.fail_dial(gatewayx_engine::DialError::Failed);
    assert_eq!(reason(&pair.received(callers[1])), "dial_failed");
    assert_eq!(pair.gateway.books().permits["sidecar"], 0);
}
