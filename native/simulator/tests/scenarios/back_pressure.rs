//! Nobody is read faster than the other side takes it, and nobody waits for ever.

use gatewayx_engine::ConnId;
use gatewayx_simulator::pair::{Ended, Pair, one_proxy};

use crate::{get, ms, ok, request};

const MIB: usize = 1 << 20;
const HIGH_WATER: usize = 64 * 1024;
const READ: usize = 32 * 1024;

/// A caller with a request under way and its target; the caller takes only so much.
fn pair_with_window(window_bytes: usize, ask: String) -> (Pair, ConnId, ConnId) {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.connect();
    pair.narrow(caller, window_bytes);
    pair.send(caller, ask);
    let target = pair.accept();
    (pair, caller, target)
}

#[test]
fn a_target_is_not_read_while_the_caller_does_not_take() {
    let (mut pair, caller, target) = pair_with_window(0, get("big"));
    pair.send(
        target,
        format!("HTTP/1.1 200 OK\r\nContent-Length: {MIB}\r\n\r\n"),
    );
    pair.send(target, vec![b'x'; MIB]);
    assert!(!pair.is_read(target));
    assert!(pair.unsent_bytes(caller) <= HIGH_WATER + READ);
    let waiting = pair.unread_bytes(target);
    assert!(waiting >= MIB - HIGH_WATER - READ);
    pair.advance(ms(30_000));
    pair.widen(caller, 2 * MIB);
    assert_eq!(pair.received(caller).len(), MIB + head_bytes());
    assert!(pair.is_read(target));
}

/// Of the response head that the gateway makes of the one above.
fn head_bytes() -> usize {
    "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\nX-Request-Id: big\r\nVia: 1.1 gatewayx\r\n\r\n"
        .len()
}

#[test]
fn a_caller_is_not_read_while_the_target_does_not_take() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(request(
        "POST",
        "big",
        &format!("Content-Length: {MIB}\r\n"),
    ));
    let target = pair.accept();
    pair.received(target);
    pair.narrow(target, 0);
    pair.send(caller, vec![b'x'; MIB]);
    assert!(!pair.is_read(caller));
    assert!(pair.unsent_bytes(target) <= HIGH_WATER + READ);
    pair.widen(target, MIB);
    assert_eq!(pair.received(target).len(), MIB);
    pair.send(target, ok("stored"));
    assert!(pair.received(caller).ends_with("stored"));
}

#[test]
fn a_caller_that_stops_reading_is_dropped_in_time() {
    let (mut pair, caller, target) = pair_with_window(0, get("big"));
    pair.send(target, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
    pair.advance(ms(59_999));
    assert_eq!(pair.ended(caller), None);
    pair.advance(ms(1));
    assert_eq!(pair.ended(caller), Some(Ended::ByReset));
    assert_eq!(pair.ended(target), Some(Ended::ByReset));
    let line = pair.gateway.ledger.line("big").expect("a line");
    assert_eq!((line.status, &line.error[..]), (499, "client_stalled"));
}

#[test]
fn a_target_that_stops_reading_is_dropped_in_time() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(request(
        "POST",
        "big",
        &format!("Content-Length: {MIB}\r\n"),
    ));
    let target = pair.accept();
    pair.narrow(target, 0);
    pair.send(caller, vec![b'x'; MIB]);
    pair.received(caller);
    pair.advance(ms(59_999));
    assert_eq!(pair.received(caller), "");
    pair.advance(ms(1));
    assert_eq!(crate::reason(&pair.received(caller)), "idle_timeout");
    assert_eq!(pair.ended(target), Some(Ended::ByReset));
}

#[test]
fn two_peers_that_both_send_and_do_not_read_are_parted() {
    let ask = request("POST", "echo", &format!("Content-Length: {MIB}\r\n"));
    let (mut pair, caller, target) = pair_with_window(0, ask);
    pair.narrow(target, 0);
    pair.send(
        target,
        format!("HTTP/1.1 200 OK\r\nContent-Length: {MIB}\r\n\r\n"),
    );
    pair.send(target, vec![b'y'; MIB]);
    pair.send(caller, vec![b'x'; MIB]);
    assert!(!pair.is_read(caller) && !pair.is_read(target));
    pair.advance(ms(60_000));
    assert!(pair.ended(caller).is_some() && pair.ended(target).is_some());
    assert_eq!(pair.gateway.engine.counts().exchanges, 0);
}

#[test]
fn a_caller_that_stopped_reading_before_its_upload_ended_is_dropped_too() {
    let ask = request("POST", "echo", "Content-Length: 2\r\n") + "1";
    let (mut pair, caller, target) = pair_with_window(0, ask);
    pair.send(
        target,
        format!("HTTP/1.1 200 OK\r\nContent-Length: {MIB}\r\n\r\n"),
    );
    pair.send(target, vec![b'y'; MIB]);
    pair.send(caller, "2");
    pair.advance(ms(60_000));
    assert_eq!(pair.ended(caller), Some(Ended::ByReset));
}

#[test]
fn pipelined_requests_wait_until_their_answers_are_taken() {
    let ask: String = (0..200).map(|index| get(&format!("r{index}"))).collect();
    let (mut pair, caller, target) = pair_with_window(0, ask);
    let body = "z".repeat(20_000);
    let mut served = 0;
    while !pair.received(target).is_empty() {
        pair.send(target, ok(&body));
        served += 1;
    }
    // One is under way already when the one before turns out not to be taken.
    assert!(served < 6, "{served} answers to a caller who takes none");
    assert!(pair.unsent_bytes(caller) <= HIGH_WATER + 2 * READ);
    while served < 200 {
        pair.widen(caller, 21_000);
        if !pair.received(target).is_empty() {
            pair.send(target, ok(&body));
            served += 1;
        }
    }
}

#[test]
fn a_caller_is_not_blamed_for_not_being_read() {
    let mut cfg = one_proxy();
    cfg["downstream"]["request_head_ms"] = 1_000.into();
    cfg["buffer"]["high_water_bytes"] = 1_000.into();
    let mut pair = Pair::new(&cfg);
    let caller = pair.connect();
    pair.narrow(caller, 0);
    pair.send(caller, get("first") + "GET /sec");
    let target = pair.accept();
    pair.send(target, ok(&"z".repeat(20_000)));
    assert!(!pair.is_read(caller));
    pair.send(caller, &get("second")["GET /sec".len()..]);
    pair.advance(ms(30_000));
    pair.widen(caller, MIB);
    pair.received(target);
    pair.send(target, ok("second"));
    assert!(pair.received(caller).ends_with("second"));
}
