//! Stopping: what is idle goes at once, what is under way is finished, and then nothing is left.

use gatewayx_simulator::pair::{Ended, Pair, one_proxy};

use crate::{get, ok};

#[test]
fn a_drain_ends_what_is_idle_and_finishes_what_is_not() {
    let mut pair = Pair::new(&one_proxy());
    let idle = pair.ask(get("before"));
    let warm = pair.accept();
    pair.send(warm, ok(""));
    let busy = pair.ask(get("during"));
    pair.received(warm);
    let fresh = pair.connect();

    pair.gateway.start_draining();
    pair.settle();
    assert_eq!(pair.ended(idle), Some(Ended::Cleanly));
    assert_eq!(pair.ended(fresh), Some(Ended::Cleanly));
    assert_eq!(pair.ended(busy), None);

    pair.send(warm, ok("finished"));
    let answer = pair.received(busy);
    assert!(answer.contains("Connection: close\r\n") && answer.ends_with("finished"));
    assert_eq!(pair.ended(busy), Some(Ended::Cleanly));
    assert_eq!(pair.ended(warm), Some(Ended::Cleanly));
    let counts = pair.gateway.engine.counts();
    assert_eq!(
        (counts.downstreams, counts.upstreams, counts.exchanges),
        (0, 0, 0)
    );
    assert_eq!(pair.gateway.engine.poll_deadline(), None);
}

#[test]
fn a_shutdown_cuts_what_is_under_way() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(get("cut"));
    let target = pair.accept();
    pair.gateway.shut_down();
    pair.settle();
    assert_eq!(pair.ended(caller), Some(Ended::ByReset));
    assert_eq!(pair.ended(target), Some(Ended::ByReset));
    let counts = pair.gateway.engine.counts();
    assert_eq!(
        (counts.downstreams, counts.upstreams, counts.exchanges),
        (0, 0, 0)
    );
    assert_eq!(pair.gateway.ledger.line("cut").expect("a line").status, 499);
}

#[test]
fn an_exchange_under_way_keeps_its_configuration() {
    let mut pair = Pair::new(&one_proxy());
    let before = pair.ask(get("before"));
    let target = pair.accept();
    let mut cfg = one_proxy();
    cfg["proxies"][0]["path"] = "/elsewhere".into();
    pair.gateway.configure(&cfg);
    pair.settle();
    pair.send(target, ok("old"));
    assert!(pair.received(before).ends_with("old"));
    pair.send(before, get("after"));
    assert_eq!(crate::reason(&pair.received(before)), "no_route");
}
