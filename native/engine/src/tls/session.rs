//! One secured connection, and all of a worker.

use std::collections::HashMap;
use std::io::{IoSlice, Read, Write};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, Error, HandshakeKind, ServerConnection};

use super::settings::{ClientTls, ServerTls};
use crate::output::ConnId;

/// Scratch memory above this is given back after use.
const KEEP_MAX_BYTES: usize = 256 * 1024;

/// What a piece of ciphertext led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// The handshake is done, since this piece.
    pub(super) established: bool,
    /// The peer has said that it will send no more, in this piece.
    pub(super) closed: bool,
}

/// One connection's TLS state.
pub(super) struct Session {
    conn: Connection,
    established: bool,
    peer_closed: bool,
    /// Nothing is sent after what is sealed next.
    leaves: bool,
}

impl Session {
    /// For a caller. Fails only on settings that `ServerTls` would not have let through.
    pub(super) fn accept(tls: &ServerTls) -> Result<Self, Error> {
        ServerConnection::new(tls.rustls.clone()).map(|conn| Self::new(conn.into()))
    }

    /// For a target, which has to be `name`.
    pub(super) fn connect(tls: &ClientTls, name: ServerName<'static>) -> Result<Self, Error> {
        ClientConnection::new(tls.rustls.clone(), name).map(|conn| Self::new(conn.into()))
    }

    fn new(mut conn: Connection) -> Self {
        // How much may wait is the engine's to say, and it is sealed and taken out at once.
        conn.set_buffer_limit(None);
        Self {
            conn,
            established: false,
            peer_closed: false,
            leaves: false,
        }
    }

    /// Opens what arrived and appends it to `plain`. After an error nothing more is opened; what the peer is to be
    /// told of it waits to be sealed.
    pub(super) fn receive(
        &mut self,
        mut input: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Received, Error> {
        let before = (self.established, self.peer_closed);
        while !input.is_empty() && !self.peer_closed {
            // Takes some at least: it is full only of plaintext, and that is taken out below.
            if !matches!(self.conn.read_tls(&mut input), Ok(1..)) {
                break;
            }
            let state = self.conn.process_new_packets()?;
            let at = plain.len();
            plain.resize(at + state.plaintext_bytes_to_read(), 0);
            let read = self.conn.reader().read_exact(&mut plain[at..]);
            debug_assert!(read.is_ok(), "as much as it said");
            self.peer_closed = state.peer_has_closed();
        }
        self.established = !self.conn.is_handshaking();
        Ok(Received {
            established: self.established && !before.0,
            closed: self.peer_closed && !before.1,
        })
    }

    /// Seals `pieces`, and whatever the protocol has to say before them, and appends it to `sealed`.
    pub(super) fn seal<'a>(
        &mut self,
        pieces: impl Iterator<Item = &'a [u8]>,
        sealed: &mut Vec<u8>,
    ) {
        let slices: Vec<IoSlice<'_>> = pieces
            .filter(|piece| !piece.is_empty())
            .map(IoSlice::new)
            .collect();
        if !slices.is_empty() {
            let len_bytes: usize = slices.iter().map(|slice| slice.len()).sum();
            let written = self.conn.writer().write_vectored(&slices);
            debug_assert!(matches!(written, Ok(taken) if taken == len_bytes));
        }
        if std::mem::take(&mut self.leaves) {
            self.conn.send_close_notify();
        }
        while self.conn.wants_write() && self.conn.write_tls(sealed).is_ok() {}
    }

    /// Whether the protocol has something to say by itself.
    pub(super) fn wants_write(&self) -> bool {
        self.conn.wants_write()
    }

    /// Has the peer told that nothing more will be sent (RFC 8446 section 6.1), behind what is still to be sealed.
    pub(super) fn say_goodbye(&mut self) {
        self.leaves = true;
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub(super) fn is_established(&self) -> bool {
        self.established
    }

    pub(super) fn peer_closed(&self) -> bool {
        self.peer_closed
    }
}

/// The secured connections of a worker. A session outlives its connection's entry in the engine until the driver
/// is told to close, because what was queued before that is still to be sealed.
#[derive(Default)]
pub(crate) struct Sessions {
    by_conn: HashMap<ConnId, Box<Session>>,
    /// What is being read; kept for its memory.
    plain: Vec<u8>,
    /// What the present send consists of.
    pub(super) sealed: Vec<u8>,
}

impl Sessions {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_conn.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_conn.len()
    }

    pub(crate) fn remove(&mut self, conn: ConnId) {
        self.by_conn.remove(&conn);
    }

    pub(super) fn insert(&mut self, conn: ConnId, session: Session) {
        self.by_conn.insert(conn, Box::new(session));
    }

    pub(super) fn find(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.by_conn.get_mut(&conn).map(Box::as_mut)
    }

    /// The memory to open into.
    pub(super) fn take_plain(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.plain)
    }

    pub(super) fn keep_plain(&mut self, mut plain: Vec<u8>) {
        plain.clear();
        plain.shrink_to(KEEP_MAX_BYTES);
        self.plain = plain;
    }

    /// Seals `pieces` for `conn` into `sealed`. `false`: the connection is not secured.
    pub(super) fn seal<'a>(
        &mut self,
        conn: ConnId,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        let Some(session) = self.by_conn.get_mut(&conn) else {
            return false;
        };
        self.sealed.clear();
        self.sealed.shrink_to(KEEP_MAX_BYTES);
        session.seal(pieces, &mut self.sealed);
        true
    }
}
