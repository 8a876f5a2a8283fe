//! After a 101 bytes go both ways, each side ends by itself.

use gatewayx_engine::ConnId;
use gatewayx_simulator::pair::{Ended, Pair, one_proxy};
use serde_json::json;

use crate::{ms, ok, reason, request, status};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn upgrading() -> (Pair, ConnId, ConnId) {
    let mut cfg = one_proxy();
    cfg["proxies"][0]["websocket"] = true.into();
    cfg["proxies"][0]["timeout"] = json!({"tunnel_idle_ms": 1_000});
    let mut pair = Pair::new(&cfg);
    let caller = pair.ask(request("GET", "socket", UPGRADE));
    let target = pair.accept();
    assert!(pair.received(target).contains("Upgrade: websocket\r\n"));
    (pair, caller, target)
}

fn tunnel() -> (Pair, ConnId, ConnId) {
    let (mut pair, caller, target) = upgrading();
    pair.send(target, SWITCH);
    assert_eq!(status(&pair.received(caller)), "101");
    (pair, caller, target)
}

#[test]
fn bytes_go_both_ways_as_they_are() {
    let (mut pair, caller, target) = tunnel();
    pair.send(caller, "GET / HTTP/1.1\r\n\r\n");
    assert_eq!(pair.received(target), "GET / HTTP/1.1\r\n\r\n");
    pair.send(target, "HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(pair.received(caller), "HTTP/1.1 200 OK\r\n\r\n");
}

#[test]
fn bytes_behind_both_heads_belong_to_the_tunnel() {
    let (mut pair, caller, target) = upgrading();
    pair.send(caller, "early");
    assert_eq!(pair.received(target), "");
    pair.send(target, format!("{SWITCH}first"));
    assert!(pair.received(caller).ends_with("\r\n\r\nfirst"));
    assert_eq!(pair.received(target), "early");
}

#[test]
fn one_side_may_end_before_the_other() {
    let (mut pair, caller, target) = tunnel();
    pair.shut_down(caller);
    assert_eq!(pair.ended(target), Some(Ended::Cleanly));
    pair.send(target, "last words");
    assert_eq!(pair.received(caller), "last words");
    pair.shut_down(target);
    assert_eq!(pair.ended(caller), Some(Ended::Cleanly));
    assert_eq!(pair.gateway.engine.counts().upstreams, 0);
}

#[test]
fn a_reset_is_passed_on() {
    let (mut pair, caller, target) = tunnel();
    pair.reset(target);
    assert_eq!(pair.ended(caller), Some(Ended::ByReset));
}

#[test]
fn a_tunnel_without_a_byte_is_closed() {
    let (mut pair, caller, target) = tunnel();
    pair.advance(ms(999));
    pair.send(target, "ping");
    pair.advance(ms(999));
    pair.send(caller, "pong");
    pair.advance(ms(999));
    assert_eq!(pair.ended(caller), None);
    pair.advance(ms(1));
    assert!(pair.ended(caller).is_some() && pair.ended(target).is_some());
}

#[test]
fn a_refused_upgrade_is_an_ordinary_exchange() {
    let (mut pair, caller, target) = upgrading();
    pair.send(target, ok("no sockets here"));
    assert!(pair.received(caller).ends_with("no sockets here"));
    pair.send(caller, request("GET", "next", ""));
    assert!(pair.received(target).starts_with("GET /next "));
}

#[test]
fn a_switch_that_nobody_asked_for_is_refused() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(crate::get("plain"));
    let target = pair.accept();
    pair.send(target, SWITCH);
    assert_eq!(reason(&pair.received(caller)), "unexpected_response");
    assert_eq!(pair.ended(target), Some(Ended::ByReset));
}

#[test]
fn an_upgrade_that_is_not_allowed_goes_nowhere() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(request("GET", "socket", UPGRADE));
    let answer = pair.received(caller);
    assert_eq!(
        (status(&answer), reason(&answer)),
        ("501", "upgrade_not_allowed")
    );
    assert!(pair.has_no_dial());
}
