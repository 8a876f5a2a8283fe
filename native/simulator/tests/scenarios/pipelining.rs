//! Requests that are sent without waiting are answered one after the other, in order.

use gatewayx_simulator::pair::{Ended, Pair, one_proxy};

use crate::{get, ok, post, request};

#[test]
fn pipelined_requests_go_out_one_at_a_time_and_in_order() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(get("a") + &post("b", "body") + &get("c"));
    let target = pair.accept();
    for (name, body) in [("GET /a ", "1"), ("POST /b ", "2"), ("GET /c ", "3")] {
        let asked = pair.received(target);
        assert!(asked.starts_with(name), "{asked}");
        assert_eq!(asked.matches("HTTP/1.1").count(), 1);
        pair.send(target, ok(body));
        assert!(pair.received(caller).ends_with(body));
    }
    assert_eq!(pair.dials_count, 1);
}

#[test]
fn pipelined_refusals_come_in_order_too() {
    let mut cfg = one_proxy();
    cfg["proxies"][0]["path"] = "/a".into();
    let mut pair = Pair::new(&cfg);
    let caller = pair.ask(get("x") + &get("a") + &get("y"));
    let target = pair.accept();
    assert!(pair.received(caller).contains("X-Request-Id: x\r\n"));
    pair.send(target, ok("served"));
    let rest = pair.received(caller);
    let (served, refused) = (rest.find("served"), rest.find("X-Request-Id: y\r\n"));
    assert!(served.is_some() && served < refused, "{rest}");
}

#[test]
fn nothing_is_served_behind_a_close() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(request("GET", "last", "Connection: close\r\n") + &get("never"));
    let target = pair.accept();
    pair.send(target, ok("bye"));
    let answer = pair.received(caller);
    assert!(answer.contains("Connection: close\r\n") && answer.ends_with("bye"));
    assert_eq!(pair.ended(caller), Some(Ended::Cleanly));
    assert_eq!(pair.gateway.ledger.sends_count("never"), 0);
}

#[test]
fn a_failed_exchange_does_not_disturb_those_behind_it() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(get("a") + &get("b"));
    let first = pair.accept();
    pair.send(first, "nonsense\r\n");
    assert_eq!(crate::reason(&pair.received(caller)), "bad_response");
    let second = pair.accept();
    pair.send(second, ok("fine"));
    assert!(pair.received(caller).ends_with("fine"));
}
