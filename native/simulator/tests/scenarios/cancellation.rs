//! A caller that leaves takes its exchange along, at whatever stage.

use gatewayx_simulator::pair::{Dialling, Ended, Pair, one_proxy};

use crate::{get, request};

fn assert_left(pair: &Pair, name: &str) {
    let line = pair.gateway.ledger.line(name).expect("a line");
    assert_eq!((line.status, &line.error[..]), (499, "client_closed"));
    assert_eq!(pair.gateway.engine.counts().exchanges, 0);
}

#[test]
fn a_caller_that_leaves_cancels_its_dial() {
    let mut pair = Pair::new(&one_proxy());
    pair.dialling = Dialling::Hangs;
    let caller = pair.ask(get("gone"));
    pair.reset(caller);
    assert_eq!(pair.cancelled_count, 1);
    assert_left(&pair, "gone");
}

#[test]
fn a_caller_that_leaves_cancels_its_request_at_once() {
    for cleanly in [true, false] {
        let mut pair = Pair::new(&one_proxy());
        let caller = pair.ask(get("gone"));
        let target = pair.accept();
        if cleanly {
            pair.shut_down(caller);
        } else {
            pair.reset(caller);
        }
        assert_eq!(pair.ended(target), Some(Ended::ByReset));
        assert_left(&pair, "gone");
    }
}

#[test]
fn a_caller_that_leaves_within_a_response_cancels_the_rest() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(get("gone"));
    let target = pair.accept();
    pair.send(
        target,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevent\r\n",
    );
    pair.reset(caller);
    assert_eq!(pair.ended(target), Some(Ended::ByReset));
    assert_left(&pair, "gone");
}

#[test]
fn a_caller_that_leaves_within_its_request_cancels_it() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(request("POST", "gone", "Content-Length: 9\r\n") + "some");
    let target = pair.accept();
    pair.reset(caller);
    assert_eq!(pair.ended(target), Some(Ended::ByReset));
    assert_left(&pair, "gone");
}

#[test]
fn nobody_hears_of_a_caller_that_left_between_requests() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.connect();
    pair.shut_down(caller);
    assert_eq!(pair.ended(caller), Some(Ended::Cleanly));
    assert_eq!(pair.gateway.ledger.sums().count, 0);
}
