//! Idle connections: the warmest is taken, the coldest is given up, within bounds.

use gatewayx_engine::ConnId;
use gatewayx_simulator::pair::{Ended, Pair, one_proxy};
use serde_json::json;

use crate::{get, ok};

/// So many callers at once; returns the targets' connections in the order in which they became idle.
fn burst(pair: &mut Pair, count: usize) -> Vec<ConnId> {
    for index in 0..count {
        let caller = pair.connect();
        pair.send(caller, get(&format!("burst{index}")));
    }
    let targets: Vec<ConnId> = (0..count).map(|_| pair.accept()).collect();
    for &target in &targets {
        pair.send(target, ok(""));
        pair.received(target);
    }
    targets
}

fn pair_with_pool(pool: serde_json::Value) -> Pair {
    let mut cfg = one_proxy();
    cfg["upstream_pool"] = pool;
    Pair::new(&cfg)
}

#[test]
fn the_most_recently_used_is_taken_first() {
    let mut pair = pair_with_pool(json!({}));
    let targets = burst(&mut pair, 3);
    let first = pair.ask(get("first"));
    assert!(pair.received(targets[2]).starts_with("GET /first "));
    pair.ask(get("second"));
    assert!(pair.received(targets[1]).starts_with("GET /second "));
    pair.send(targets[2], ok("back"));
    assert!(pair.received(first).ends_with("back"));
    pair.ask(get("third"));
    assert!(pair.received(targets[2]).starts_with("GET /third "));
}

#[test]
fn a_target_keeps_as_many_as_its_bound() {
    let mut pair = pair_with_pool(json!({"idle_per_host_max": 2}));
    let targets = burst(&mut pair, 4);
    let ended: Vec<_> = targets.iter().map(|&target| pair.ended(target)).collect();
    assert_eq!(
        ended,
        [Some(Ended::Cleanly), Some(Ended::Cleanly), None, None]
    );
}

#[test]
fn all_targets_together_keep_as_many_as_their_bound() {
    let mut pair = pair_with_pool(json!({"idle_max": 1}));
    let targets = burst(&mut pair, 3);
    assert_eq!(pair.ended(targets[1]), Some(Ended::Cleanly));
    assert_eq!(pair.ended(targets[2]), None);
    assert_eq!(pair.gateway.engine.counts().idle_upstreams, 1);
}

#[test]
fn no_room_at_all_means_a_connection_each() {
    let mut pair = pair_with_pool(json!({"idle_max": 0}));
    let targets = burst(&mut pair, 2);
    assert!(targets.iter().all(|&target| pair.ended(target).is_some()));
}

#[test]
fn a_target_that_closes_is_not_kept() {
    let mut pair = pair_with_pool(json!({}));
    let caller = pair.ask(get("a"));
    let target = pair.accept();
    pair.send(
        target,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(pair.ended(target), Some(Ended::Cleanly));
    pair.send(caller, get("b"));
    assert_ne!(pair.accept(), target);
}

#[test]
fn an_idle_connection_to_a_former_address_is_closed_at_once() {
    let mut pair = Pair::new(&one_proxy());
    let targets = burst(&mut pair, 2);
    pair.gateway.move_target("target");
    pair.settle();
    for target in targets {
        assert_eq!(pair.ended(target), Some(Ended::Cleanly));
    }
    pair.ask(get("next"));
    let fresh = pair.accept();
    assert!(pair.received(fresh).starts_with("GET /next "));
}

#[test]
fn a_busy_connection_to_a_former_address_ends_with_its_exchange() {
    let mut pair = Pair::new(&one_proxy());
    let caller = pair.ask(get("busy"));
    let target = pair.accept();
    pair.gateway.move_target("target");
    pair.settle();
    pair.send(target, ok("whole"));
    assert!(pair.received(caller).ends_with("whole"));
    assert_eq!(pair.ended(target), Some(Ended::Cleanly));
    assert_eq!(pair.gateway.books().upstream_idle, 0);
}
