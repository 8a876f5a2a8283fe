//! `Driver`: an engine on an asyncio loop.
//!
//! The loop calls a connection's protocol object (`protocol.rs`) once a readiness event; that is one call of
//! the engine and one drain of its actions. Bytes go out by a direct `send(2)` while the transport holds
//! none; what the kernel does not take goes to `transport.write()`, and from then on everything does until
//! the transport has none left, so that order is kept.
//!
//! Python is called for what is rare: dials, timers, life-cycle events, a peer that does not keep up. Those
//! calls may call back into a protocol object; `protocol.rs` says which such calls touch the engine, and
//! none of them happens within a drain.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;

use gatewayx_engine::config::Config;
use gatewayx_engine::metrics::driver_cell;
use gatewayx_engine::{Action, CloseMode, ConnId, DialError, Engine, Key, Peer, SegmentId};
use gatewayx_policy::fault::{Plan, PlanSpec};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::access_log::{LineCounts, LogWriter};
use crate::clock::{now_ns, wall_offset_ns};
use crate::memory;
use crate::metrics::Metrics;
use crate::receive_buffer::ReceiveBuffer;
use crate::socket;
use crate::sockets::{Socket, Sockets};

/// Log lines are handed to their writer when there are this many bytes of them, or by `flush_log`.
const LOG_BATCH_BYTES: usize = 32 * 1024;

/// No timer is armed.
const UNARMED: u64 = u64::MAX;

struct State {
    engine: Engine,
    downstreams: Sockets,
    upstreams: Sockets,
    /// Pieces of the send under way; kept for its memory.
    pieces: Vec<libc::iovec>,
}

impl State {
    #[inline]
    fn socket(&mut self, conn: ConnId) -> Option<&mut Socket> {
        match conn {
            ConnId::Downstream(key) => self.downstreams.find(key),
            ConnId::Upstream(key) => self.upstreams.find(key),
        }
    }
}

/// An engine, the connections that it works on, and the loop's side of both.
///
/// `host` is the Python object that does what only a loop can: `dial(token, host, port)`,
/// `cancel_dial(token)`, `arm(seconds)`, `arm_log_flush()`, `arm_memory_return()`, `warn(proxy, what)` and
/// `close_within_bounds(transport)`.
#[pyclass(frozen, unsendable, module = "gatewayx._native")]
pub(crate) struct Driver {
    state: RefCell<State>,
    host: Py<PyAny>,
    receive_buffer: Py<ReceiveBuffer>,
    /// Start and length of the memory of `receive_buffer`.
    receive_memory: (*mut u8, usize),
    armed_ns: Cell<u64>,
    log: Option<LogWriter>,
    spans: Option<LogWriter>,
    log_flush_armed: Cell<bool>,
    /// Event descriptors of all workers, by slot.
    wake_fds: Vec<RawFd>,
}

#[pymethods]
impl Driver {
    #[new]
    #[expect(
        clippy::too_many_arguments,
        reason = "keyword arguments of a Python constructor"
    )]
    #[pyo3(signature = (host, config, metrics, *, slot=0, seed=0, buffer_size=32768, buffers_per_read=4, log_fd=None, spans_fd=None, wake_fds=Vec::new()))]
    fn new(
        py: Python<'_>,
        host: Py<PyAny>,
        config: &[u8],
        metrics: &Bound<'_, Metrics>,
        slot: u32,
        seed: u64,
        buffer_size: usize,
        buffers_per_read: usize,
        log_fd: Option<RawFd>,
        spans_fd: Option<RawFd>,
        wake_fds: Vec<RawFd>,
    ) -> PyResult<Self> {
        let region = metrics.get().region.clone();
        let cells = region.cells(slot, 0);
        let mut engine = Engine::new(parse(config)?, region, slot, seed);
        engine.set_wall_offset_ns(wall_offset_ns());
        let buffer = ReceiveBuffer::new(buffer_size * buffers_per_read);
        let receive_memory = buffer.raw();
        cells.add(driver_cell::BUFFERS_IN_USE, buffers_per_read as u64);
        let counts = |written, dropped| LineCounts {
            cells: cells.clone(),
            written,
            dropped,
        };
        let log_counts = counts(Some(driver_cell::LOG_WRITTEN), driver_cell::LOG_DROPPED);
        let log = log_fd
            .map(|fd| LogWriter::new(fd, "access-log", log_counts))
            .transpose()?;
        let span_counts = counts(None, driver_cell::SPANS_DROPPED);
        let spans = spans_fd
            .map(|fd| LogWriter::new(fd, "spans", span_counts))
            .transpose()?;
        Ok(Self {
            state: RefCell::new(State {
                engine,
                downstreams: Sockets::default(),
                upstreams: Sockets::default(),
                pieces: Vec::new(),
            }),
            host,
            receive_buffer: Py::new(py, buffer)?,
            receive_memory,
            armed_ns: Cell::new(UNARMED),
            log,
            spans,
            log_flush_armed: Cell::new(false),
            wake_fds,
        })
    }

    /// The number by which connections name the listener at an address of the configuration.
    fn listener(&self, address: &str) -> u32 {
        self.state.borrow_mut().engine.listener(address)
    }

    /// Switches to another configuration; exchanges under way finish on the old one.
    fn configure(&self, py: Python<'_>, config: &[u8]) -> PyResult<()> {
        let config = parse(config)?;
        self.drive(py, &[], |engine, now_ns| {
            engine.handle_config(now_ns, config)
        })
    }

    /// Switches to other fault policies; requests that are held by one that is gone go on.
    fn set_faults(&self, py: Python<'_>, policies: &[u8]) -> PyResult<()> {
        let plan = compile_faults(policies)?;
        self.drive(py, &[], |engine, now_ns| {
            engine.set_wall_offset_ns(wall_offset_ns());
            engine.handle_faults(now_ns, plan);
        })
    }

    /// The armed time has come.
    fn handle_timer(&self, py: Python<'_>) -> PyResult<()> {
        self.armed_ns.set(UNARMED);
        self.drive(py, &[], |engine, now_ns| engine.handle_timer(now_ns))
    }

    /// A dial failed; `timed_out` when the loop gave up by itself.
    fn handle_dial_failed(&self, py: Python<'_>, token: u64, timed_out: bool) -> PyResult<()> {
        let error = if timed_out {
            DialError::TimedOut
        } else {
            DialError::Failed
        };
        self.drive(py, &[], |engine, now_ns| {
            engine.handle_connect_failed(now_ns, Key::from_bits(token), error);
        })
    }

    /// Closes connections to a name at other addresses, busy ones after their exchange; how many are still open.
    fn keep_addresses(
        &self,
        py: Python<'_>,
        host: &str,
        port: u16,
        addresses: Vec<String>,
    ) -> PyResult<usize> {
        let mut state = self.state.borrow_mut();
        let mut open = state.engine.upstreams_to(host, port);
        open.retain(|&key| {
            let fd = state.upstreams.find(key).map(|socket| socket.fd);
            fd.is_some_and(|fd| socket::leads_elsewhere(fd, &addresses))
        });
        drop(state);
        self.drive(py, &[], |engine, _| {
            open.into_iter()
                .for_each(|key| engine.handle_upstream_moved(key));
        })?;
        Ok(self.state.borrow().engine.upstreams_to(host, port).len())
    }

    /// A permit may have come free that a request here waits for.
    fn handle_wake(&self, py: Python<'_>) -> PyResult<()> {
        self.drive(py, &[], |engine, now_ns| engine.handle_wake(now_ns))
    }

    /// Stops serving: idle connections close now, busy ones after their exchange.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        self.drive(py, &[], |engine, _| engine.handle_drain())
    }

    /// Cuts what is still under way and closes everything.
    fn shutdown(&self, py: Python<'_>) -> PyResult<()> {
        self.drive(py, &[], |engine, now_ns| engine.handle_shutdown(now_ns))?;
        self.flush_log();
        Ok(())
    }

    /// Gives memory that is free back to the system.
    fn return_memory(&self) {
        memory::give_back();
    }

    /// Hands finished log lines to their writer.
    fn flush_log(&self) {
        self.log_flush_armed.set(false);
        let mut state = self.state.borrow_mut();
        self.push_log(&mut state);
    }

    /// Writes out what waits in the log and ends its thread. Nothing is logged any more.
    fn close_log(&self, py: Python<'_>) {
        self.flush_log();
        for log in [&self.log, &self.spans].into_iter().flatten() {
            py.detach(|| log.close());
        }
    }

    /// What is alive: connections of callers, connections to targets, idle ones of these, exchanges,
    /// timer entries and kept bytes.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = self.state.borrow().engine.counts();
        let dict = PyDict::new(py);
        dict.set_item("downstreams", counts.downstreams)?;
        dict.set_item("upstreams", counts.upstreams)?;
        dict.set_item("idle_upstreams", counts.idle_upstreams)?;
        dict.set_item("tls_sessions", counts.tls_sessions)?;
        dict.set_item("exchanges", counts.exchanges)?;
        dict.set_item("timers", counts.timers)?;
        dict.set_item("buffered_bytes", counts.buffered_bytes)?;
        Ok(dict)
    }
}

fn compile_faults(policies: &[u8]) -> PyResult<Plan> {
    let refused = |error: &dyn std::fmt::Display| {
        PyValueError::new_err(format!("compiled fault policies: {error}"))
    };
    let spec: PlanSpec = serde_json::from_slice(policies).map_err(|error| refused(&error))?;
    Plan::compile(&spec).map_err(|error| refused(&error))
}

fn iovec(piece: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: piece.as_ptr().cast_mut().cast(),
        iov_len: piece.len(),
    }
}

fn parse(config: &[u8]) -> PyResult<Config> {
    serde_json::from_slice(config)
        .map_err(|error| PyValueError::new_err(format!("compiled configuration: {error}")))
}

impl Driver {
    pub(crate) fn receive_buffer(&self) -> &Py<ReceiveBuffer> {
        &self.receive_buffer
    }

    /// The first `len_bytes` that were received.
    #[inline]
    fn received(&self, len_bytes: usize) -> &[u8] {
        let (start, capacity) = self.receive_memory;
        debug_assert!(len_bytes <= capacity);
        // SAFETY: the memory lives as long as `receive_buffer`, which `self` holds. The loop writes to it
        // only between `get_buffer` and `buffer_updated`, and this slice is used only within the latter.
        unsafe { std::slice::from_raw_parts(start, len_bytes.min(capacity)) }
    }

    // ---- inputs, called by protocol objects

    pub(crate) fn on_accepted(
        &self,
        py: Python<'_>,
        transport: &Bound<'_, PyAny>,
        fd: RawFd,
        peer: &str,
        listener: u32,
    ) -> PyResult<Key> {
        let mut opened = None;
        let mut state = self.state.borrow_mut();
        let now_ns = now_ns();
        let key = *opened.insert(state.engine.handle_downstream_opened(
            now_ns,
            Peer::new(peer),
            listener,
        ));
        let transport = transport.clone().unbind();
        state.downstreams.insert(Socket {
            key,
            fd,
            transport,
            buffers: false,
        });
        self.perform(py, &mut state, &[], now_ns)?;
        Ok(key)
    }

    /// `false`: the engine has no use for the connection any more.
    pub(crate) fn on_connected(
        &self,
        py: Python<'_>,
        transport: &Bound<'_, PyAny>,
        fd: RawFd,
        key: Key,
    ) -> PyResult<bool> {
        let mut state = self.state.borrow_mut();
        let now_ns = now_ns();
        let transport = transport.clone().unbind();
        state.upstreams.insert(Socket {
            key,
            fd,
            transport,
            buffers: false,
        });
        socket::probe_when_idle(fd);
        let wanted = state.engine.handle_upstream_opened(now_ns, key);
        if !wanted {
            state.upstreams.remove(key);
        }
        self.perform(py, &mut state, &[], now_ns)?;
        Ok(wanted)
    }

    #[inline]
    pub(crate) fn on_received(
        &self,
        py: Python<'_>,
        conn: ConnId,
        len_bytes: usize,
    ) -> PyResult<()> {
        let input = self.received(len_bytes);
        self.drive(py, input, |engine, now_ns| match conn {
            ConnId::Downstream(key) => engine.handle_downstream_data(now_ns, key, input),
            ConnId::Upstream(key) => engine.handle_upstream_data(now_ns, key, input),
        })
    }

    pub(crate) fn on_eof(&self, py: Python<'_>, conn: ConnId) -> PyResult<()> {
        self.drive(py, &[], |engine, now_ns| match conn {
            ConnId::Downstream(key) => engine.handle_downstream_eof(now_ns, key),
            ConnId::Upstream(key) => engine.handle_upstream_eof(now_ns, key),
        })
    }

    pub(crate) fn on_lost(&self, py: Python<'_>, conn: ConnId) -> PyResult<()> {
        // The descriptor is about to be closed: nothing may be sent on it from here on.
        match conn {
            ConnId::Downstream(key) => self.state.borrow_mut().downstreams.remove(key),
            ConnId::Upstream(key) => self.state.borrow_mut().upstreams.remove(key),
        };
        self.drive(py, &[], |engine, now_ns| match conn {
            ConnId::Downstream(key) => engine.handle_downstream_closed(now_ns, key),
            ConnId::Upstream(key) => engine.handle_upstream_closed(now_ns, key),
        })
    }

    /// The transport has sent everything.
    pub(crate) fn on_writable(&self, py: Python<'_>, conn: ConnId) -> PyResult<()> {
        if let Some(socket) = self.state.borrow_mut().socket(conn) {
            socket.buffers = false;
        }
        self.drive(py, &[], |engine, now_ns| {
            engine.handle_unsent(now_ns, conn, 0)
        })
    }

    // ---- one input, drained fully

    #[inline]
    fn drive(
        &self,
        py: Python<'_>,
        input: &[u8],
        handle: impl FnOnce(&mut Engine, u64),
    ) -> PyResult<()> {
        let mut state = self.state.borrow_mut();
        let now_ns = now_ns();
        if !self.log_flush_armed.get() {
            // The first lines since a while: the wall clock may have been set.
            state.engine.set_wall_offset_ns(wall_offset_ns());
        }
        handle(&mut state.engine, now_ns);
        self.perform(py, &mut state, input, now_ns)
    }

    fn perform(
        &self,
        py: Python<'_>,
        state: &mut State,
        input: &[u8],
        now_ns: u64,
    ) -> PyResult<()> {
        while let Some(action) = state.engine.poll_action() {
            match action {
                Action::Send { conn, first } => self.send(py, state, conn, first, input, now_ns)?,
                Action::Connect { key, target } => {
                    let target = state.engine.target(target);
                    let args = (key.to_bits(), &target.host, target.port);
                    self.host.call_method1(py, intern!(py, "dial"), args)?;
                }
                Action::PauseReading(conn) => {
                    self.call_transport(py, state, conn, intern!(py, "pause_reading"))?;
                }
                Action::ResumeReading(conn) => {
                    self.call_transport(py, state, conn, intern!(py, "resume_reading"))?;
                }
                Action::ShutdownWrite(conn) => {
                    self.call_transport(py, state, conn, intern!(py, "write_eof"))?;
                }
                Action::Close { conn, mode } => self.close(py, state, conn, mode)?,
                Action::Wake { slot } => {
                    if let Some(&fd) = self.wake_fds.get(slot as usize) {
                        socket::wake(fd);
                    }
                }
                Action::Warn { block, what } => {
                    let args = (state.engine.proxy_name(block), what);
                    self.host.call_method1(py, intern!(py, "warn"), args)?;
                }
            }
        }
        if let Some(deadline_ns) = state.engine.poll_deadline()
            && deadline_ns < self.armed_ns.get()
        {
            self.armed_ns.set(deadline_ns);
            let wait_s = deadline_ns.saturating_sub(now_ns) as f64 / 1e9;
            self.host.call_method1(py, intern!(py, "arm"), (wait_s,))?;
        }
        if state.downstreams.take_ebb() {
            self.host
                .call_method0(py, intern!(py, "arm_memory_return"))?;
        }
        let log_bytes = state.engine.access_log().len() + state.engine.spans().len();
        if log_bytes > LOG_BATCH_BYTES {
            self.push_log(state);
        } else if log_bytes > 0 && !self.log_flush_armed.replace(true) {
            self.host.call_method0(py, intern!(py, "arm_log_flush"))?;
        }
        Ok(())
    }

    #[inline]
    fn send(
        &self,
        py: Python<'_>,
        state: &mut State,
        conn: ConnId,
        first: SegmentId,
        input: &[u8],
        now_ns: u64,
    ) -> PyResult<()> {
        let State {
            engine,
            downstreams,
            upstreams,
            pieces,
        } = state;
        let socket = match conn {
            ConnId::Downstream(key) => downstreams.find(key),
            ConnId::Upstream(key) => upstreams.find(key),
        };
        let Some(socket) = socket else { return Ok(()) };
        let is_sealed = engine.seal(conn, first, input);
        pieces.clear();
        if is_sealed {
            pieces.push(iovec(engine.sealed()));
        } else {
            pieces.extend(engine.segments(first, input).map(iovec));
        }
        let total_bytes: usize = pieces.iter().map(|piece| piece.iov_len).sum();
        if total_bytes == 0 {
            return Ok(());
        }
        let mut sent_bytes = 0;
        if !socket.buffers {
            match socket::send(socket.fd, pieces) {
                Ok(sent) if sent == total_bytes => return Ok(()),
                Ok(sent) => sent_bytes = sent,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    // A caller that is gone is noticed when its connection is read.
                    if let ConnId::Upstream(key) = conn {
                        engine.handle_upstream_send_failed(key);
                    }
                    return Ok(());
                }
            }
        }
        let mut rest = Vec::with_capacity(total_bytes - sent_bytes);
        let mut skip_bytes = sent_bytes;
        let mut keep = |piece: &[u8]| {
            let skipped_bytes = skip_bytes.min(piece.len());
            rest.extend_from_slice(&piece[skipped_bytes..]);
            skip_bytes -= skipped_bytes;
        };
        if is_sealed {
            keep(engine.sealed());
        } else {
            engine.segments(first, input).for_each(keep);
        }
        let transport = socket.transport.bind(py);
        socket.buffers = true;
        transport.call_method1(intern!(py, "write"), (PyBytes::new(py, &rest),))?;
        let unsent_bytes: usize = transport
            .call_method0(intern!(py, "get_write_buffer_size"))?
            .extract()?;
        if unsent_bytes == 0 {
            socket.buffers = false;
        } else {
            engine.handle_unsent(now_ns, conn, unsent_bytes);
        }
        Ok(())
    }

    fn call_transport(
        &self,
        py: Python<'_>,
        state: &mut State,
        conn: ConnId,
        method: &Bound<'_, pyo3::types::PyString>,
    ) -> PyResult<()> {
        let Some(socket) = state.socket(conn) else {
            return Ok(());
        };
        let transport = socket.transport.bind(py);
        // A transport that is closing by itself has nothing left to pause or resume.
        if !transport
            .call_method0(intern!(py, "is_closing"))?
            .extract::<bool>()?
        {
            transport.call_method0(method)?;
        }
        Ok(())
    }

    fn close(
        &self,
        py: Python<'_>,
        state: &mut State,
        conn: ConnId,
        mode: CloseMode,
    ) -> PyResult<()> {
        let socket = match conn {
            ConnId::Downstream(key) => state.downstreams.remove(key),
            ConnId::Upstream(key) => state.upstreams.remove(key),
        };
        let Some(socket) = socket else {
            if let ConnId::Upstream(key) = conn {
                self.host
                    .call_method1(py, intern!(py, "cancel_dial"), (key.to_bits(),))?;
            }
            return Ok(());
        };
        let transport = socket.transport.bind(py);
        match mode {
            CloseMode::Reset => {
                socket::reset_on_close(socket.fd);
                transport.call_method0(intern!(py, "abort"))?;
            }
            CloseMode::Graceful if socket.buffers => {
                self.host
                    .call_method1(py, intern!(py, "close_within_bounds"), (transport,))?;
            }
            CloseMode::Graceful => {
                transport.call_method0(intern!(py, "close"))?;
            }
        }
        Ok(())
    }

    fn push_log(&self, state: &mut State) {
        let engine = &mut state.engine;
        hand_over(engine.access_log(), self.log.as_ref());
        hand_over(engine.spans(), self.spans.as_ref());
    }
}

fn hand_over(lines: &mut Vec<u8>, log: Option<&LogWriter>) {
    match log {
        Some(log) => log.push(lines),
        None => lines.clear(),
    }
}
