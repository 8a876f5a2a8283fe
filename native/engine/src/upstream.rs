//! A connection to a target.
//!
//! ```text
//!   Connecting ──► Active ◄──► Idle (pooled)
//!                    │
//!                    └──► Tunnel
//! ```
//!
//! Invariant: `downstream` is set exactly in `Connecting`, `Active` and `Tunnel`; an idle connection is in
//! the pool and owes nobody anything, so a byte that arrives on it condemns it.

use std::rc::Rc;

use gatewayx_http::HeadScan;

use crate::body::Body;
use crate::output::Outbox;
use crate::proxy::Proxy;
use crate::slab::Key;
use crate::timers::Timer;

/// Where a target's connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamPhase {
    /// Being opened, or within its TLS handshake.
    Connecting,
    /// Serving an exchange, before its response head is whole.
    AwaitingHead,
    /// Within the response body.
    ResponseBody,
    /// In the pool.
    Idle,
    /// Bytes go both ways.
    Tunnel,
}

pub(crate) struct Upstream {
    // connection
    pub(crate) target: u32,
    pub(crate) phase: UpstreamPhase,
    /// It speaks TLS; see `tls`.
    pub(crate) is_secured: bool,
    pub(crate) inbuf: Vec<u8>,
    pub(crate) scan: HeadScan,
    pub(crate) outbox: Outbox,
    pub(crate) unsent_bytes: usize,
    pub(crate) reading_paused: bool,
    /// Sending failed: the request cannot be finished, but an answer may still be on its way.
    pub(crate) send_failed: bool,
    /// The target has shut down its sending side (tunnels only; elsewhere that ends the connection).
    pub(crate) ended: bool,
    /// Its address is not the target's any more.
    pub(crate) moved: bool,
    /// Exchanges served before the present one.
    pub(crate) served_count: u32,
    pub(crate) timer: Timer,
    /// Whose metrics the connection counts in: the proxy that used it last.
    pub(crate) proxy: Rc<Proxy>,
    // exchange
    pub(crate) downstream: Option<Key>,
    pub(crate) body: Body,
    /// Whether it may serve again once the response has ended.
    pub(crate) keep_alive: bool,
}

impl Upstream {
    pub(crate) fn connecting(target: u32, proxy: Rc<Proxy>, downstream: Key) -> Self {
        Self {
            target,
            phase: UpstreamPhase::Connecting,
            is_secured: false,
            inbuf: Vec::new(),
            scan: HeadScan::default(),
            outbox: Outbox::default(),
            unsent_bytes: 0,
            reading_paused: false,
            send_failed: false,
            ended: false,
            moved: false,
            served_count: 0,
            timer: Timer::default(),
            proxy,
            downstream: Some(downstream),
            body: Body::Done,
            keep_alive: false,
        }
    }
}
