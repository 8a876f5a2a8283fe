//! Connections to targets serve many requests, and what happens when one turns out to be closed.

use gatewayx_simulator::pair::{Ended, Pair, one_proxy};

use crate::{get, ms, ok, post, reason, request, status};

#[test]
fn a_hundred_requests_need_one_connection() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(get("0"));
    let target = pair.accept();
    for index in 1..=100 {
        assert!(pair.received(target).starts_with("GET /"));
        pair.send(target, ok("body"));
        assert!(pair.received(caller).ends_with("body"));
        if index < 100 {
            pair.send(caller, get(&index.to_string()));
        }
    }
    assert_eq!(pair.dials_count, 1);
    assert_eq!(pair.gateway.books().reuses, 99);
}

/// A pair whose one connection to the target has served and is idle.
fn warm() -> (Pair, gatewayx_engine::ConnId, gatewayx_engine::ConnId) {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(get("first"));
    let target = pair.accept();
    pair.send(target, ok(""));
    pair.received(target);
    pair.received(caller);
    (pair, caller, target)
}

#[test]
fn a_late_close_is_repeated_once_on_a_new_connection() {
    let (mut pair, caller, target) = warm();
    pair.send(caller, get("second"));
    pair.shut_down(target);
    let fresh = pair.accept();
    assert!(pair.received(fresh).starts_with("GET /second "));
    pair.send(fresh, ok("again"));
    assert!(pair.received(caller).ends_with("again"));
    assert_eq!(pair.gateway.ledger.sends_count("second"), 2);
}

#[test]
fn a_late_reset_is_repeated_as_well() {
    let (mut pair, caller, target) = warm();
    pair.send(caller, get("second"));
    pair.reset(target);
    let fresh = pair.accept();
    pair.send(fresh, ok("again"));
    assert!(pair.received(caller).ends_with("again"));
}

#[test]
fn a_second_close_is_the_answer() {
    let (mut pair, caller, target) = warm();
    pair.send(caller, get("second"));
    pair.shut_down(target);
    let fresh = pair.accept();
    pair.shut_down(fresh);
    assert_eq!(reason(&pair.received(caller)), "upstream_reset");
    assert!(pair.has_no_dial());
}

#[test]
fn a_post_is_never_repeated() {
    let (mut pair, caller, target) = warm();
    pair.send(caller, post("second", "body"));
    pair.shut_down(target);
    assert_eq!(reason(&pair.received(caller)), "upstream_reset");
    assert!(pair.has_no_dial());
    assert_eq!(pair.gateway.ledger.sends_count("second"), 1);
}

#[test]
fn what_carries_a_body_is_not_repeated_without_being_asked_to() {
    let (mut pair, caller, target) = warm();
    pair.send(
        caller,
        request("PUT", "second", "Content-Length: 4\r\n") + "body",
    );
    pair.shut_down(target);
    assert_eq!(reason(&pair.received(caller)), "upstream_reset");
    assert_eq!(pair.gateway.ledger.sends_count("second"), 1);
}

#[test]
fn a_first_close_is_not_repeated() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(get("first"));
    let target = pair.accept();
    pair.shut_down(target);
    assert_eq!(status(&pair.received(caller)), "502");
    assert!(pair.has_no_dial());
}

#[test]
fn a_request_that_was_half_answered_is_not_repeated() {
    let (mut pair, caller, target) = warm();
    pair.send(caller, get("second"));
    pair.send(target, "HTTP/1.1 2");
    pair.shut_down(target);
    assert_eq!(reason(&pair.received(caller)), "upstream_reset");
    assert!(pair.has_no_dial());
}

#[test]
fn a_byte_on_an_idle_connection_condemns_it() {
    let (mut pair, caller, target) = warm();
    pair.send(target, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
    assert_eq!(pair.ended(target), Some(Ended::ByReset));
    pair.send(caller, get("second"));
    let fresh = pair.accept();
    pair.send(fresh, ok("clean"));
    assert!(pair.received(caller).ends_with("clean"));
}

#[test]
fn bytes_behind_a_response_condemn_the_connection() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(get("first"));
    let target = pair.accept();
    pair.send(target, ok("whole") + "HTTP/1.1 200 OK\r\n");
    assert!(pair.received(caller).ends_with("whole"));
    assert!(pair.ended(target).is_some());
}

#[test]
fn an_unused_connection_is_closed_after_its_time() {
    let (mut pair, _, target) = warm();
    pair.advance(ms(89_999));
    assert_eq!(pair.ended(target), None);
    pair.advance(ms(1));
    assert_eq!(pair.ended(target), Some(Ended::Cleanly));
}
