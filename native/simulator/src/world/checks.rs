//! What has to hold when all is over.

use super::World;
use super::traffic::number_in;
use crate::content::{Direction, first_difference};
use crate::ledger::Line;
use crate::oracle::{End, Message};
use crate::peer::{Peer, Role};
use crate::plan::{ExchangePlan, Goodbye, MS, Step};

/// Longer than any breaker stays open and any target is set aside.
const QUIET_NS: u64 = 60_000 * MS;

/// No proxy lets fewer requests through than one in so long.
const RATE_INTERVAL_MAX_NS: u64 = 1_000 * MS;

impl World {
    /// Nothing is left: no exchange, no permit, no connection, no byte, no timer.
    pub(super) fn check_rest(&mut self) {
        for id in self.living() {
            let gateway = self.gateway(id);
            let counts = gateway.engine.counts();
            assert_eq!(
                counts.exchanges, 0,
                "exchanges hang at the end of the world"
            );
            assert_eq!(counts.downstreams, 0, "callers' connections are left");
            assert_eq!(counts.upstreams, 0, "targets' connections are left");
            assert_eq!(counts.buffered_bytes, 0, "bytes are left");
            assert!(gateway.sockets.is_empty(), "{:?}", gateway.sockets.keys());
            assert!(gateway.dials.is_empty(), "{:?}", gateway.dials);
            let deadline_ns = gateway.engine.poll_deadline();
            assert_eq!(deadline_ns, None, "a timer is left");
            let books = gateway.books();
            for (what, gauges) in [("permits", books.permits), ("queued", books.queued)] {
                let left: Vec<_> = gauges.iter().filter(|&(_, &count)| count > 0).collect();
                assert!(left.is_empty(), "{what} left: {left:?}");
            }
        }
    }

    /// Nothing that went wrong has a hold on the gateway: once breakers have had their time and peers behave,
    /// every proxy serves again.
    pub(super) fn check_recovery(&mut self) {
        self.healed = true;
        let proxies = self.cfg["proxies"].as_array().cloned().unwrap_or_default();
        for proxy in proxies.iter().filter(|proxy| proxy["active"] != false) {
            self.now_ns += QUIET_NS;
            for turn in 0..4 {
                self.now_ns += RATE_INTERVAL_MAX_NS;
                // Probes that died with their worker are replaced one by one.
                if self.living().len() < self.workers.len() {
                    self.now_ns += QUIET_NS;
                }
                let path = proxy["path"].as_str().unwrap_or_default();
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: sim.test\r\n\
                     Authorization: Bearer sim-root\r\n\r\n"
                );
                let script = vec![
                    Step::Send(request.into_bytes()),
                    Step::AwaitResponses(1),
                    Step::Leave(Goodbye::Fin),
                ];
                let place = self.connect(Peer::caller(Vec::new(), &["GET"], script));
                self.settle();
                while !self.links[&place].peer.is_gone && self.step() {}
                let answer = finals(&self.links[&place].peer);
                let status = answer.first().map_or(0, |answer| answer.status());
                let name = &proxy["name"];
                assert_eq!(status, 200, "{name} does not recover, request {turn}");
            }
        }
        while self.step() {}
        self.check_rest();
    }

    /// Everybody kept the rules: everybody was served.
    pub(super) fn check_calm(&self) {
        for (place, link) in &self.links {
            let Role::Caller { exchanges } = &link.peer.role else {
                continue;
            };
            let finals: Vec<&Message> = finals(&link.peer);
            for (index, &number) in exchanges.iter().enumerate() {
                let plan = &self.plans[number as usize];
                let line: Option<&Line> = self.workers[place.0].gateway.ledger.line(&plan.id);
                let what = format!("{}, {line:?}", plan.id);
                let answer = finals
                    .get(index)
                    .unwrap_or_else(|| panic!("no answer: {what}"));
                let (status, body_bytes) = plan.response.outcome(&plan.request);
                assert_eq!(answer.status(), status, "status: {what}");
                assert_eq!(answer.end, End::Whole, "cut: {what}");
                assert_eq!(answer.body.len() as u64, body_bytes, "size: {what}");
            }
        }
    }

    /// Every body that a peer has got belongs to the exchange that it came with.
    pub(super) fn check_peers(&self) {
        for link in self.links.values() {
            match &link.peer.role {
                Role::Target => {
                    for message in &link.peer.incoming.messages {
                        if let Some(plan) = self.plans.get(number_in(self.seed, message))
                            && plan.request.is_faithful()
                        {
                            assert_content(message, plan, Direction::Request);
                        }
                    }
                }
                Role::Caller { exchanges } => {
                    for (message, &number) in finals(&link.peer).into_iter().zip(exchanges) {
                        let plan = &self.plans[number as usize];
                        let own = message.field("x-gateway-reason").is_some();
                        let faithful = plan.response.is_faithful() && plan.request.is_faithful();
                        if !own && faithful && message.field("x-sim-echo") == Some(&plan.id) {
                            assert_content(message, plan, Direction::Response);
                        }
                    }
                }
            }
        }
    }
}

fn finals(peer: &Peer) -> Vec<&Message> {
    peer.incoming
        .messages
        .iter()
        .filter(|message| !message.is_interim())
        .collect()
}

fn assert_content(message: &Message, plan: &ExchangePlan, direction: Direction) {
    let place = first_difference(&message.body, plan.number, direction);
    assert_eq!(
        place, None,
        "{}: another's byte in the {direction:?}",
        plan.id
    );
}
