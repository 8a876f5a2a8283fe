//! How exchanges and connections end, and the books that are kept of it.
//!
//! Every exchange that became active passes [`Engine::close_books`] exactly once: there its permit is given
//! back and its counters and log line are written, so that metrics and log cannot disagree.

use gatewayx_http::{Method, Version};
use gatewayx_telemetry::{Cells, Histogram, LATENCY_BOUNDS_NS};

use crate::access::{AccessRecord, write_record};
use crate::body::Body;
use crate::breaker::state_name;
use crate::downstream::{DownstreamPhase, Exchange};
use crate::engine::{Engine, after};
use crate::error::{Reason, STATUS_CLIENT_CLOSED, UPSTREAM_5XX};
use crate::metrics::{cell, status_cell};
use crate::output::{Action, CloseMode, ConnId};
use crate::proxy::Proxy;
use crate::respond::{write_error, write_own};
use crate::rewrite::{Connection, OutFraming};
use crate::slab::Key;
use crate::timers::NEVER;
use crate::trace::{SpanRecord, Trace, write_span};
use crate::upstream::UpstreamPhase;

/// A refused body up to this size is read so that the connection can go on; behind a larger one it closes.
const DISCARD_MAX_BYTES: u64 = 64 * 1024;

impl Engine {
    /// Ends an exchange that went wrong: the upstream is let go, and the caller gets an error response if
    /// none has begun, or sees the one under way cut short.
    pub(crate) fn fail(&mut self, now_ns: u64, key: Key, reason: Reason) {
        let exchange = &mut self.downstreams[key].exchange;
        exchange.reason = Some(reason);
        if exchange.attempts_count > 0 {
            exchange.upstream_ended_ns = now_ns;
        }
        self.end_attempt(now_ns, key, Self::verdict(reason));
        self.detach_upstream(key, CloseMode::Reset);
        let gone = matches!(reason, Reason::DownstreamClosed | Reason::DownstreamStalled);
        let exchange = &mut self.downstreams[key].exchange;
        if gone {
            exchange.status = STATUS_CLIENT_CLOSED;
            self.close_books(now_ns, key);
            return self.remove_downstream(key, CloseMode::Reset);
        }
        if exchange.response_started {
            let silent_end = exchange.out_framing == OutFraming::UntilClose;
            self.close_books(now_ns, key);
            // A close would look like the end of a body that only the close ends.
            if silent_end || reason == Reason::TotalTimeout {
                return self.remove_downstream(key, CloseMode::Reset);
            }
            return self.linger(now_ns, key);
        }
        self.answer(now_ns, key, reason);
    }

    /// Sends the error response, then goes on with the connection as far as it can be trusted.
    fn answer(&mut self, now_ns: u64, key: Key, reason: Reason) {
        let downstream = &mut self.downstreams[key];
        let exchange = &mut downstream.exchange;
        exchange.status = reason.status();
        let retry_after = exchange
            .proxy
            .as_ref()
            .and_then(|proxy| retry_after_seconds(proxy, reason));
        let quota = exchange.quota;
        let retry_after = match (reason, quota) {
            (Reason::RateLimited, Some(quota)) => Some(quota.retry_seconds),
            _ => retry_after,
        };
        let framing_lost = matches!(
            reason,
            Reason::BadRequest(_)
                | Reason::RequestIncomplete
                | Reason::HeadTimeout
                | Reason::BodyTimeout
                | Reason::NotImplemented
                | Reason::UpgradeNotAllowed
                | Reason::BodyTooLarge
        );
        exchange.keep_alive &= !framing_lost;
        self.send_answer(now_ns, key, |arena, exchange, connection, with_body| {
            let id = &exchange.request_id;
            write_error(
                arena,
                reason,
                id,
                retry_after,
                quota.as_ref(),
                connection,
                with_body,
            );
        });
    }

    /// Sends an answer in place of the upstream's and ends the exchange. `write` appends it, given what to say of
    /// the connection and whether there is to be a body.
    pub(crate) fn send_answer(
        &mut self,
        now_ns: u64,
        key: Key,
        write: impl FnOnce(&mut Vec<u8>, &Exchange, Connection, bool),
    ) {
        let downstream = &mut self.downstreams[key];
        let exchange = &mut downstream.exchange;
        let body_left = match exchange.body {
            Body::Done => false,
            Body::Length(left_bytes) => {
                // A caller that waits for 100 will not send the body, or will: nobody can tell.
                if left_bytes > DISCARD_MAX_BYTES || exchange.awaits_continue {
                    exchange.keep_alive = false;
                }
                true
            }
            Body::Chunked(_) | Body::UntilClose => {
                exchange.keep_alive = false;
                true
            }
        };
        exchange.keep_alive &= !self.draining;
        let connection = connection(exchange.keep_alive, exchange.version);
        let with_body = exchange.method != Method::Head;
        let written = self
            .out
            .write(ConnId::Downstream(key), &mut downstream.outbox, |arena| {
                write(arena, exchange, connection, with_body);
            });
        exchange.bytes_out += written as u64;
        let keep_alive = exchange.keep_alive;
        self.close_books(now_ns, key);
        match (keep_alive, body_left) {
            (true, false) => self.await_next_request(now_ns, key),
            (true, true) => {
                self.downstreams[key].phase = DownstreamPhase::Discard;
                let idle_ms = self.cfg.downstream.request_body_idle_ms;
                self.set_phase_deadline(key, after(now_ns, idle_ms));
            }
            (false, _) => self.linger(now_ns, key),
        }
    }

    /// Answers an `OPTIONS` request that may go no further.
    pub(crate) fn answer_options(&mut self, now_ns: u64, key: Key) {
        let downstream = &mut self.downstreams[key];
        let exchange = &mut downstream.exchange;
        exchange.status = 200;
        exchange.keep_alive &= exchange.body.is_done() && !self.draining;
        let connection = connection(exchange.keep_alive, exchange.version);
        let written = self
            .out
            .write(ConnId::Downstream(key), &mut downstream.outbox, |arena| {
                write_own(arena, &exchange.request_id, &self.via_line, connection);
            });
        exchange.bytes_out += written as u64;
        self.finish_whole(now_ns, key);
    }

    /// Ends an exchange whose response went out whole.
    pub(crate) fn finish_whole(&mut self, now_ns: u64, key: Key) {
        self.close_books(now_ns, key);
        let downstream = &self.downstreams[key];
        let exchange = &downstream.exchange;
        if !exchange.body.is_done() {
            // Answered early: the rest of the request is of no use to anybody.
            self.linger(now_ns, key);
        } else if exchange.keep_alive {
            self.await_next_request(now_ns, key);
        } else if downstream.inbuf.is_empty() {
            self.remove_downstream(key, CloseMode::Graceful);
        } else {
            self.linger(now_ns, key);
        }
    }

    /// Ends a tunnel, both sides at once.
    pub(crate) fn finish_tunnel(&mut self, now_ns: u64, key: Key, mode: CloseMode) {
        self.downstreams[key].exchange.upstream_ended_ns = now_ns;
        // The upstream agreed to the tunnel, so it is well, however the tunnel ends.
        self.end_attempt(now_ns, key, Some(false));
        self.detach_upstream(key, mode);
        self.close_books(now_ns, key);
        self.remove_downstream(key, mode);
    }

    /// Ready for the caller's next request.
    pub(crate) fn await_next_request(&mut self, now_ns: u64, key: Key) {
        let downstream = &mut self.downstreams[key];
        downstream.phase = DownstreamPhase::Head;
        downstream.head_begun = false;
        if downstream.inbuf.is_empty() && self.draining {
            return self.remove_downstream(key, CloseMode::Graceful);
        }
        let keep_alive_ms = self.cfg.downstream.keep_alive_ms;
        self.set_phase_deadline(key, after(now_ns, keep_alive_ms));
    }

    /// The last byte is queued: tell the caller so, and read on for a while. Closing with bytes unread would
    /// send a reset, which can overtake the response on its way (RFC 9112 section 9.6).
    pub(crate) fn linger(&mut self, now_ns: u64, key: Key) {
        let downstream = &mut self.downstreams[key];
        downstream.phase = DownstreamPhase::Linger;
        downstream.inbuf = Vec::new();
        let wait_ms = if downstream.unsent_bytes > 0 {
            self.cfg.downstream.write_idle_ms
        } else {
            self.cfg.downstream.linger_ms
        };
        self.set_phase_deadline(key, after(now_ns, wait_ms.max(1)));
        self.shut_down(ConnId::Downstream(key));
    }

    // ---- deadlines that were reached

    pub(crate) fn on_downstream_timer(&mut self, now_ns: u64, key: Key) {
        let downstream = &self.downstreams[key];
        if downstream.total_deadline_ns <= now_ns && downstream.exchange.active {
            return self.fail(now_ns, key, Reason::TotalTimeout);
        }
        if downstream.phase_deadline_ns > now_ns {
            let deadline_ns = downstream.phase_deadline_ns;
            return self.set_phase_deadline(key, deadline_ns);
        }
        if self.end_wait(now_ns, key) {
            return;
        }
        let downstream = &self.downstreams[key];
        match downstream.phase {
            // It has not taken its last response; nothing else can be told it.
            DownstreamPhase::Head if downstream.reading_paused => {
                self.remove_downstream(key, CloseMode::Reset);
            }
            DownstreamPhase::Head if downstream.inbuf.is_empty() => {
                self.remove_downstream(key, CloseMode::Graceful);
            }
            DownstreamPhase::Head => self.refuse(now_ns, key, Reason::HeadTimeout),
            DownstreamPhase::RequestBody => {
                let reason = match (downstream.reading_paused, downstream.unsent_bytes) {
                    (false, _) => Reason::BodyTimeout,
                    (true, 0) => Reason::IdleTimeout,
                    (true, _) => Reason::DownstreamStalled,
                };
                self.fail(now_ns, key, reason);
            }
            DownstreamPhase::Response => self.fail(now_ns, key, Reason::DownstreamStalled),
            DownstreamPhase::Discard | DownstreamPhase::Linger => {
                self.remove_downstream(key, CloseMode::Reset);
            }
            DownstreamPhase::Tunnel => {}
        }
    }

    pub(crate) fn on_upstream_timer(&mut self, now_ns: u64, key: Key) {
        let upstream = &self.upstreams[key];
        let Some(downstream_key) = upstream.downstream else {
            return self.close_upstream(key, CloseMode::Graceful);
        };
        let phase = upstream.phase;
        match phase {
            UpstreamPhase::Idle => {}
            UpstreamPhase::Connecting => {
                let reason = self.connecting_failure(key, true);
                self.fail_attempt(now_ns, downstream_key, reason);
            }
            UpstreamPhase::AwaitingHead => {
                let downstream = &mut self.downstreams[downstream_key];
                if std::mem::take(&mut downstream.exchange.awaits_continue) {
                    // The upstream said nothing: let the caller begin (RFC 9110 section 10.1.1).
                    self.out.write(
                        ConnId::Downstream(downstream_key),
                        &mut downstream.outbox,
                        |arena| arena.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"),
                    );
                    self.arm_request_stall(now_ns, key);
                } else if downstream.phase == DownstreamPhase::RequestBody {
                    self.fail(now_ns, downstream_key, Reason::IdleTimeout);
                } else {
                    self.fail_attempt(now_ns, downstream_key, Reason::HeaderTimeout);
                }
            }
            UpstreamPhase::ResponseBody if self.resume_faulted_body(now_ns, key) => {
                self.pace_upstream(now_ns, key);
            }
            UpstreamPhase::ResponseBody => self.fail(now_ns, downstream_key, Reason::IdleTimeout),
            UpstreamPhase::Tunnel => {
                self.finish_tunnel(now_ns, downstream_key, CloseMode::Graceful);
            }
        }
    }

    // ---- connections

    /// Closes a caller's connection; its exchange, if any, has been accounted for.
    pub(crate) fn remove_downstream(&mut self, key: Key, mode: CloseMode) {
        if mode == CloseMode::Graceful {
            self.say_goodbye(ConnId::Downstream(key));
        }
        let Some(downstream) = self.downstreams.remove(key) else {
            return;
        };
        debug_assert!(!downstream.exchange.active && downstream.exchange.upstream.is_none());
        self.discharge_connection(downstream.holds_place, downstream.counted_address);
        self.cells.sub(cell::DOWNSTREAM_OPEN, 1);
        self.tidy_timers();
        self.out.push_action(Action::Close {
            conn: ConnId::Downstream(key),
            mode,
        });
    }

    /// Closes a target's connection, which no exchange uses any more.
    pub(crate) fn close_upstream(&mut self, key: Key, mode: CloseMode) {
        if mode == CloseMode::Graceful {
            self.say_goodbye(ConnId::Upstream(key));
        }
        let Some(upstream) = self.upstreams.remove(key) else {
            return;
        };
        debug_assert!(upstream.downstream.is_none());
        match upstream.phase {
            UpstreamPhase::Connecting => {}
            UpstreamPhase::Idle => {
                upstream.proxy.cells.sub(cell::UPSTREAM_IDLE, 1);
                self.pool.remove(upstream.target, key);
            }
            _ => upstream.proxy.cells.sub(cell::UPSTREAM_ACTIVE, 1),
        }
        self.out.push_action(Action::Close {
            conn: ConnId::Upstream(key),
            mode,
        });
    }

    // ---- books

    /// Accounts for an exchange, once.
    pub(crate) fn close_books(&mut self, now_ns: u64, key: Key) {
        let downstream = &mut self.downstreams[key];
        downstream.total_deadline_ns = NEVER;
        let exchange = &mut downstream.exchange;
        if !std::mem::take(&mut exchange.active) {
            return;
        }
        debug_assert!(!exchange.attempt_open && exchange.upstream.is_none());
        let total_ns = now_ns.saturating_sub(exchange.started_ns);
        let dispatched = exchange.attempts_count > 0;
        let upstream_ns = if dispatched {
            exchange
                .upstream_ended_ns
                .saturating_sub(exchange.dispatched_ns)
        } else {
            0
        };
        let proxy_ns = total_ns.saturating_sub(upstream_ns);
        let cells = match &exchange.proxy {
            Some(proxy) => &proxy.cells,
            None => {
                self.cells.add(cell::BEGUN, 1);
                &self.cells
            }
        };
        // Side by side: a worker that dies has either both or none, but for the moment between two stores.
        if self.cfg.access_log.enabled {
            self.cells.add(cell::LOG_MADE, 1);
        }
        cells.add(status_cell(exchange.status), 1);
        match exchange.reason {
            Some(reason) => cells.add(cell::ERRORS + reason.index() as u32, 1),
            None if exchange.status >= 500 && dispatched => {
                cells.add(cell::ERRORS + UPSTREAM_5XX as u32, 1)
            }
            None => {}
        }
        if dispatched {
            latency(cells, cell::UPSTREAM_LATENCY).observe_ns(upstream_ns);
        }
        latency(cells, cell::PROXY_LATENCY).observe_ns(proxy_ns);
        cells.add(cell::BYTES_IN, exchange.bytes_in);
        cells.add(cell::BYTES_OUT, exchange.bytes_out);
        if let Some(proxy) = &exchange.proxy {
            proxy.cells.sub(cell::ACTIVE, 1);
        }
        let proxy = exchange.proxy.as_deref();
        let proxy_name = proxy.map_or(&b""[..], |proxy| proxy.cfg.name.as_bytes());
        let upstream = proxy
            .filter(|_| dispatched)
            .map_or(&b""[..], |proxy| &proxy.targets[exchange.target].authority);
        let error = exchange.reason.map_or("", Reason::name);
        if self.cfg.access_log.enabled {
            let circuit_state = exchange
                .proxy
                .as_ref()
                .and_then(|proxy| proxy.breaker())
                .map_or("closed", |breaker| state_name(breaker.state(now_ns)));
            let record = AccessRecord {
                time_unix_ms: (now_ns.saturating_add(self.wall_offset_ns)) / 1_000_000,
                request_id: &exchange.request_id,
                proxy_name,
                method: &exchange.log_method,
                path: &exchange.log_target,
                status: exchange.status,
                upstream,
                upstream_latency_ns: upstream_ns,
                proxy_latency_ns: proxy_ns,
                bytes_in: exchange.bytes_in,
                bytes_out: exchange.bytes_out,
                concurrent_count: exchange.concurrent_count,
                circuit_state,
                error,
                fault: exchange
                    .fault
                    .as_ref()
                    .map_or("", |fault| fault.injected().name()),
                trace_id: exchange.trace.as_ref().map(Trace::id_text),
            };
            write_record(&mut self.access_log, &record);
        }
        if let Some(trace) = exchange.trace.filter(Trace::is_sampled)
            && self.cfg.tracing.as_ref().is_some_and(|cfg| cfg.spans)
        {
            let span = SpanRecord {
                trace,
                start_unix_ns: exchange.started_ns.saturating_add(self.wall_offset_ns),
                end_unix_ns: now_ns.saturating_add(self.wall_offset_ns),
                request_id: &exchange.request_id,
                proxy_name,
                route: proxy.map_or(&b""[..], |proxy| proxy.cfg.path.as_bytes()),
                method: &exchange.log_method,
                path: &exchange.log_target,
                status: exchange.status,
                upstream,
                attempts: exchange.attempts_count,
                error,
            };
            write_span(&mut self.spans, &span);
        }
        self.release_permit(now_ns, key);
        self.leave_fault(key);
        // A body that is still to be discarded keeps its place; all else is done with.
        self.downstreams[key].exchange.proxy = None;
    }
}

/// What to say of the connection's future.
pub(crate) fn connection(keep_alive: bool, version: Version) -> Connection {
    match (keep_alive, version) {
        (false, _) => Connection::Close,
        (true, Version::Http10) => Connection::KeepAlive,
        (true, Version::Http11) => Connection::Implied,
    }
}

/// When a caller that was turned away may come back.
fn retry_after_seconds(proxy: &Proxy, reason: Reason) -> Option<u32> {
    match reason {
        Reason::LimitReached | Reason::QueueFull | Reason::QueueTimeout => {
            Some(proxy.cfg.retry_after_seconds)
        }
        Reason::CircuitOpen => {
            let open_ms = proxy.cfg.circuit_breaker.as_ref()?.recovery_timeout_ms;
            Some(
                u32::try_from(open_ms.div_ceil(1_000))
                    .unwrap_or(u32::MAX)
                    .max(1),
            )
        }
        _ => None,
    }
}

fn latency(cells: &Cells, first: u32) -> Histogram<'_> {
    cells.histogram(first, &LATENCY_BOUNDS_NS)
}
