//! Bytes on their way: between a worker's sockets and the peers, with all that a network does to them.

use gatewayx_engine::{CloseMode, DialError, Key};

use super::{Event, Place, WorkerId, World};
use crate::network::{Parcel, Pipe, Weather};
use crate::oracle::Message;
use crate::peer::{Act, Peer, Role};
use crate::plan::{MS, Step, Temper, number_of};

/// How long a driver goes on sending what is left of a connection that the engine has closed.
const CLOSE_BOUND_NS: u64 = 30_000 * MS;

/// How long a driver dials that is given no deadline.
const DIAL_BOUND_NS: u64 = 7_200_000 * MS;

/// A connection between a worker and a peer.
pub(super) struct Link {
    pub(super) weather: Weather,
    pub(super) to_peer: Pipe,
    to_gateway: Pipe,
    pub(super) peer: Peer,
    /// Bytes that the peer may send before the gateway reads.
    pub(super) peer_room: usize,
    /// The gateway's end is closed.
    pub(super) gateway_gone: bool,
    stubborn: bool,
    notices_resets: bool,
    due_at_gateway_ns: Option<u64>,
    due_at_peer_ns: Option<u64>,
}

impl World {
    pub(super) fn link(&mut self, place: Place, weather: Weather, peer: Peer) {
        let link = Link {
            weather,
            to_peer: Pipe::default(),
            to_gateway: Pipe::default(),
            peer,
            peer_room: weather.peer_window_bytes,
            gateway_gone: false,
            stubborn: self.rng.chance(40),
            notices_resets: self.rng.chance(50),
            due_at_gateway_ns: None,
            due_at_peer_ns: None,
        };
        self.links.insert(place, link);
    }

    pub(super) fn dial(&mut self, id: WorkerId, key: Key) {
        let rough = self.layout.temper == Temper::Rough;
        let soon_ns = self.rng.below(5 * MS);
        let late_ns = self.rng.below(3_000 * MS);
        let (wait_ns, outcome) = match self.rng.below(20) {
            _ if self.healed => (0, Ok(())),
            0 if rough => (soon_ns, Err(DialError::Failed)),
            1 if rough => (late_ns, Err(DialError::TimedOut)),
            2 if rough => (late_ns, Ok(())),
            3 if rough => (DIAL_BOUND_NS, Err(DialError::TimedOut)),
            _ => (soon_ns, Ok(())),
        };
        self.schedule(self.now_ns + wait_ns, Event::DialEnds(id, key, outcome));
    }

    // ---- the gateway's end

    /// Fetches what the gateway has sent, passes on how it ended, and lets it read again.
    pub(super) fn look(&mut self, place: Place) {
        let now_ns = self.now_ns;
        let sockets = &mut self.workers[place.0].gateway.sockets;
        let (Some(socket), Some(link)) = (sockets.get_mut(&place.1), self.links.get_mut(&place))
        else {
            return;
        };
        let bytes = std::mem::take(&mut socket.taken);
        let (weather, rng) = (link.weather, &mut self.rng);
        link.to_peer.send(now_ns, &bytes, &weather, rng);
        let sent = socket.unsent.is_empty();
        match socket.closed {
            None if socket.shut_down && sent => {
                link.to_peer.end(now_ns, Parcel::Fin, &weather, rng);
            }
            None => {}
            Some(CloseMode::Graceful) if !sent => {
                self.schedule(now_ns + CLOSE_BOUND_NS, Event::CloseIsOverdue(place));
            }
            Some(mode) => {
                // A kernel answers for unread bytes with a reset.
                let unread = link.to_gateway.has_unread(now_ns);
                let parcel = if mode == CloseMode::Reset || unread {
                    Parcel::Reset
                } else {
                    Parcel::Fin
                };
                link.to_peer.end(now_ns, parcel, &weather, rng);
                link.gateway_gone = true;
                sockets.remove(&place.1);
            }
        }
        self.expect_at_peer(place, 0);
        self.expect_at_gateway(place);
    }

    pub(super) fn drop_overdue(&mut self, place: Place) {
        let sockets = &mut self.workers[place.0].gateway.sockets;
        if let Some(socket) = sockets.get_mut(&place.1) {
            socket.unsent.clear();
            socket.closed = Some(CloseMode::Reset);
            self.look(place);
        }
    }

    fn expect_at_gateway(&mut self, place: Place) {
        let Some(link) = self.links.get_mut(&place) else {
            return;
        };
        if let Some(next_ns) = link.to_gateway.next_ns() {
            let at_ns = next_ns.max(self.now_ns);
            if link.due_at_gateway_ns.is_none_or(|due_ns| at_ns < due_ns) {
                link.due_at_gateway_ns = Some(at_ns);
                self.schedule(at_ns, Event::ArrivesAtGateway(place));
            }
        }
    }

    pub(super) fn arrive_at_gateway(&mut self, place: Place) {
        let (now_ns, conn) = (self.now_ns, place.1);
        let Some(link) = self.links.get_mut(&place) else {
            return;
        };
        link.due_at_gateway_ns = None;
        if link.gateway_gone {
            if let Some(Parcel::Bytes(_)) = link.to_gateway.take(now_ns, usize::MAX) {
                link.to_gateway.clear();
                let (weather, rng) = (link.weather, &mut self.rng);
                link.to_peer.end(now_ns, Parcel::Reset, &weather, rng);
                self.expect_at_peer(place, 0);
            }
            return;
        }
        let gateway = &mut self.workers[place.0].gateway;
        gateway.now_ns = now_ns;
        let Some(socket) = gateway.sockets.get_mut(&conn) else {
            return;
        };
        if !socket.reads || socket.closed.is_some() {
            if link.to_gateway.has_reset(now_ns) {
                if link.notices_resets || !socket.unsent.is_empty() || socket.closed.is_some() {
                    gateway.deliver_closed(conn);
                } else {
                    socket.broken = true;
                }
            }
            return;
        }
        match link.to_gateway.take(now_ns, link.weather.read_max_bytes) {
            None => {}
            Some(Parcel::Bytes(bytes)) => {
                gateway.deliver(conn, &bytes);
                let at_ns = now_ns + self.rng.below(MS);
                self.schedule(at_ns, Event::PeerHasRoom(place, bytes.len()));
            }
            Some(Parcel::Fin) => gateway.deliver_eof(conn),
            Some(Parcel::Reset) => gateway.deliver_closed(conn),
        }
        self.expect_at_gateway(place);
    }

    // ---- the peer's end

    pub(super) fn expect_at_peer(&mut self, place: Place, gap_ns: u64) {
        let Some(link) = self.links.get_mut(&place) else {
            return;
        };
        if let Some(next_ns) = link.to_peer.next_ns() {
            let at_ns = next_ns.max(self.now_ns + gap_ns);
            if link.due_at_peer_ns.is_none() {
                link.due_at_peer_ns = Some(at_ns);
                self.schedule(at_ns, Event::ArrivesAtPeer(place));
            }
        }
    }

    pub(super) fn arrive_at_peer(&mut self, place: Place) {
        let now_ns = self.now_ns;
        let Some(link) = self.links.get_mut(&place) else {
            return;
        };
        link.due_at_peer_ns = None;
        if link.peer.is_gone {
            link.to_peer.clear();
            return;
        }
        if !link.peer.reads && !link.to_peer.has_reset(now_ns) {
            return;
        }
        let (read_max_bytes, gap_ns) = link.weather.peer_read;
        match link.to_peer.take(now_ns, read_max_bytes) {
            None => {}
            Some(Parcel::Bytes(bytes)) => {
                link.peer.receive(&bytes);
                let at_ns = now_ns + self.rng.below(MS);
                self.schedule(at_ns, Event::GatewayHasRoom(place, bytes.len()));
            }
            Some(Parcel::Fin) => link.peer.receive_end(true, link.stubborn),
            Some(Parcel::Reset) => link.peer.receive_end(false, false),
        }
        self.advance_peer(place);
        self.expect_at_peer(place, gap_ns);
    }

    pub(super) fn advance_peer(&mut self, place: Place) {
        let now_ns = self.now_ns;
        self.find_answers(place);
        let Some(link) = self.links.get_mut(&place) else {
            return;
        };
        let weather = link.weather;
        for act in link.peer.act(now_ns, link.peer_room) {
            let Some(link) = self.links.get_mut(&place) else {
                return;
            };
            let rng = &mut self.rng;
            match act {
                Act::Send(bytes) => {
                    link.peer_room -= bytes.len();
                    link.to_gateway.send(now_ns, &bytes, &weather, rng);
                }
                Act::WakeAt(at_ns) => self.schedule(at_ns, Event::PeerWakes(place)),
                Act::Read => self.expect_at_peer(place, 0),
                Act::Taint => self.workers[place.0].gateway.ledger.taint(place.1),
                Act::Fin => link.to_gateway.end(now_ns, Parcel::Fin, &weather, rng),
                Act::Reset => {
                    link.to_gateway.end(now_ns, Parcel::Reset, &weather, rng);
                    link.to_peer.clear();
                }
            }
        }
        self.expect_at_gateway(place);
    }

    /// A target looks up what to say to requests that have come.
    fn find_answers(&mut self, place: Place) {
        let Some(link) = self.links.get_mut(&place) else {
            return;
        };
        if link.peer.role != Role::Target {
            return;
        }
        while let Some(message) = link.peer.incoming.messages.get(link.peer.answered_count) {
            let index = link.peer.answered_count;
            link.peer.answered_count += 1;
            let plan = self.plans.get(number_in(self.seed, message));
            let switches = plan.is_some_and(|plan| plan.response.switches);
            link.peer.incoming.resolve_upgrade(switches);
            let steps = match plan {
                Some(plan) => {
                    let (number, rng) = (plan.number, &mut self.rng);
                    plan.response
                        .steps(rng, number, &plan.id, &plan.request, index)
                }
                None => vec![
                    Step::AwaitRequest(index, u64::MAX),
                    Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()),
                ],
            };
            link.peer.follow(steps);
        }
    }
}

/// The number of the exchange that a request belongs to, or one that no exchange has.
pub(super) fn number_in(seed: u64, message: &Message) -> usize {
    message
        .field("x-sim-exchange")
        .and_then(|id| number_of(seed, id))
        .map_or(usize::MAX, |number| number as usize)
}
