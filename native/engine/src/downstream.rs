//! A caller's connection and the one exchange that it may have under way.
//!
//! ```text
//!            head whole                 body whole
//!   Head ───────────────► RequestBody ─────────────► Response ──► Head (keep-alive)
//!    │                        │                          │
//!    │ refused                │ answered early           │ 101
//!    ▼                        ▼                          ▼
//!  Discard / Linger ◄──── Discard / Linger            Tunnel
//! ```
//!
//! `Discard` reads a small refused body so that the connection can serve on; `Linger` has sent its last
//! byte and reads a little longer so that a reset does not overtake it.

use std::rc::Rc;

use gatewayx_auth::Caller;
use gatewayx_http::{HeadScan, Method, Version};
use gatewayx_policy::Ticket;

use crate::body::Body;
use crate::error::Reason;
use crate::fault::ActiveFault;
use crate::output::Outbox;
use crate::proxy::Proxy;
use crate::queue::Place;
use crate::rate_limit::Quota;
use crate::rewrite::{HeadParts, OutFraming};
use crate::slab::Key;
use crate::timers::{NEVER, Timer};
use crate::trace::Trace;

/// Longest text of an address: an IPv6 one with an embedded IPv4 address.
const PEER_MAX_BYTES: usize = 45;

/// Buffers larger than this are given back between exchanges.
const KEEP_MAX_BYTES: usize = 4 * 1024;

/// The caller's address as text.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    text: [u8; PEER_MAX_BYTES],
    len: u8,
}

impl Peer {
    /// Takes an address as text; what is no address (a Unix socket) becomes `unknown`.
    pub fn new(text: &str) -> Self {
        let text = if text.is_empty() || text.len() > PEER_MAX_BYTES {
            "unknown"
        } else {
            text
        };
        let mut peer = Self {
            text: [0; PEER_MAX_BYTES],
            len: text.len() as u8,
        };
        peer.text[..text.len()].copy_from_slice(text.as_bytes());
        peer
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }
}

/// Where a caller's connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DownstreamPhase {
    /// Waiting for a request, or for the rest of its head.
    Head,
    /// The body is being forwarded.
    RequestBody,
    /// The request is whole; the response is awaited or being forwarded.
    Response,
    /// So many bytes of a refused body are still to be read.
    Discard,
    /// Everything is sent; what still arrives is thrown away.
    Linger,
    /// Bytes go both ways after a 101.
    Tunnel,
}

pub(crate) struct Downstream {
    // connection
    pub(crate) peer: Peer,
    /// Whom the present request comes from: the peer, or whom a trusted one names.
    pub(crate) client: Peer,
    /// Counted among all connections.
    pub(crate) holds_place: bool,
    /// Counted among those of an address.
    pub(crate) counted_address: Option<u128>,
    /// Its first bytes are the PROXY protocol's header, and it has not come whole.
    pub(crate) awaits_proxy_header: bool,
    pub(crate) phase: DownstreamPhase,
    /// It speaks TLS; see `tls`.
    pub(crate) is_secured: bool,
    /// Bytes received and not yet used: part of a head, pipelined requests, a body without an upstream.
    pub(crate) inbuf: Vec<u8>,
    pub(crate) scan: HeadScan,
    pub(crate) outbox: Outbox,
    /// Bytes of the present head have arrived, so its absolute deadline runs.
    pub(crate) head_begun: bool,
    /// Bytes the driver could not send yet.
    pub(crate) unsent_bytes: usize,
    pub(crate) reading_paused: bool,
    /// The caller has shut down its sending side.
    pub(crate) ended: bool,
    // deadlines; the timer fires at the earlier
    pub(crate) timer: Timer,
    pub(crate) phase_deadline_ns: u64,
    pub(crate) total_deadline_ns: u64,
    // exchange
    pub(crate) exchange: Exchange,
}

impl Downstream {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            peer,
            client: peer,
            holds_place: false,
            counted_address: None,
            awaits_proxy_header: false,
            phase: DownstreamPhase::Head,
            is_secured: false,
            inbuf: Vec::new(),
            scan: HeadScan::default(),
            outbox: Outbox::default(),
            head_begun: true,
            unsent_bytes: 0,
            reading_paused: false,
            ended: false,
            timer: Timer::default(),
            phase_deadline_ns: NEVER,
            total_deadline_ns: NEVER,
            exchange: Exchange::default(),
        }
    }

    /// Whether nothing has arrived of a next request.
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == DownstreamPhase::Head && self.inbuf.is_empty()
    }
}

/// What an exchange without an upstream waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing: it has its upstream, or will have as soon as the connection is there.
    #[default]
    Nothing,
    /// Its turn at the proxy's limit.
    Permit(Place),
    /// The time of the next attempt.
    Backoff,
    /// The time of an injected fault.
    Fault,
}

/// One request and its response.
#[derive(Default)]
pub(crate) struct Exchange {
    /// An exchange is under way: its head was read, or refused.
    pub(crate) active: bool,
    /// `None` until routed.
    pub(crate) proxy: Option<Rc<Proxy>>,
    pub(crate) holds_permit: bool,
    /// The fault that a policy has chosen it for.
    pub(crate) fault: Option<Box<ActiveFault>>,
    /// Who calls, where somebody had to know.
    pub(crate) caller: Option<Rc<Caller>>,
    /// What the rate limit left, where there is one.
    pub(crate) quota: Option<Quota>,
    // request
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) keep_alive: bool,
    /// The caller waits for 100 before it sends the body.
    pub(crate) awaits_continue: bool,
    pub(crate) upgrade: bool,
    pub(crate) body: Body,
    pub(crate) body_chunked: bool,
    /// When the body was first waited for, moved on by the time in which it was not read.
    pub(crate) body_since_ns: u64,
    /// Since when it is not read; 0 while it is.
    pub(crate) body_paused_ns: u64,
    /// Body bytes seen, to hold against the limit.
    pub(crate) body_bytes: u64,
    /// The head as it goes upstream, less what depends on the upstream that is chosen; kept until the
    /// response begins, so that it can be sent again.
    pub(crate) request_head: HeadParts,
    /// Body bytes as they were sent, for another attempt; `None` once there are too many.
    pub(crate) replay: Option<Vec<u8>>,
    pub(crate) request_id: Vec<u8>,
    /// What the peer says of the client is believed.
    pub(crate) peer_trusted: bool,
    /// `None` while tracing is off.
    pub(crate) trace: Option<Trace>,
    /// Method and target, for the log and spans; empty while both are off.
    pub(crate) log_method: Vec<u8>,
    pub(crate) log_target: Vec<u8>,
    // waiting
    pub(crate) wait: Wait,
    /// 0 to 9.
    pub(crate) urgency: u8,
    // upstream
    pub(crate) upstream: Option<Key>,
    /// Index into the proxy's targets; meaningful once `attempts_count` is not 0.
    pub(crate) target: usize,
    /// Targets tried so far, as bits.
    pub(crate) tried: u64,
    pub(crate) attempts_count: u32,
    /// The one repetition that a late close of a pooled connection gets for free has been used.
    pub(crate) late_close_repeated: bool,
    /// An attempt is under way that the balancer and the breaker have not heard the end of.
    pub(crate) attempt_open: bool,
    pub(crate) ticket: Option<Ticket>,
    /// Since when the present attempt's upstream has all that it needs to answer; `NEVER` before.
    pub(crate) waits_since_ns: u64,
    /// When its response head was there; 0 before.
    pub(crate) head_ns: u64,
    /// For consistent hashing.
    pub(crate) key_hash: u64,
    // response
    pub(crate) status: u16,
    pub(crate) response_started: bool,
    pub(crate) out_framing: OutFraming,
    pub(crate) informational_count: u8,
    pub(crate) reason: Option<Reason>,
    // books
    pub(crate) started_ns: u64,
    pub(crate) dispatched_ns: u64,
    pub(crate) upstream_ended_ns: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) concurrent_count: u64,
}

impl Exchange {
    /// How long the upstream of the present attempt took to begin its response, or has taken so far.
    pub(crate) fn waited_ns(&self, now_ns: u64) -> u64 {
        let until_ns = if self.head_ns > 0 {
            self.head_ns
        } else {
            now_ns
        };
        until_ns.saturating_sub(self.waits_since_ns)
    }

    /// Makes ready for the next exchange. Small buffers keep their memory, so that a busy connection
    /// allocates nothing a request.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            request_head: HeadParts {
                bytes: emptied(&mut self.request_head.bytes),
                ..HeadParts::default()
            },
            request_id: emptied(&mut self.request_id),
            log_method: emptied(&mut self.log_method),
            log_target: emptied(&mut self.log_target),
            ..Self::default()
        };
    }
}

fn emptied(buf: &mut Vec<u8>) -> Vec<u8> {
    let mut buf = std::mem::take(buf);
    if buf.capacity() > KEEP_MAX_BYTES {
        return Vec::new();
    }
    buf.clear();
    buf
}
