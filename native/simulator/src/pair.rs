//! A gateway between a caller and a target that a test plays by hand.
//!
//! Nothing takes time but [`Pair::advance`], and nothing is cut into pieces but by the test: what is sent
//! arrives at once. That makes a scenario read like a dialogue.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gatewayx_engine::{CloseMode, ConnId, DialError, Key};

use crate::gateway::{Gateway, Style, Wish};

/// A configuration with one proxy for everything, to be changed by index.
pub fn one_proxy() -> serde_json::Value {
    serde_json::json!({
        "proxies": [{
            "name": "sidecar", "block": 1, "path": "/",
            "upstreams": [{"host": "target", "port": 80, "authority": "target"}],
            "timeout": {},
        }],
        "downstream": {}, "upstream_pool": {}, "buffer": {},
        "access_log": {"enabled": true},
    })
}

/// What becomes of dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialling {
    /// They succeed at once.
    Succeeds,
    /// They are refused at once.
    Fails,
    /// Nobody answers.
    Hangs,
}

/// How a connection ended for its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// After everything that was sent.
    Cleanly,
    /// At once.
    ByReset,
}

#[derive(Debug, Default)]
struct Peer {
    received: Vec<u8>,
    /// Sent while the gateway does not read.
    waiting: VecDeque<u8>,
    has_shut_down: bool,
    ended: Option<Ended>,
}

/// The gateway and both of its peers.
pub struct Pair {
    /// The gateway.
    pub gateway: Gateway,
    /// What becomes of dials.
    pub dialling: Dialling,
    /// Dials that have been cancelled by the gateway.
    pub cancelled_count: usize,
    /// Connections opened to targets.
    pub dials_count: usize,
    peers: BTreeMap<ConnId, Peer>,
    accepted: VecDeque<ConnId>,
    hanging: VecDeque<Key>,
}

impl Pair {
    /// A pair with the configuration of a JSON document.
    pub fn new(cfg: &serde_json::Value) -> Self {
        Self {
            gateway: Gateway::new(cfg, Style::default(), 1),
            dialling: Dialling::Succeeds,
            cancelled_count: 0,
            dials_count: 0,
            peers: BTreeMap::new(),
            accepted: VecDeque::new(),
            hanging: VecDeque::new(),
        }
    }

    // ---- connections

    /// A caller connects.
    pub fn connect(&mut self) -> ConnId {
        let conn = self.gateway.open_downstream();
        self.peers.insert(conn, Peer::default());
        self.settle();
        conn
    }

    /// A caller connects and asks.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> ConnId {
        let conn = self.connect();
        self.send(conn, request);
        conn
    }

    /// The next connection that the gateway has opened to a target.
    pub fn accept(&mut self) -> ConnId {
        self.accepted
            .pop_front()
            .expect("the gateway has opened no further connection")
    }

    /// The same, if there is one.
    pub fn try_accept(&mut self) -> Option<ConnId> {
        self.accepted.pop_front()
    }

    /// Whether the gateway has opened no further connection.
    pub fn has_no_dial(&self) -> bool {
        self.accepted.is_empty() && self.hanging.is_empty()
    }

    /// The oldest hanging dial fails.
    pub fn fail_dial(&mut self, error: DialError) {
        let key = self.hanging.pop_front().expect("a dial hangs");
        self.gateway.fail_dial(key, error);
        self.settle();
    }

    /// The same, if one hangs.
    pub fn try_fail_dial(&mut self, error: DialError) {
        if !self.hanging.is_empty() {
            self.fail_dial(error);
        }
    }

    /// A peer sends.
    pub fn send(&mut self, conn: ConnId, bytes: impl AsRef<[u8]>) {
        assert!(!self.has_shut_down(conn), "nothing follows an end");
        self.peer(conn).waiting.extend(bytes.as_ref());
        self.settle();
    }

    /// A peer shuts down its sending side.
    pub fn shut_down(&mut self, conn: ConnId) {
        assert!(
            self.peer(conn).waiting.is_empty(),
            "not everything was read"
        );
        let before = std::mem::replace(&mut self.peer(conn).has_shut_down, true);
        assert!(!before, "a stream ends once");
        self.gateway.deliver_eof(conn);
        self.settle();
    }

    /// The same, unless what it sent before has still to be read.
    pub fn try_shut_down(&mut self, conn: ConnId) {
        if self.peer(conn).waiting.is_empty() && self.is_read(conn) {
            self.shut_down(conn);
        }
    }

    /// Whether a peer has shut down its sending side.
    pub fn has_shut_down(&mut self, conn: ConnId) -> bool {
        self.peer(conn).has_shut_down
    }

    /// A peer resets its connection.
    pub fn reset(&mut self, conn: ConnId) {
        self.gateway.deliver_closed(conn);
        self.peer(conn).ended = Some(Ended::ByReset);
        self.settle();
    }

    /// A peer does not take more than so many bytes from now on.
    pub fn narrow(&mut self, conn: ConnId, window_bytes: usize) {
        let socket = self.gateway.sockets.get_mut(&conn).expect("open");
        socket.window_bytes = window_bytes;
    }

    /// A peer takes so many bytes more.
    pub fn widen(&mut self, conn: ConnId, bytes: usize) {
        self.gateway.widen(conn, bytes);
        self.settle();
    }

    // ---- what the peers see

    /// What a peer has got since the last look.
    pub fn received(&mut self, conn: ConnId) -> String {
        let bytes = std::mem::take(&mut self.peer(conn).received);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How a peer's connection ended.
    pub fn ended(&mut self, conn: ConnId) -> Option<Ended> {
        self.peer(conn).ended
    }

    /// Whether the gateway reads from a peer.
    pub fn is_read(&self, conn: ConnId) -> bool {
        self.gateway.sockets[&conn].reads
    }

    /// Bytes that a peer has sent and the gateway has not read.
    pub fn unread_bytes(&mut self, conn: ConnId) -> usize {
        self.peer(conn).waiting.len()
    }

    /// Bytes that the gateway keeps because a peer does not take them.
    pub fn unsent_bytes(&self, conn: ConnId) -> usize {
        self.gateway.sockets[&conn].unsent.len()
    }

    fn peer(&mut self, conn: ConnId) -> &mut Peer {
        self.peers.get_mut(&conn).expect("a peer of this pair")
    }

    // ---- time

    /// Lets time pass; deadlines on the way are kept to the nanosecond.
    pub fn advance(&mut self, time: Duration) {
        let end_ns = self.gateway.now_ns + time.as_nanos() as u64;
        while let Some(at_ns) = self.gateway.timer_ns()
            && at_ns <= end_ns
        {
            self.gateway.now_ns = self.gateway.now_ns.max(at_ns);
            self.gateway.fire_timer();
            self.settle();
        }
        self.gateway.now_ns = end_ns;
    }

    /// Does what the gateway wishes, and hands it what waits, until nothing is left to do.
    pub fn settle(&mut self) {
        loop {
            let wishes = std::mem::take(&mut self.gateway.wishes);
            for wish in &wishes {
                match *wish {
                    Wish::Dial(key, _) => self.dial(key),
                    Wish::CancelDial(key) => {
                        self.cancelled_count += 1;
                        self.hanging.retain(|&hanging| hanging != key);
                    }
                    Wish::Look(conn) => self.fetch(conn),
                    Wish::Wake(_) => unreachable!("there is one worker"),
                }
            }
            let handed = self.hand_over();
            if wishes.is_empty() && !handed {
                return;
            }
        }
    }

    fn dial(&mut self, key: Key) {
        match self.dialling {
            Dialling::Succeeds => {
                self.dials_count += 1;
                if let Some(conn) = self.gateway.complete_dial(key) {
                    self.peers.insert(conn, Peer::default());
                    self.accepted.push_back(conn);
                }
            }
            Dialling::Fails => self.gateway.fail_dial(key, DialError::Failed),
            Dialling::Hangs => self.hanging.push_back(key),
        }
    }

    /// What the kernel has taken reaches the peer at once.
    fn fetch(&mut self, conn: ConnId) {
        let Some(socket) = self.gateway.sockets.get_mut(&conn) else {
            return;
        };
        let bytes = std::mem::take(&mut socket.taken);
        let done = socket.unsent.is_empty();
        let (closed, shut_down) = (socket.closed, socket.shut_down);
        let peer = self.peers.get_mut(&conn).expect("a peer of this pair");
        peer.received.extend_from_slice(&bytes);
        match closed {
            Some(CloseMode::Reset) => peer.ended = Some(Ended::ByReset),
            Some(CloseMode::Graceful) if done => peer.ended = Some(Ended::Cleanly),
            None if shut_down && done => peer.ended = Some(Ended::Cleanly),
            _ => return,
        }
        if closed.is_some() {
            self.gateway.sockets.remove(&conn);
        }
    }

    fn hand_over(&mut self) -> bool {
        for (&conn, peer) in &mut self.peers {
            let reads = self
                .gateway
                .sockets
                .get(&conn)
                .is_some_and(|socket| socket.reads && socket.closed.is_none());
            if reads && !peer.waiting.is_empty() {
                const READ_MAX_BYTES: usize = 32 * 1024;
                let count = peer.waiting.len().min(READ_MAX_BYTES);
                let bytes: Vec<u8> = peer.waiting.drain(..count).collect();
                self.gateway.deliver(conn, &bytes);
                return true;
            }
        }
        false
    }
}
