//! The engine: its state, its inputs and its outputs. What an input leads to stands in `request.rs` (caller
//! to target), `response.rs` (target to caller) and `finish.rs` (how exchanges and connections end).

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use gatewayx_auth::Authenticator;
use gatewayx_http::{HeadLimits, RequestHead, ResponseHead};
use gatewayx_policy::fault::Plan;
use gatewayx_telemetry::{Cells, Region};

use crate::admission::Addresses;
use crate::config::{Config, ListenerConfig};
use crate::downstream::{Downstream, DownstreamPhase, Peer, Wait};
use crate::error::Reason;
use crate::metrics::cell;
use crate::output::{Action, CloseMode, ConnId, Output, SegmentId, Segments};
use crate::pool::IdlePool;
use crate::proxy::{Proxy, Target};
use crate::request_id::RequestIds;
use crate::route::Routes;
use crate::slab::{Key, Slab};
use crate::timers::{Due, NEVER, Timers};
use crate::tls::Sessions;
use crate::upstream::{Upstream, UpstreamPhase};

/// Why a dial gave no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialError {
    /// Refused, unreachable, or the name is unknown.
    Failed,
    /// The driver gave up before the engine's own deadline.
    TimedOut,
}

/// One worker's proxy. See the crate documentation for the contract with its driver.
pub struct Engine {
    // configuration
    pub(crate) cfg: Config,
    pub(crate) limits: HeadLimits,
    pub(crate) via_line: Vec<u8>,
    pub(crate) routes: Routes,
    pub(crate) authenticator: RefCell<Authenticator>,
    pub(crate) proxies: Vec<Rc<Proxy>>,
    pub(crate) targets: Vec<Target>,
    pub(crate) target_ids: HashMap<Target, u32>,
    /// Every address that was ever listened on, and what callers who come there see.
    pub(crate) listeners: Vec<(String, ListenerConfig)>,
    pub(crate) addresses: Addresses,
    /// Shared cells and those of every slot, of block 0.
    pub(crate) connection_cells: (Cells, Vec<Cells>),
    // connections
    pub(crate) downstreams: Slab<Downstream>,
    pub(crate) upstreams: Slab<Upstream>,
    pub(crate) sessions: Sessions,
    pub(crate) pool: IdlePool,
    pub(crate) timers: Timers,
    pub(crate) draining: bool,
    /// What policies inject.
    pub(crate) faults: Plan,
    /// Proxies with permits that came free in the present drain while somebody waits, and when.
    pub(crate) freed: Vec<(Rc<Proxy>, u64)>,
    // outputs
    pub(crate) out: Output,
    pub(crate) access_log: Vec<u8>,
    pub(crate) spans: Vec<u8>,
    /// The log or a span will want the method and the path.
    pub(crate) records_requests: bool,
    /// What to add to `now_ns` to get nanoseconds since 1970.
    pub(crate) wall_offset_ns: u64,
    // metrics
    pub(crate) region: Region,
    pub(crate) slot: u32,
    pub(crate) cells: Cells,
    // scratch, kept for its memory
    pub(crate) request_head: RequestHead,
    pub(crate) response_head: ResponseHead,
    pub(crate) ids: RequestIds,
}

impl Engine {
    /// An engine that records into `slot` of `region` and draws request ids from `seed`.
    pub fn new(cfg: Config, region: Region, slot: u32, seed: u64) -> Self {
        let mut engine = Self {
            limits: HeadLimits::default(),
            via_line: Vec::new(),
            routes: Routes::default(),
            authenticator: RefCell::default(),
            proxies: Vec::new(),
            targets: Vec::new(),
            target_ids: HashMap::new(),
            downstreams: Slab::new(),
            upstreams: Slab::new(),
            sessions: Sessions::default(),
            listeners: Vec::new(),
            addresses: Addresses::default(),
            connection_cells: (
                region.shared(0),
                (0..region.geometry().slots_count)
                    .map(|slot| region.cells(slot, 0))
                    .collect(),
            ),
            pool: IdlePool::default(),
            timers: Timers::default(),
            draining: false,
            faults: Plan::default(),
            freed: Vec::new(),
            out: Output::default(),
            access_log: Vec::new(),
            spans: Vec::new(),
            records_requests: false,
            wall_offset_ns: 0,
            cells: region.cells(slot, 0),
            region,
            slot,
            request_head: RequestHead::default(),
            response_head: ResponseHead::default(),
            ids: RequestIds::new(seed),
            cfg,
        };
        engine.install();
        engine
    }

    /// Tells the engine what to add to its clock to get Unix time; the access log needs it.
    pub fn set_wall_offset_ns(&mut self, wall_offset_ns: u64) {
        self.wall_offset_ns = wall_offset_ns;
    }

    // ---- inputs: callers

    /// The number of the listener at `address`, as the configuration writes it.
    pub fn listener(&mut self, address: &str) -> u32 {
        let known = self
            .listeners
            .iter()
            .position(|(known, _)| known == address);
        let index = known.unwrap_or_else(|| {
            let cfg = self.cfg.listeners.get(address).cloned();
            self.listeners
                .push((address.to_owned(), cfg.unwrap_or_default()));
            self.listeners.len() - 1
        });
        index as u32
    }

    /// A caller has connected, at a listener that [`Self::listener`] knows.
    pub fn handle_downstream_opened(&mut self, now_ns: u64, peer: Peer, listener: u32) -> Key {
        self.tidy_timers();
        let key = self.downstreams.insert(Downstream::new(peer));
        self.cells.add(cell::DOWNSTREAM_ACCEPTED, 1);
        self.cells.add(cell::DOWNSTREAM_OPEN, 1);
        let deadline_ns = after(now_ns, self.cfg.downstream.request_head_ms);
        self.set_phase_deadline(key, deadline_ns);
        let listener = self.listeners.get(listener as usize);
        let tls = listener.and_then(|(_, listener)| listener.tls.clone());
        self.downstreams[key].awaits_proxy_header =
            listener.is_some_and(|(_, listener)| listener.proxy_protocol);
        self.admit_connection(key);
        if let Some(tls) = tls {
            self.secure_downstream(key, &tls);
        }
        key
    }

    /// A caller has sent bytes. `input` must stay as it is until the drain that follows has ended.
    pub fn handle_downstream_data(&mut self, now_ns: u64, key: Key, input: &[u8]) {
        match self.downstreams.find(key) {
            None => {}
            Some(downstream) if downstream.awaits_proxy_header => {
                downstream.inbuf.extend_from_slice(input);
                let bytes = std::mem::take(&mut downstream.inbuf);
                match self.read_proxy_header(key, &bytes) {
                    Some(used) if used < bytes.len() => {
                        self.handle_downstream_data(now_ns, key, &bytes[used..]);
                    }
                    Some(_) => {}
                    None => {
                        if let Some(downstream) = self.downstreams.find(key) {
                            downstream.inbuf = bytes;
                        }
                    }
                }
            }
            Some(downstream) if downstream.is_secured => self.open_downstream(now_ns, key, input),
            Some(_) => self.read_from_downstream(now_ns, key, input, true),
        }
    }

    /// What a caller has sent, as HTTP sees it. `is_input`: the bytes are the driver's input.
    #[inline]
    pub(crate) fn read_from_downstream(
        &mut self,
        now_ns: u64,
        key: Key,
        input: &[u8],
        is_input: bool,
    ) {
        let Some(downstream) = self.downstreams.find(key) else {
            return;
        };
        if !downstream.inbuf.is_empty() {
            downstream.inbuf.extend_from_slice(input);
            return self.reread_downstream(now_ns, key);
        }
        let used = self.read_downstream(now_ns, key, input, is_input);
        if used < input.len()
            && let Some(downstream) = self.downstreams.find(key)
        {
            downstream.inbuf.extend_from_slice(&input[used..]);
        }
        self.regulate_downstream(now_ns, key);
    }

    /// Goes on with bytes that were kept: a next request, or a body that waited for its upstream.
    pub(crate) fn reread_downstream(&mut self, now_ns: u64, key: Key) {
        let Some(downstream) = self.downstreams.find(key) else {
            return;
        };
        let mut kept = std::mem::take(&mut downstream.inbuf);
        let used = self.read_downstream(now_ns, key, &kept, false);
        if used < kept.len()
            && let Some(downstream) = self.downstreams.find(key)
        {
            kept.drain(..used);
            downstream.inbuf = kept;
        }
        self.regulate_downstream(now_ns, key);
    }

    /// A caller has shut down its sending side, or closed.
    pub fn handle_downstream_eof(&mut self, now_ns: u64, key: Key) {
        if !self.end_is_known(ConnId::Downstream(key)) {
            self.end_downstream(now_ns, key);
        }
    }

    pub(crate) fn end_downstream(&mut self, now_ns: u64, key: Key) {
        let Some(downstream) = self.downstreams.find(key) else {
            return;
        };
        match downstream.phase {
            DownstreamPhase::Head if downstream.inbuf.is_empty() => {
                self.remove_downstream(key, CloseMode::Graceful);
            }
            DownstreamPhase::Head => self.refuse(now_ns, key, Reason::RequestIncomplete),
            DownstreamPhase::RequestBody => self.fail(now_ns, key, Reason::RequestIncomplete),
            DownstreamPhase::Response => self.fail(now_ns, key, Reason::DownstreamClosed),
            DownstreamPhase::Discard | DownstreamPhase::Linger => {
                self.remove_downstream(key, CloseMode::Graceful);
            }
            DownstreamPhase::Tunnel => {
                downstream.ended = true;
                self.end_tunnel_side(now_ns, key, true);
            }
        }
    }

    /// A caller's connection is gone.
    pub fn handle_downstream_closed(&mut self, now_ns: u64, key: Key) {
        if !self.downstreams.contains(key) {
            return;
        }
        if self.downstreams[key].exchange.active {
            self.fail(now_ns, key, Reason::DownstreamClosed);
        }
        self.remove_downstream(key, CloseMode::Reset);
    }

    // ---- inputs: targets

    /// A connection asked for by [`Action::Connect`] is open. `false`: it is not wanted any more.
    pub fn handle_upstream_opened(&mut self, now_ns: u64, key: Key) -> bool {
        let Some(upstream) = self.upstreams.find(key) else {
            return false;
        };
        let Some(downstream) = upstream.downstream else {
            return false;
        };
        let target = self.downstreams[downstream].exchange.target;
        let proxy = upstream.proxy.clone();
        match &proxy.targets[target].tls {
            None => self.begin_upstream(now_ns, key),
            Some((tls, name)) => self.secure_upstream(now_ns, key, tls.as_ref(), name),
        }
        true
    }

    /// A connection is of use: the request that it was opened for goes out.
    pub(crate) fn begin_upstream(&mut self, now_ns: u64, key: Key) {
        let upstream = &mut self.upstreams[key];
        let Some(downstream) = upstream.downstream else {
            return;
        };
        upstream.phase = UpstreamPhase::AwaitingHead;
        upstream.proxy.cells.add(cell::UPSTREAM_CONNECTS, 1);
        upstream.proxy.cells.add(cell::UPSTREAM_ACTIVE, 1);
        self.send_request(now_ns, downstream);
        self.reread_downstream(now_ns, downstream);
    }

    /// A connection asked for could not be opened.
    pub fn handle_connect_failed(&mut self, now_ns: u64, key: Key, error: DialError) {
        let Some(upstream) = self.upstreams.remove(key) else {
            return;
        };
        let Some(downstream) = upstream.downstream else {
            return;
        };
        self.downstreams[downstream].exchange.upstream = None;
        let reason = match error {
            DialError::Failed => Reason::DialFailed,
            DialError::TimedOut => Reason::DialTimeout,
        };
        self.fail_attempt(now_ns, downstream, reason);
        self.reread_downstream(now_ns, downstream);
    }

    /// A target has sent bytes. `input` must stay as it is until the drain that follows has ended.
    pub fn handle_upstream_data(&mut self, now_ns: u64, key: Key, input: &[u8]) {
        match self.upstreams.find(key) {
            None => {}
            Some(upstream) if upstream.is_secured => self.open_upstream(now_ns, key, input),
            Some(_) => self.read_from_upstream(now_ns, key, input, true),
        }
    }

    /// What a target has sent, as HTTP sees it. `is_input`: the bytes are the driver's input.
    #[inline]
    pub(crate) fn read_from_upstream(
        &mut self,
        now_ns: u64,
        key: Key,
        input: &[u8],
        is_input: bool,
    ) {
        let Some(upstream) = self.upstreams.find(key) else {
            return;
        };
        let downstream = upstream.downstream;
        if upstream.inbuf.is_empty() {
            let used = self.read_upstream(now_ns, key, input, is_input);
            if used < input.len()
                && let Some(upstream) = self.upstreams.find(key)
            {
                upstream.inbuf.extend_from_slice(&input[used..]);
            }
        } else {
            upstream.inbuf.extend_from_slice(input);
            self.reread_upstream(now_ns, key);
        }
        self.pace_upstream(now_ns, key);
        if let Some(downstream) = downstream {
            self.settle_downstream(now_ns, downstream);
        }
    }

    /// Goes on with bytes of a target that were kept.
    pub(crate) fn reread_upstream(&mut self, now_ns: u64, key: Key) {
        let Some(upstream) = self.upstreams.find(key) else {
            return;
        };
        let mut kept = std::mem::take(&mut upstream.inbuf);
        let used = self.read_upstream(now_ns, key, &kept, false);
        if used < kept.len()
            && let Some(upstream) = self.upstreams.find(key)
        {
            kept.drain(..used);
            upstream.inbuf = kept;
        }
    }

    /// A target has shut down its sending side.
    pub fn handle_upstream_eof(&mut self, now_ns: u64, key: Key) {
        if self.end_is_known(ConnId::Upstream(key)) {
            return;
        }
        // Within TLS an end that is not announced is a cut (RFC 8446 section 6.1).
        let clean = !self
            .upstreams
            .find(key)
            .is_some_and(|upstream| upstream.is_secured);
        self.handle_upstream_end(now_ns, key, clean);
    }

    /// A target's connection is gone.
    pub fn handle_upstream_closed(&mut self, now_ns: u64, key: Key) {
        self.handle_upstream_end(now_ns, key, false);
    }

    pub(crate) fn handle_upstream_end(&mut self, now_ns: u64, key: Key, clean: bool) {
        let Some(upstream) = self.upstreams.find(key) else {
            return;
        };
        let downstream = upstream.downstream;
        self.release_faulted_body(now_ns, key);
        if self.upstreams.contains(key) {
            self.end_upstream(now_ns, key, clean);
        }
        if let Some(downstream) = downstream {
            self.settle_downstream(now_ns, downstream);
        }
    }

    /// Bytes to a target were refused by the kernel. What it has answered may still be read.
    pub fn handle_upstream_send_failed(&mut self, key: Key) {
        if let Some(upstream) = self.upstreams.find(key) {
            upstream.send_failed = true;
        }
    }

    // ---- inputs: flow control, time, life cycle

    /// So many bytes to `conn` wait to be sent; `0` when all are on their way.
    pub fn handle_unsent(&mut self, now_ns: u64, conn: ConnId, unsent_bytes: usize) {
        match conn {
            ConnId::Downstream(key) => {
                let Some(downstream) = self.downstreams.find(key) else {
                    return;
                };
                downstream.unsent_bytes = unsent_bytes;
                if downstream.phase == DownstreamPhase::Response
                    && downstream.exchange.wait == Wait::Nothing
                {
                    let deadline_ns = self.stall_deadline(now_ns, unsent_bytes);
                    self.set_phase_deadline(key, deadline_ns);
                }
                if let Some(upstream) = self.downstreams[key].exchange.upstream {
                    self.regulate_upstream(now_ns, upstream);
                }
                self.settle_downstream(now_ns, key);
            }
            ConnId::Upstream(key) => {
                let Some(upstream) = self.upstreams.find(key) else {
                    return;
                };
                upstream.unsent_bytes = unsent_bytes;
                if let Some(downstream) = upstream.downstream {
                    self.arm_request_stall(now_ns, key);
                    self.settle_downstream(now_ns, downstream);
                }
            }
        }
    }

    /// The time that [`Self::poll_deadline`] named has come (or any other time).
    pub fn handle_timer(&mut self, now_ns: u64) {
        while let Some(entry) = self.timers.pop_due(now_ns) {
            match entry.1 {
                ConnId::Downstream(key) => {
                    let Some(downstream) = self.downstreams.find(key) else {
                        continue;
                    };
                    if let Due::Fired = self.timers.settle(entry, &mut downstream.timer, now_ns) {
                        self.on_downstream_timer(now_ns, key);
                        self.settle_downstream(now_ns, key);
                    }
                }
                ConnId::Upstream(key) => {
                    let Some(upstream) = self.upstreams.find(key) else {
                        continue;
                    };
                    let downstream = upstream.downstream;
                    if let Due::Fired = self.timers.settle(entry, &mut upstream.timer, now_ns) {
                        self.on_upstream_timer(now_ns, key);
                        if let Some(downstream) = downstream {
                            self.settle_downstream(now_ns, downstream);
                        }
                    }
                }
            }
        }
    }

    /// A permit may have come free that a request here waits for.
    pub fn handle_wake(&mut self, now_ns: u64) {
        for index in 0..self.proxies.len() {
            let proxy = self.proxies[index].clone();
            self.grant_permits(now_ns, &proxy);
        }
    }

    /// Stops serving: idle connections close now, busy ones after their exchange.
    pub fn handle_drain(&mut self) {
        self.draining = true;
        let idle: Vec<Key> = self
            .downstreams
            .keys()
            .filter(|&key| self.downstreams[key].is_idle())
            .collect();
        for key in idle {
            self.remove_downstream(key, CloseMode::Graceful);
        }
        self.close_idle_upstreams();
    }

    /// Closes every connection at once; exchanges under way are cut.
    pub fn handle_shutdown(&mut self, now_ns: u64) {
        self.draining = true;
        for key in self.downstreams.keys().collect::<Vec<_>>() {
            self.handle_downstream_closed(now_ns, key);
        }
        self.close_idle_upstreams();
    }

    fn close_idle_upstreams(&mut self) {
        let idle: Vec<Key> = self
            .upstreams
            .keys()
            .filter(|&key| self.upstreams[key].phase == UpstreamPhase::Idle)
            .collect();
        for key in idle {
            self.close_upstream(key, CloseMode::Graceful);
        }
    }

    // ---- outputs

    /// The next thing to do; `None` ends the drain, and with it every range handed out.
    #[inline]
    pub fn poll_action(&mut self) -> Option<Action> {
        let mut action = self.out.pop_action();
        while action.is_none()
            && let Some((proxy, now_ns)) = self.freed.pop()
        {
            // What has been sent is sent: bytes for the same connection need a send of their own.
            self.close_outboxes();
            self.pass_permit_on(now_ns, &proxy);
            action = self.out.pop_action();
        }
        if action.is_none() {
            self.close_outboxes();
            self.out.clear();
        }
        if let Some(Action::Close { conn, .. }) = action
            && !self.sessions.is_empty()
        {
            self.sessions.remove(conn);
        }
        action
    }

    /// The bytes of an [`Action::Send`], given the input of the present drain (empty if it had none).
    #[inline]
    pub fn segments<'a>(&'a self, first: SegmentId, input: &'a [u8]) -> Segments<'a> {
        self.out.segments(first, input)
    }

    /// When to call [`Self::handle_timer`], in the driver's nanoseconds. May be early, is never late.
    #[inline]
    pub fn poll_deadline(&self) -> Option<u64> {
        self.timers.next_ns()
    }

    /// Where an [`Action::Connect`] goes.
    pub fn target(&self, target: u32) -> &Target {
        &self.targets[target as usize]
    }

    /// Finished lines of the access log, taken away by swapping in an empty buffer.
    pub fn access_log(&mut self) -> &mut Vec<u8> {
        &mut self.access_log
    }

    /// Finished spans, one JSON line each, taken away by swapping in an empty buffer.
    pub fn spans(&mut self) -> &mut Vec<u8> {
        &mut self.spans
    }

    /// The name of the proxy that records into `block`.
    pub fn proxy_name(&self, block: u32) -> &str {
        self.proxies
            .iter()
            .find(|proxy| proxy.cfg.block == block)
            .map_or("", |proxy| &proxy.cfg.name)
    }
}

/// The time `wait_ms` from now; `0` is never.
#[inline]
pub(crate) fn after(now_ns: u64, wait_ms: u64) -> u64 {
    if wait_ms == 0 {
        NEVER
    } else {
        now_ns.saturating_add(wait_ms.saturating_mul(1_000_000))
    }
}
