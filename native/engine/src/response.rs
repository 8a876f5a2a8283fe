//! From the target to the caller: response heads, bodies, tunnels.

use gatewayx_http::{
    CRLF, ChunkLimits, ChunkedDecoder, LAST_CHUNK, ResponseFraming, ResponseHead, Version,
    parse_response,
};

use crate::body::Body;
use crate::downstream::{Downstream, DownstreamPhase};
use crate::engine::{Engine, after};
use crate::error::Reason;
use crate::finish::connection;
use crate::metrics::cell;
use crate::output::{Action, CloseMode, ConnId};
use crate::rewrite::{Additions, Connection, OutFraming, out_framing, write_response};
use crate::slab::Key;
use crate::timers::NEVER;
use crate::upstream::UpstreamPhase;

/// Informational heads that one response may have before it.
const INFORMATIONAL_MAX_COUNT: u8 = 16;

impl Engine {
    /// Uses as much of `bytes` as can be used now; returns how much.
    pub(crate) fn read_upstream(
        &mut self,
        now_ns: u64,
        key: Key,
        bytes: &[u8],
        is_input: bool,
    ) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let Some(upstream) = self.upstreams.find(key) else {
                return bytes.len();
            };
            let phase = upstream.phase;
            let step = match phase {
                UpstreamPhase::AwaitingHead => self.read_response_head(now_ns, key, &bytes[at..]),
                UpstreamPhase::ResponseBody if self.is_body_faulted(key) => {
                    self.read_faulted_body(now_ns, key, bytes, at, is_input)
                }
                UpstreamPhase::ResponseBody => {
                    Some(self.read_response_body(now_ns, key, bytes, at, is_input))
                }
                UpstreamPhase::Tunnel => {
                    self.tunnel_downstream(now_ns, key, bytes, at, is_input);
                    return bytes.len();
                }
                UpstreamPhase::Idle | UpstreamPhase::Connecting => {
                    // Bytes that nobody asked for: whoever uses this connection next would get them.
                    self.close_upstream(key, CloseMode::Reset);
                    return bytes.len();
                }
            };
            match step {
                Some(consumed) => at += consumed,
                None => break,
            }
        }
        at
    }

    fn read_response_head(&mut self, now_ns: u64, key: Key, bytes: &[u8]) -> Option<usize> {
        let upstream = &mut self.upstreams[key];
        let downstream = upstream.downstream.expect("in use");
        let method = self.downstreams[downstream].exchange.method;
        let mut head = std::mem::take(&mut self.response_head);
        let parsed = parse_response(bytes, &mut upstream.scan, &self.limits, method, &mut head);
        let step = match parsed {
            Ok(false) => None,
            Ok(true) => {
                upstream.scan = Default::default();
                let rest_bytes = bytes.len() - head.len;
                if head.status == 101 || head.status >= 200 {
                    self.on_response_head(now_ns, downstream, head.status);
                }
                match head.status {
                    101 => self.switch_protocols(now_ns, key, downstream, bytes, &head),
                    100..=199 => self.inform(now_ns, downstream, bytes, &head),
                    _ => self.begin_response(now_ns, key, downstream, bytes, &head, rest_bytes),
                }
                Some(head.len)
            }
            Err(error) => {
                self.fail(now_ns, downstream, Reason::BadResponse(error));
                Some(bytes.len())
            }
        };
        self.response_head = head;
        step
    }

    /// Passes an informational head on to callers who know such heads.
    fn inform(&mut self, now_ns: u64, key: Key, src: &[u8], head: &ResponseHead) {
        let downstream = &mut self.downstreams[key];
        let exchange = &mut downstream.exchange;
        exchange.informational_count += 1;
        if exchange.informational_count > INFORMATIONAL_MAX_COUNT {
            return self.fail(now_ns, key, Reason::UnexpectedResponse);
        }
        if exchange.version == Version::Http10 {
            return;
        }
        if head.status == 100 {
            if !std::mem::take(&mut exchange.awaits_continue) {
                return;
            }
            let upstream = exchange.upstream.expect("it has just sent this head");
            self.arm_request_stall(now_ns, upstream);
        }
        self.send_head(key, src, head, Connection::Implied, None);
    }

    /// Queues a response head, with the body's framing that the exchange has.
    fn send_head(
        &mut self,
        key: Key,
        src: &[u8],
        head: &ResponseHead,
        connection: Connection,
        circuit_state: Option<&'static str>,
    ) {
        let Downstream {
            exchange, outbox, ..
        } = &mut self.downstreams[key];
        let additions = Additions {
            framing: exchange.out_framing,
            connection,
            circuit_state,
            quota: exchange.quota,
            request_id: &exchange.request_id,
            via_line: &self.via_line,
        };
        let written = self.out.write(ConnId::Downstream(key), outbox, |arena| {
            write_response(arena, src, head, &additions);
        });
        exchange.bytes_out += written as u64;
    }

    fn begin_response(
        &mut self,
        now_ns: u64,
        key: Key,
        downstream_key: Key,
        src: &[u8],
        head: &ResponseHead,
        rest_bytes: usize,
    ) {
        if self.retry_status(now_ns, downstream_key, head.status) {
            return;
        }
        let upstream = &mut self.upstreams[key];
        let downstream = &mut self.downstreams[downstream_key];
        let exchange = &mut downstream.exchange;
        exchange.status = head.status;
        exchange.response_started = true;
        exchange.replay = None;
        exchange.out_framing = out_framing(head.framing, exchange.version);
        // A body that the upstream did not wait for will not be read to its end.
        let body_refused = !exchange.body.is_done() && !head.keep_alive;
        exchange.keep_alive &=
            exchange.out_framing != OutFraming::UntilClose && !body_refused && !self.draining;
        let connection = connection(exchange.keep_alive, exchange.version);
        let circuit_state = upstream.proxy.shown_circuit_state(now_ns);
        self.send_head(downstream_key, src, head, connection, circuit_state);

        let upstream = &mut self.upstreams[key];
        upstream.phase = UpstreamPhase::ResponseBody;
        upstream.keep_alive = head.keep_alive;
        upstream.body = match head.framing {
            ResponseFraming::None | ResponseFraming::Length(0) => Body::Done,
            ResponseFraming::Length(len_bytes) => Body::Length(len_bytes),
            ResponseFraming::Chunked => Body::Chunked(ChunkedDecoder::new(ChunkLimits::default())),
            ResponseFraming::UntilClose => Body::UntilClose,
        };
        if !head.oddities.is_empty() {
            upstream.proxy.cells.add(cell::ODDITIES, 1);
            let warned = upstream.proxy.warned.get();
            if !warned.contains(head.oddities) {
                for what in head.oddities.phrases() {
                    self.out.push_action(Action::Warn {
                        block: upstream.proxy.cfg.block,
                        what,
                    });
                }
                let mut warned = warned;
                warned.insert(head.oddities);
                upstream.proxy.warned.set(warned);
            }
        }
        if upstream.body.is_done() {
            self.complete_response(now_ns, key, rest_bytes == 0);
        } else {
            let idle_ms = upstream.proxy.cfg.timeout.body_idle_ms;
            self.set_upstream_deadline(key, after(now_ns, idle_ms));
            self.cut_response(now_ns, key);
        }
    }

    pub(crate) fn read_response_body(
        &mut self,
        now_ns: u64,
        key: Key,
        bytes: &[u8],
        at: usize,
        is_input: bool,
    ) -> usize {
        let upstream = &mut self.upstreams[key];
        let downstream_key = upstream.downstream.expect("in use");
        let downstream = &mut self.downstreams[downstream_key];
        let exchange = &mut downstream.exchange;
        let mut ended = None;
        let progress = match upstream.body.step(&bytes[at..], &mut ended) {
            Ok(progress) => progress,
            Err(error) => {
                self.fail(now_ns, downstream_key, Reason::BadResponse(error));
                return bytes.len() - at;
            }
        };
        let range = at + progress.data.start..at + progress.data.end;
        let conn = ConnId::Downstream(downstream_key);
        let (out, outbox) = (&mut self.out, &mut downstream.outbox);
        let chunked = exchange.out_framing == OutFraming::Chunked;
        exchange.bytes_out += range.len() as u64;
        if let Some(fault) = &mut exchange.fault {
            fault.on_body(range.len());
        }
        out.send_body(conn, outbox, bytes, range, is_input, chunked);
        if let Some(decoder) = ended
            && chunked
        {
            out.end_chunks(conn, outbox, decoder.trailers());
        }
        if upstream.body.is_done() {
            self.complete_response(now_ns, key, at + progress.consumed == bytes.len());
        } else {
            let idle_ms = upstream.proxy.cfg.timeout.body_idle_ms;
            self.set_upstream_deadline(key, after(now_ns, idle_ms));
        }
        progress.consumed
    }

    /// The response is whole. `reusable`: nothing arrived behind it.
    fn complete_response(&mut self, now_ns: u64, key: Key, reusable: bool) {
        let upstream = &mut self.upstreams[key];
        let downstream = upstream.downstream.take().expect("in use");
        let exchange = &mut self.downstreams[downstream].exchange;
        exchange.upstream = None;
        exchange.upstream_ended_ns = now_ns;
        let failed = upstream.proxy.is_failure(exchange.status);
        let keeps = reusable
            && upstream.keep_alive
            && exchange.body.is_done()
            && !upstream.send_failed
            && !upstream.moved
            && upstream.unsent_bytes == 0
            && !self.draining;
        if keeps {
            self.keep_upstream(now_ns, key);
        } else {
            self.close_upstream(key, CloseMode::Graceful);
        }
        self.end_attempt(now_ns, downstream, Some(failed));
        self.finish_whole(now_ns, downstream);
    }

    /// Puts a connection into the pool.
    fn keep_upstream(&mut self, now_ns: u64, key: Key) {
        let upstream = &mut self.upstreams[key];
        upstream.phase = UpstreamPhase::Idle;
        upstream.served_count += 1;
        upstream.proxy.cells.sub(cell::UPSTREAM_ACTIVE, 1);
        upstream.proxy.cells.add(cell::UPSTREAM_IDLE, 1);
        let target = upstream.target;
        let idle_ms = upstream.proxy.cfg.timeout.idle_ms;
        if upstream.reading_paused {
            upstream.reading_paused = false;
            self.out
                .push_action(Action::ResumeReading(ConnId::Upstream(key)));
        }
        self.set_upstream_deadline(key, after(now_ns, idle_ms));
        let bounds = &self.cfg.upstream_pool;
        let surplus = self.pool.put(
            target,
            key,
            now_ns,
            bounds.idle_max,
            bounds.idle_per_host_max,
        );
        if let Some(surplus) = surplus {
            self.close_upstream(surplus, CloseMode::Graceful);
        }
    }

    /// A target's connection ended: `clean` by shutting down, else by a reset.
    pub(crate) fn end_upstream(&mut self, now_ns: u64, key: Key, clean: bool) {
        let upstream = &mut self.upstreams[key];
        let Some(downstream) = upstream.downstream else {
            return self.close_upstream(key, CloseMode::Graceful);
        };
        match upstream.phase {
            UpstreamPhase::Idle => unreachable!("an idle connection serves nobody"),
            UpstreamPhase::Connecting => {
                let reason = self.connecting_failure(key, false);
                self.fail_attempt(now_ns, downstream, reason);
            }
            UpstreamPhase::AwaitingHead => {
                let silent = upstream.inbuf.is_empty();
                let reused = upstream.served_count > 0;
                self.lose_upstream(now_ns, downstream, silent && reused);
            }
            UpstreamPhase::ResponseBody => {
                if clean && matches!(upstream.body, Body::UntilClose) {
                    upstream.body = Body::Done;
                    let downstream = &mut self.downstreams[downstream];
                    if downstream.exchange.out_framing == OutFraming::Chunked {
                        let conn = ConnId::Downstream(upstream.downstream.expect("in use"));
                        self.out.write(conn, &mut downstream.outbox, |arena| {
                            arena.extend_from_slice(LAST_CHUNK);
                            arena.extend_from_slice(CRLF);
                        });
                    }
                    self.complete_response(now_ns, key, false);
                } else {
                    self.fail(now_ns, downstream, Reason::UpstreamTruncated);
                }
            }
            UpstreamPhase::Tunnel => {
                if clean {
                    self.end_tunnel_side(now_ns, downstream, false);
                } else {
                    self.finish_tunnel(now_ns, downstream, CloseMode::Reset);
                }
            }
        }
    }

    // ---- tunnels

    fn switch_protocols(
        &mut self,
        now_ns: u64,
        key: Key,
        downstream_key: Key,
        src: &[u8],
        head: &ResponseHead,
    ) {
        let downstream = &mut self.downstreams[downstream_key];
        let exchange = &mut downstream.exchange;
        let agreed = exchange.upgrade
            && exchange.body.is_done()
            && head.upgrade.of(src).eq_ignore_ascii_case(b"websocket");
        if !agreed {
            return self.fail(now_ns, downstream_key, Reason::UnexpectedResponse);
        }
        exchange.status = 101;
        exchange.response_started = true;
        exchange.keep_alive = false;
        exchange.replay = None;
        downstream.phase = DownstreamPhase::Tunnel;
        self.send_head(downstream_key, src, head, Connection::Upgrade, None);
        self.upstreams[key].phase = UpstreamPhase::Tunnel;
        self.set_phase_deadline(downstream_key, NEVER);
        self.keep_tunnel_alive(now_ns, key);
        // Early bytes of the caller are tunnelled by `settle_downstream`, which follows every input.
    }

    pub(crate) fn tunnel_upstream(
        &mut self,
        now_ns: u64,
        key: Key,
        bytes: &[u8],
        at: usize,
        is_input: bool,
    ) {
        let exchange = &mut self.downstreams[key].exchange;
        let Some(upstream_key) = exchange.upstream else {
            return;
        };
        exchange.bytes_in += (bytes.len() - at) as u64;
        let upstream = &mut self.upstreams[upstream_key];
        if !upstream.send_failed {
            let conn = ConnId::Upstream(upstream_key);
            let outbox = &mut upstream.outbox;
            self.out
                .send_body(conn, outbox, bytes, at..bytes.len(), is_input, false);
        }
        self.keep_tunnel_alive(now_ns, upstream_key);
    }

    fn tunnel_downstream(
        &mut self,
        now_ns: u64,
        key: Key,
        bytes: &[u8],
        at: usize,
        is_input: bool,
    ) {
        let Some(downstream_key) = self.upstreams[key].downstream else {
            return;
        };
        let downstream = &mut self.downstreams[downstream_key];
        downstream.exchange.bytes_out += (bytes.len() - at) as u64;
        let conn = ConnId::Downstream(downstream_key);
        let outbox = &mut downstream.outbox;
        self.out
            .send_body(conn, outbox, bytes, at..bytes.len(), is_input, false);
        self.keep_tunnel_alive(now_ns, key);
    }

    fn keep_tunnel_alive(&mut self, now_ns: u64, key: Key) {
        let idle_ms = self.upstreams[key].proxy.cfg.timeout.tunnel_idle_ms;
        self.set_upstream_deadline(key, after(now_ns, idle_ms));
    }

    /// One side of a tunnel has ended; the other is told, and when both have, the tunnel is gone.
    pub(crate) fn end_tunnel_side(&mut self, now_ns: u64, key: Key, by_caller: bool) {
        let downstream = &self.downstreams[key];
        let Some(upstream_key) = downstream.exchange.upstream else {
            return;
        };
        let upstream = &mut self.upstreams[upstream_key];
        if by_caller {
            self.shut_down(ConnId::Upstream(upstream_key));
        } else {
            upstream.ended = true;
            self.shut_down(ConnId::Downstream(key));
        }
        let downstream = &self.downstreams[key];
        let upstream = &self.upstreams[upstream_key];
        if downstream.ended && upstream.ended {
            self.finish_tunnel(now_ns, key, CloseMode::Graceful);
        }
    }
}
