//! Request bodies: early answers, and `Expect: 100-continue` in all its turns.

use gatewayx_engine::ConnId;
use gatewayx_simulator::pair::{Ended, Pair, one_proxy};

use crate::{get, ms, ok, reason, request, status};

const EXPECTING: &str = "Content-Length: 4\r\nExpect: 100-continue\r\n";

fn expecting() -> (Pair, ConnId, ConnId) {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(request("POST", "upload", EXPECTING));
    let target = pair.accept();
    assert!(pair.received(target).contains("Expect: 100-continue\r\n"));
    (pair, caller, target)
}

fn finish(pair: &mut Pair, caller: ConnId, target: ConnId) {
    pair.send(caller, "body");
    assert!(pair.received(target).ends_with("body"));
    pair.send(target, ok("stored"));
    assert!(pair.received(caller).ends_with("stored"));
    pair.send(caller, get("next"));
    assert!(pair.received(target).starts_with("GET /next "));
}

#[test]
fn the_targets_100_is_passed_on() {
    let (mut pair, caller, target) = expecting();
    pair.send(target, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(status(&pair.received(caller)), "100");
    finish(&mut pair, caller, target);
}

#[test]
fn a_caller_may_take_its_time_after_the_100() {
    let (mut pair, caller, target) = expecting();
    pair.send(target, "HTTP/1.1 100 Continue\r\n\r\n");
    pair.received(caller);
    pair.send(caller, "bo");
    pair.advance(ms(20_000));
    assert_eq!(pair.received(caller), "");
    pair.send(caller, "dy");
    pair.send(target, ok("stored"));
    assert!(pair.received(caller).ends_with("stored"));
}

#[test]
fn a_silent_target_is_not_waited_for() {
    let (mut pair, caller, target) = expecting();
    pair.advance(ms(999));
    assert_eq!(pair.received(caller), "");
    pair.advance(ms(1));
    assert_eq!(status(&pair.received(caller)), "100");
    // The target's own 100 comes too late to be news.
    pair.send(target, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(pair.received(caller), "");
    finish(&mut pair, caller, target);
}

#[test]
fn the_100_comes_even_if_the_head_was_slow_to_go_out() {
    let mut pair = Pair::new(&one_proxy());
    pair.gateway.window_bytes = 10;
    let caller = pair.ask(request("POST", "upload", EXPECTING));
    let target = pair.accept();
    pair.widen(target, 1_000_000);
    pair.advance(ms(1_000));
    pair.widen(caller, 1_000_000);
    assert_eq!(status(&pair.received(caller)), "100");
}

#[test]
fn a_refusal_goes_out_instead_of_the_100() {
    let (mut pair, caller, target) = expecting();
    pair.send(
        target,
        "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno",
    );
    let answer = pair.received(caller);
    assert_eq!(status(&answer), "417");
    assert!(answer.ends_with("no"));
    assert_eq!(pair.ended(caller), Some(Ended::Cleanly));
}

#[test]
fn a_caller_that_does_not_wait_is_served() {
    let (mut pair, caller, target) = expecting();
    pair.send(caller, "body");
    pair.advance(ms(5_000));
    assert_eq!(pair.received(caller), "");
    pair.send(target, ok("stored"));
    assert!(pair.received(caller).ends_with("stored"));
}

#[test]
fn an_answer_that_comes_before_the_end_of_the_upload_is_delivered() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(request("POST", "upload", "Content-Length: 1000000\r\n") + "begin");
    let target = pair.accept();
    pair.send(
        target,
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
    );
    let answer = pair.received(caller);
    assert_eq!(status(&answer), "403");
    assert!(answer.ends_with("no"));
    // Read a while longer, so that no reset overtakes the answer; then closed for good.
    assert_eq!(pair.ended(caller), Some(Ended::Cleanly));
    pair.send(caller, vec![b'x'; 100_000]);
    assert_eq!(pair.unread_bytes(caller), 0);
    pair.advance(ms(2_000));
    assert_eq!(pair.ended(caller), Some(Ended::ByReset));
}

#[test]
fn an_answer_and_an_upload_may_go_on_side_by_side() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(request("POST", "echo", "Content-Length: 4\r\n") + "12");
    let target = pair.accept();
    pair.send(target, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n12");
    assert!(pair.received(caller).ends_with("12"));
    pair.send(caller, "34");
    assert!(pair.received(target).ends_with("34"));
    pair.send(target, "34");
    assert!(pair.received(caller).ends_with("34"));
    pair.send(caller, get("next"));
    assert!(pair.received(target).starts_with("GET /next "));
}

#[test]
fn a_body_over_the_limit_is_refused_before_and_within() {
    let mut cfg = one_proxy();
    cfg["proxies"][0]["request_body_max_bytes"] = 5.into();
    let mut pair = Pair::new(&cfg);
    let announced = pair.ask(request("POST", "a", "Content-Length: 6\r\n"));
    assert_eq!(reason(&pair.received(announced)), "body_too_large");
    assert!(pair.has_no_dial());
    let chunked = request("POST", "b", "Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n";
    let chunked = pair.ask(chunked);
    let target = pair.accept();
    pair.send(chunked, "3\r\ndef\r\n");
    assert_eq!(reason(&pair.received(chunked)), "body_too_large");
    assert_eq!(pair.ended(target), Some(Ended::ByReset));
}
