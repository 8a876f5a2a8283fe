//! Framing towards the caller: what was cut is seen to be cut, whatever the caller understands.

use gatewayx_engine::ConnId;
use gatewayx_simulator::pair::{Ended, Pair, one_proxy};

use crate::{get, status};

fn asked(request: &str) -> (Pair, ConnId, ConnId) {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(request);
    let target = pair.accept();
    (pair, caller, target)
}

const OLD: &str = "GET / HTTP/1.0\r\nHost: gateway\r\n\r\n";

#[test]
fn a_body_that_the_close_ends_becomes_chunks() {
    let (mut pair, caller, target) = asked(&get("a"));
    pair.send(target, "HTTP/1.1 200 OK\r\n\r\nsome");
    pair.shut_down(target);
    let answer = pair.received(caller);
    assert!(answer.contains("Transfer-Encoding: chunked\r\n"));
    assert!(answer.ends_with("4\r\nsome\r\n0\r\n\r\n"));
    assert_eq!(pair.ended(caller), None);
}

#[test]
fn a_reset_does_not_complete_a_body_that_the_close_ends() {
    let (mut pair, caller, target) = asked(&get("a"));
    pair.send(target, "HTTP/1.1 200 OK\r\n\r\nsome");
    pair.reset(target);
    assert!(pair.received(caller).ends_with("4\r\nsome\r\n"));
    assert!(pair.ended(caller).is_some());
}

#[test]
fn an_old_caller_gets_a_body_that_the_close_ends() {
    let (mut pair, caller, target) = asked(OLD);
    pair.send(
        target,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n0\r\n\r\n",
    );
    assert!(pair.received(caller).ends_with("\r\n\r\nsome"));
    assert_eq!(pair.ended(caller), Some(Ended::Cleanly));
}

#[test]
fn an_old_caller_sees_a_reset_when_that_body_is_cut() {
    let (mut pair, caller, target) = asked(OLD);
    pair.send(
        target,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n",
    );
    pair.shut_down(target);
    assert_eq!(pair.ended(caller), Some(Ended::ByReset));
}

#[test]
fn informational_heads_are_passed_on_but_not_to_old_callers() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let (mut pair, caller, target) = asked(&get("a"));
    pair.send(target, hints);
    assert_eq!(status(&pair.received(caller)), "103");
    let (mut pair, caller, target) = asked(OLD);
    pair.send(target, hints);
    assert_eq!(pair.received(caller), "");
}

#[test]
fn informational_heads_without_end_are_not_waited_for() {
    let (mut pair, caller, target) = asked(&get("a"));
    for _ in 0..17 {
        pair.send(target, "HTTP/1.1 103 Early Hints\r\n\r\n");
    }
    assert!(
        pair.received(caller)
            .contains("X-Gateway-Reason: unexpected_response\r\n")
    );
}

#[test]
fn a_response_may_arrive_byte_by_byte() {
    let (mut pair, caller, target) = asked(&get("a"));
    for byte in
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: u\r\n\r\n"
            .bytes()
    {
        pair.send(target, [byte]);
    }
    let answer = pair.received(caller);
    assert!(
        answer.ends_with("1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\nT: u\r\n\r\n"),
        "{answer}"
    );
    assert_eq!(pair.gateway.engine.counts().idle_upstreams, 1);
}
