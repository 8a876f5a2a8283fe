//! Where secured connections differ from others.

use rustls::pki_types::ServerName;

use super::session::{Received, Session};
use super::settings::{ClientTls, ServerTls};
use super::wall;
use crate::engine::{Engine, after};
use crate::error::Reason;
use crate::metrics::cell;
use crate::output::{Action, CloseMode, ConnId, SegmentId};
use crate::slab::Key;

impl Engine {
    /// A caller of a listener with certificates: nothing is read of it but through a session.
    pub(crate) fn secure_downstream(&mut self, key: Key, tls: &ServerTls) {
        if !self.downstreams.contains(key) {
            return;
        }
        let Ok(session) = Session::accept(tls) else {
            return self.remove_downstream(key, CloseMode::Reset);
        };
        self.sessions.insert(ConnId::Downstream(key), session);
        self.downstreams[key].is_secured = true;
    }

    /// A target that speaks TLS is connected: the handshake begins, with a deadline of its own.
    pub(crate) fn secure_upstream(
        &mut self,
        now_ns: u64,
        key: Key,
        tls: Option<&ClientTls>,
        name: &str,
    ) {
        self.tell_time(now_ns);
        self.upstreams[key].is_secured = true;
        let name = ServerName::try_from(name.to_owned()).ok();
        let session = tls
            .zip(name)
            .and_then(|(tls, name)| Session::connect(tls, name).ok());
        let Some(session) = session else {
            // Settings that are missing and a name that is none: the control plane has checked both.
            return self.handle_upstream_end(now_ns, key, false);
        };
        self.sessions.insert(ConnId::Upstream(key), session);
        let upstream = &self.upstreams[key];
        let wait_ms = upstream.proxy.cfg.timeout.tls_handshake_ms;
        self.set_upstream_deadline(key, after(now_ns, wait_ms));
        self.nudge(ConnId::Upstream(key));
    }

    /// Ciphertext of a caller.
    pub(crate) fn open_downstream(&mut self, now_ns: u64, key: Key, input: &[u8]) {
        let conn = ConnId::Downstream(key);
        let mut plain = self.sessions.take_plain();
        let received = self.receive(now_ns, conn, input, &mut plain);
        if received.is_ok_and(|received| received.established) {
            let resumed = self
                .sessions
                .find(conn)
                .is_some_and(|found| found.is_resumed());
            let counter = if resumed {
                cell::TLS_RESUMED
            } else {
                cell::TLS_FULL
            };
            self.cells.add(counter, 1);
        }
        if !plain.is_empty() {
            self.read_from_downstream(now_ns, key, &plain, false);
        }
        self.sessions.keep_plain(plain);
        match received {
            Ok(Received { closed: true, .. }) => self.end_downstream(now_ns, key),
            Ok(_) => {}
            Err(()) => self.break_downstream(now_ns, key),
        }
    }

    /// A caller that broke the protocol: it has been told, if it listens.
    fn break_downstream(&mut self, now_ns: u64, key: Key) {
        let established = self
            .sessions
            .find(ConnId::Downstream(key))
            .is_some_and(|session| session.is_established());
        if !established {
            self.cells.add(cell::TLS_FAILED, 1);
        }
        let Some(downstream) = self.downstreams.find(key) else {
            return;
        };
        if downstream.exchange.active {
            return self.fail(now_ns, key, Reason::DownstreamClosed);
        }
        self.remove_downstream(key, CloseMode::Graceful);
    }

    /// Ciphertext of a target.
    pub(crate) fn open_upstream(&mut self, now_ns: u64, key: Key, input: &[u8]) {
        let conn = ConnId::Upstream(key);
        let mut plain = self.sessions.take_plain();
        let received = self.receive(now_ns, conn, input, &mut plain);
        if received.is_ok_and(|received| received.established) {
            let resumed = self
                .sessions
                .find(conn)
                .is_some_and(|found| found.is_resumed());
            let counter = if resumed {
                cell::TLS_RESUMED
            } else {
                cell::TLS_FULL
            };
            self.upstreams[key].proxy.cells.add(counter, 1);
            self.begin_upstream(now_ns, key);
        }
        if !plain.is_empty() {
            self.read_from_upstream(now_ns, key, &plain, false);
        }
        self.sessions.keep_plain(plain);
        match received {
            Ok(Received { closed: true, .. }) => self.handle_upstream_end(now_ns, key, true),
            Ok(_) => {}
            Err(()) => self.handle_upstream_end(now_ns, key, false),
        }
    }

    fn receive(
        &mut self,
        now_ns: u64,
        conn: ConnId,
        input: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Received, ()> {
        self.tell_time(now_ns);
        let Some(session) = self.sessions.find(conn) else {
            return Ok(Received::default());
        };
        let received = session.receive(input, plain).map_err(|_| ());
        if session.wants_write() {
            self.nudge(conn);
        }
        received
    }

    fn tell_time(&self, now_ns: u64) {
        wall::set(now_ns.saturating_add(self.wall_offset_ns));
    }

    /// Why a target's connection that served nobody yet came to nothing.
    pub(crate) fn connecting_failure(&self, key: Key, timed_out: bool) -> Reason {
        match (self.upstreams[key].is_secured, timed_out) {
            (false, false) => Reason::DialFailed,
            (false, true) => Reason::DialTimeout,
            (true, false) => Reason::TlsFailed,
            (true, true) => Reason::TlsTimeout,
        }
    }

    /// The end of what a peer sends has been told within TLS already, so the one of TCP is no news. `None`: it has not.
    pub(crate) fn end_is_known(&mut self, conn: ConnId) -> bool {
        self.sessions
            .find(conn)
            .is_some_and(|session| session.peer_closed())
    }

    /// Tells the peer within TLS that nothing more will be sent: without it a cut cannot be told from an end.
    pub(crate) fn say_goodbye(&mut self, conn: ConnId) {
        if self.sessions.is_empty() {
            return;
        }
        let Some(session) = self.sessions.find(conn) else {
            return;
        };
        session.say_goodbye();
        self.nudge(conn);
    }

    /// No more will be sent.
    pub(crate) fn shut_down(&mut self, conn: ConnId) {
        self.say_goodbye(conn);
        self.out.push_action(Action::ShutdownWrite(conn));
    }

    /// Has the driver send what a session has to say by itself.
    fn nudge(&mut self, conn: ConnId) {
        let outbox = match conn {
            ConnId::Downstream(key) => self.downstreams.find(key).map(|found| &mut found.outbox),
            ConnId::Upstream(key) => self.upstreams.find(key).map(|found| &mut found.outbox),
        };
        if let Some(outbox) = outbox {
            self.out.nudge(conn, outbox);
        }
    }

    /// For an [`crate::Action::Send`]: `true` if what has to be sent is [`Self::sealed`] and not the segments.
    #[inline]
    pub fn seal(&mut self, conn: ConnId, first: SegmentId, input: &[u8]) -> bool {
        !self.sessions.is_empty() && self.sessions.seal(conn, self.out.segments(first, input))
    }

    /// What [`Self::seal`] made, until the next call of it.
    pub fn sealed(&self) -> &[u8] {
        &self.sessions.sealed
    }
}
