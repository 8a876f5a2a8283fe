//! The engine behind a model of its driver: the contract of the engine's documentation, line by line.
//!
//! One input, drained fully, then the next. Every byte that goes in or out passes the ledger, and after every
//! drain the books are compared with what can be seen from here. A rule that does not hold is a panic: the
//! runner adds the seed.

mod orders;

use std::collections::BTreeMap;

use gatewayx_engine::config::Config;
use gatewayx_engine::metrics::{Series, geometry};
use gatewayx_engine::{Action, CloseMode, ConnId, Counts, DialError, Engine, Key, Peer};
use gatewayx_telemetry::Region;

use crate::books::{Books, Tally};
use crate::ledger::Ledger;
use crate::socket::Socket;
use crate::trace;

/// The books are read in full when an exchange has ended, and this often besides.
const BOOKS_EVERY_STEPS: u64 = 64;

/// Largest read of a driver.
pub const READ_MAX_BYTES: usize = 32 * 1024;

/// What an engine keeps of pipelined requests before it stops reading.
const PIPELINE_MAX_BYTES: usize = 32 * 1024;

/// Fault rules that a region has blocks for.
const FAULT_RULES_MAX_COUNT: u32 = 4;

/// A drain that does not end is a bug.
const ACTIONS_PER_DRAIN_MAX: usize = 100_000;

/// What drivers may do one way or the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Say how much is unsent at once, within the drain, as the asyncio driver does; else as inputs of their
    /// own after it.
    pub reports_within_drain: bool,
    /// Say also when part of what was unsent has gone.
    pub reports_progress: bool,
}

/// What the network has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Open a connection.
    Dial(Key, u32),
    /// It is not wanted any more.
    CancelDial(Key),
    /// Something about this connection has changed: bytes to fetch, reading resumed, an end.
    Look(ConnId),
    /// Another worker is to look for free permits.
    Wake(u32),
}

/// An engine and its driver.
pub struct Gateway {
    /// The engine.
    pub engine: Engine,
    /// What crossed its border.
    pub ledger: Ledger,
    /// Virtual time.
    pub now_ns: u64,
    /// Connections, those too that are closed and not yet flushed.
    pub sockets: BTreeMap<ConnId, Socket>,
    /// Connections asked for.
    pub dials: BTreeMap<Key, u32>,
    /// What the network has not been told yet.
    pub wishes: Vec<Wish>,
    /// Phrases of warnings.
    pub warnings: Vec<&'static str>,
    /// Says what happens.
    pub traces: bool,
    /// Window of connections to come.
    pub window_bytes: usize,
    style: Style,
    armed_ns: Option<u64>,
    reports: Vec<(ConnId, usize)>,
    unsent_max_bytes: usize,
    /// What the engine may keep for each caller and each target.
    kept_max_bytes: (usize, usize),
    // books
    /// Where this worker counts.
    pub slot: u32,
    /// The books may have changed since they were last compared; done here unless workers share them.
    pub books_due: bool,
    region: Region,
    series: Vec<Series>,
    /// Bounds of the pool; unknown after a reload, because what was kept within the old ones may stay.
    idle_max: Option<(usize, usize)>,
    accepted_count: u64,
    dialled_count: u64,
    steps_count: u64,
}

impl Gateway {
    /// The only worker of a gateway with the configuration of a JSON document.
    pub fn new(cfg: &serde_json::Value, style: Style, seed: u64) -> Self {
        Self::worker(cfg, style, seed, region(cfg, 1), 0)
    }

    /// One of several workers that share a region.
    pub fn worker(
        cfg: &serde_json::Value,
        style: Style,
        seed: u64,
        region: Region,
        slot: u32,
    ) -> Self {
        let parsed = parse(cfg);
        let engine = Engine::new(parsed.clone(), region.clone(), slot, seed);
        let mut gateway = Self {
            engine,
            ledger: Ledger::default(),
            now_ns: 1_000_000_000,
            sockets: BTreeMap::new(),
            dials: BTreeMap::new(),
            wishes: Vec::new(),
            warnings: Vec::new(),
            traces: false,
            window_bytes: usize::MAX,
            style,
            armed_ns: None,
            reports: Vec::new(),
            unsent_max_bytes: usize::MAX,
            kept_max_bytes: (0, 0),
            slot,
            region,
            series: Vec::new(),
            idle_max: None,
            accepted_count: 0,
            dialled_count: 0,
            steps_count: 0,
            books_due: false,
        };
        gateway.learn(&parsed);
        gateway.idle_max = Some((
            parsed.upstream_pool.idle_max,
            parsed.upstream_pool.idle_per_host_max,
        ));
        gateway
    }

    fn learn(&mut self, cfg: &Config) {
        self.series = cfg
            .proxies
            .iter()
            .map(|proxy| Series {
                proxy: proxy.name.clone(),
                block: proxy.block,
                max_concurrent: proxy.max_concurrent,
                adaptive_min: proxy
                    .adaptive
                    .as_ref()
                    .map_or(0, |adaptive| adaptive.limit_min),
                recovery_timeout_ms: proxy
                    .circuit_breaker
                    .as_ref()
                    .map_or(0, |breaker| breaker.recovery_timeout_ms),
                recovery_jitter_percent: proxy
                    .circuit_breaker
                    .as_ref()
                    .map_or(0, |breaker| breaker.recovery_jitter_percent),
            })
            .collect();
        self.ledger.learn(cfg);
        let head_max_bytes = cfg.downstream.head_max_bytes;
        let replay_max_bytes = cfg
            .proxies
            .iter()
            .filter_map(|proxy| proxy.retry.as_ref())
            .map(|retry| retry.body_max_bytes)
            .max();
        // A part of a head or a few pipelined requests, one read on top, and the head as it goes upstream.
        let kept = (
            3 * head_max_bytes
                + PIPELINE_MAX_BYTES
                + READ_MAX_BYTES
                + replay_max_bytes.unwrap_or(0),
            head_max_bytes + READ_MAX_BYTES,
        );
        self.kept_max_bytes.0 = self.kept_max_bytes.0.max(kept.0);
        self.kept_max_bytes.1 = self.kept_max_bytes.1.max(kept.1);
    }

    /// Holds what is unsent on any connection against a bound.
    pub fn bound_unsent(&mut self, max_bytes: usize) {
        self.unsent_max_bytes = max_bytes;
    }

    // ---- inputs

    /// A caller has connected.
    pub fn open_downstream(&mut self) -> ConnId {
        let key = self
            .engine
            .handle_downstream_opened(self.now_ns, Peer::new("192.0.2.7"), 0);
        let conn = ConnId::Downstream(key);
        self.accepted_count += 1;
        let socket = Socket::new(self.window_bytes);
        let before = self.sockets.insert(conn, socket);
        assert!(before.is_none(), "the key of {conn:?} was given out twice");
        self.ledger.open(conn);
        self.trace_of(conn, format_args!("opened"));
        self.drain(&[]);
        conn
    }

    /// A connection that was asked for is there; `None`: it is not wanted any more.
    pub fn complete_dial(&mut self, key: Key) -> Option<ConnId> {
        self.dials.remove(&key)?;
        let conn = ConnId::Upstream(key);
        self.sockets.insert(conn, Socket::new(self.window_bytes));
        self.ledger.open(conn);
        self.trace_of(conn, format_args!("connected"));
        let wanted = self.engine.handle_upstream_opened(self.now_ns, key);
        assert!(wanted, "{conn:?} was not cancelled and is not wanted");
        self.dialled_count += 1;
        self.drain(&[]);
        Some(conn)
    }

    /// A connection that was asked for cannot be had.
    pub fn fail_dial(&mut self, key: Key, error: DialError) {
        if self.dials.remove(&key).is_none() {
            return;
        }
        self.trace_of(ConnId::Upstream(key), format_args!("dial {error:?}"));
        self.engine.handle_connect_failed(self.now_ns, key, error);
        self.drain(&[]);
    }

    /// Bytes have arrived.
    pub fn deliver(&mut self, conn: ConnId, bytes: &[u8]) {
        if !self.is_open(conn) {
            return;
        }
        self.trace_of(conn, format_args!("in  {}", trace::excerpt(bytes)));
        self.ledger.input(conn, bytes);
        match conn {
            ConnId::Downstream(key) => {
                self.engine.handle_downstream_data(self.now_ns, key, bytes);
            }
            ConnId::Upstream(key) => self.engine.handle_upstream_data(self.now_ns, key, bytes),
        }
        self.drain(bytes);
    }

    /// The peer has shut down its sending side.
    pub fn deliver_eof(&mut self, conn: ConnId) {
        if !self.is_open(conn) {
            return;
        }
        self.trace_of(conn, format_args!("eof"));
        self.ledger.input_ended(conn, true);
        match conn {
            ConnId::Downstream(key) => self.engine.handle_downstream_eof(self.now_ns, key),
            ConnId::Upstream(key) => self.engine.handle_upstream_eof(self.now_ns, key),
        }
        self.drain(&[]);
    }

    /// The connection is gone.
    pub fn deliver_closed(&mut self, conn: ConnId) {
        if !self.is_open(conn) {
            self.sockets.remove(&conn);
            return;
        }
        self.trace_of(conn, format_args!("gone"));
        self.sockets.remove(&conn);
        self.ledger.input_ended(conn, false);
        self.ledger.output_ended(conn, false);
        match conn {
            ConnId::Downstream(key) => self.engine.handle_downstream_closed(self.now_ns, key),
            ConnId::Upstream(key) => self.engine.handle_upstream_closed(self.now_ns, key),
        }
        self.drain(&[]);
    }

    /// The kernel has room for so many more bytes.
    pub fn widen(&mut self, conn: ConnId, freed_bytes: usize) {
        let Some(socket) = self.sockets.get_mut(&conn) else {
            return;
        };
        socket.window_bytes = socket.window_bytes.saturating_add(freed_bytes);
        let moved = socket.flush();
        let (open, unsent_bytes) = (socket.closed.is_none(), socket.unsent.len());
        if !moved {
            return;
        }
        self.wishes.push(Wish::Look(conn));
        if open && (unsent_bytes == 0 || self.style.reports_progress) {
            self.report_unsent(conn, unsent_bytes);
            self.drain(&[]);
        }
    }

    /// When [`Self::fire_timer`] is due.
    pub fn timer_ns(&self) -> Option<u64> {
        self.armed_ns
    }

    // ---- outputs

    /// Performs every action, as the contract says, and compares the books.
    fn drain(&mut self, input: &[u8]) {
        let mut actions_count = 0;
        while let Some(action) = self.engine.poll_action() {
            actions_count += 1;
            assert!(
                actions_count < ACTIONS_PER_DRAIN_MAX,
                "a drain that does not end"
            );
            self.perform(action, input);
        }
        if let Some(deadline_ns) = self.engine.poll_deadline()
            && self.armed_ns.is_none_or(|armed_ns| deadline_ns < armed_ns)
        {
            self.armed_ns = Some(deadline_ns);
        }
        if let Some((conn, unsent_bytes)) = self.reports.pop() {
            self.report_unsent(conn, unsent_bytes);
            return self.drain(&[]);
        }
        self.audit();
    }

    fn perform(&mut self, action: Action, input: &[u8]) {
        match action {
            Action::Send { conn, first } => {
                let bytes = self
                    .engine
                    .segments(first, input)
                    .collect::<Vec<_>>()
                    .concat();
                self.send(conn, &bytes);
            }
            Action::Connect { key, target } => {
                self.trace_of(ConnId::Upstream(key), format_args!("dial"));
                self.dials.insert(key, target);
                self.wishes.push(Wish::Dial(key, target));
            }
            Action::PauseReading(conn) => self.set_reads(conn, false),
            Action::ResumeReading(conn) => self.set_reads(conn, true),
            Action::ShutdownWrite(conn) => {
                self.trace_of(conn, format_args!("shutdown"));
                self.ledger.output_ended(conn, true);
                let socket = self.open_socket(conn, "is shut down");
                assert!(!socket.shut_down, "{conn:?} is shut down twice");
                socket.shut_down = true;
                self.wishes.push(Wish::Look(conn));
            }
            Action::Close { conn, mode } => self.close(conn, mode),
            Action::Wake { slot } => {
                assert_ne!(slot, self.slot, "a worker wakes itself");
                self.wishes.push(Wish::Wake(slot));
            }
            Action::Warn { what, .. } => self.warnings.push(what),
        }
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        self.trace_of(conn, format_args!("out {}", trace::excerpt(bytes)));
        assert!(!bytes.is_empty(), "{conn:?} is sent nothing");
        self.ledger.output(conn, bytes);
        let socket = self.open_socket(conn, "is sent bytes");
        assert!(!socket.shut_down, "{conn:?} is sent bytes behind its end");
        if socket.broken {
            // The asyncio driver: a caller that is gone is noticed when its connection is read.
            if let ConnId::Upstream(key) = conn {
                self.engine.handle_upstream_send_failed(key);
            }
            return;
        }
        socket.send(bytes);
        let unsent_bytes = socket.unsent.len();
        self.wishes.push(Wish::Look(conn));
        if unsent_bytes > 0 {
            if self.style.reports_within_drain {
                self.report_unsent(conn, unsent_bytes);
            } else {
                self.reports.push((conn, unsent_bytes));
            }
        }
    }

    fn report_unsent(&mut self, conn: ConnId, unsent_bytes: usize) {
        self.trace_of(conn, format_args!("unsent {unsent_bytes}"));
        self.engine.handle_unsent(self.now_ns, conn, unsent_bytes);
    }

    fn set_reads(&mut self, conn: ConnId, reads: bool) {
        self.trace_of(
            conn,
            format_args!("{}", if reads { "resume" } else { "pause" }),
        );
        let socket = self.open_socket(conn, "is paused or resumed");
        assert_ne!(socket.reads, reads, "{conn:?} is paused or resumed twice");
        socket.reads = reads;
        if reads {
            self.wishes.push(Wish::Look(conn));
        }
    }

    fn close(&mut self, conn: ConnId, mode: CloseMode) {
        self.trace_of(conn, format_args!("close {mode:?}"));
        if let ConnId::Upstream(key) = conn
            && self.dials.remove(&key).is_some()
        {
            self.wishes.push(Wish::CancelDial(key));
            return;
        }
        // A connection that was reported closed is closed by the engine once more.
        let Some(socket) = self.sockets.get_mut(&conn) else {
            return;
        };
        assert!(socket.closed.is_none(), "{conn:?} is closed twice");
        socket.closed = Some(mode);
        if mode == CloseMode::Reset {
            socket.unsent.clear();
        }
        self.ledger.output_ended(conn, mode == CloseMode::Graceful);
        self.ledger.input_ended(conn, false);
        self.wishes.push(Wish::Look(conn));
    }

    fn open_socket(&mut self, conn: ConnId, what: &str) -> &mut Socket {
        match self.sockets.get_mut(&conn) {
            Some(socket) if socket.closed.is_none() => socket,
            _ => panic!("{conn:?} {what} but is not open"),
        }
    }

    /// Whether the engine has not closed it.
    pub fn is_open(&self, conn: ConnId) -> bool {
        self.sockets
            .get(&conn)
            .is_some_and(|socket| socket.closed.is_none())
    }

    // ---- books

    /// The metrics as they stand.
    pub fn books(&self) -> Books {
        Books::read(&self.region, &self.series, self.now_ns)
    }

    fn audit(&mut self) {
        self.steps_count += 1;
        let counts = self.engine.counts();
        let open = |is_caller: bool| {
            self.sockets
                .iter()
                .filter(|(conn, socket)| {
                    matches!(conn, ConnId::Downstream(_)) == is_caller && socket.closed.is_none()
                })
                .count()
        };
        assert_eq!(counts.downstreams, open(true), "callers' connections");
        assert_eq!(
            counts.upstreams,
            open(false) + self.dials.len(),
            "targets' connections"
        );
        assert!(counts.exchanges <= counts.downstreams, "{counts:?}");
        assert!(counts.idle_upstreams <= counts.upstreams, "{counts:?}");
        self.audit_memory(&counts);
        if let Some((idle_max, per_host_max)) = self.idle_max {
            assert!(
                counts.idle_upstreams <= idle_max,
                "{counts:?} over {idle_max}"
            );
            let hosts = self.ledger.targets_count();
            assert!(
                counts.idle_upstreams <= per_host_max * hosts,
                "{counts:?} over {per_host_max}"
            );
        }
        for (conn, socket) in &self.sockets {
            let unsent_bytes = socket.unsent.len();
            assert!(
                unsent_bytes <= self.unsent_max_bytes,
                "{conn:?}: {unsent_bytes} unsent"
            );
        }
        let log = std::mem::take(self.engine.access_log());
        let ended = !log.is_empty();
        self.ledger.log(&log);
        self.books_due |= ended || self.steps_count.is_multiple_of(BOOKS_EVERY_STEPS);
        let is_alone = self.region.geometry().slots_count == 1;
        if is_alone && std::mem::take(&mut self.books_due) {
            let limits_exact = self.idle_max.is_some();
            self.books().agree_with(&self.tally(), limits_exact);
        }
    }

    /// What this worker knows to be so.
    pub fn tally(&self) -> Tally {
        let counts = self.engine.counts();
        Tally {
            downstreams: counts.downstreams as u64,
            upstreams: counts.upstreams as u64,
            idle_upstreams: counts.idle_upstreams as u64,
            exchanges: counts.exchanges as u64,
            dials: self.dials.len() as u64,
            accepted: self.accepted_count,
            connected: self.dialled_count,
            log: self.ledger.sums().clone(),
        }
    }

    /// What the engine keeps is bounded by its configuration and the number of connections.
    fn audit_memory(&self, counts: &Counts) {
        let connections_count = counts.downstreams + counts.upstreams;
        let timers_max = 128 + 16 * connections_count;
        assert!(counts.timers <= timers_max, "{counts:?}");
        let buffered_max_bytes =
            counts.downstreams * self.kept_max_bytes.0 + counts.upstreams * self.kept_max_bytes.1;
        assert!(counts.buffered_bytes <= buffered_max_bytes, "{counts:?}");
    }

    fn trace(&self, what: std::fmt::Arguments<'_>) {
        if self.traces {
            println!("{}", trace::line(self.now_ns, self.slot, what));
        }
    }

    fn trace_of(&self, conn: ConnId, what: std::fmt::Arguments<'_>) {
        if self.traces {
            self.trace(format_args!("{} {what}", trace::name(conn)));
        }
    }
}

/// A region for so many workers, with blocks for fault rules behind those of the proxies.
pub fn region(cfg: &serde_json::Value, workers_count: u32) -> Region {
    let blocks = parse(cfg).proxies.iter().map(|proxy| proxy.block).max();
    let blocks = blocks.unwrap_or(0) + FAULT_RULES_MAX_COUNT;
    Region::private(geometry(workers_count, blocks))
}

fn parse(cfg: &serde_json::Value) -> Config {
    serde_json::from_value(cfg.clone()).expect("a configuration that the engine knows")
}
