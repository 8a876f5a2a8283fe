//! From the caller to the target: heads, routing, dispatch, bodies.

use gatewayx_http::{
    ChunkLimits, ChunkedDecoder, FieldId, Framing, Method, RequestHead, TargetForm, parse_request,
};

use crate::body::Body;
use crate::config::LoadBalancingAlgorithm;
use crate::downstream::DownstreamPhase;
use crate::engine::{Engine, after};
use crate::error::Reason;
use crate::metrics::cell;
use crate::output::ConnId;
use crate::request_id;
use crate::rewrite::{Identity, max_forwards, write_request};
use crate::slab::Key;
use crate::timers::NEVER;
use crate::trace::Trace;
use crate::upstream::UpstreamPhase;

impl Engine {
    /// Uses as much of `bytes` as can be used now; returns how much. `is_input`: the bytes are the driver's
    /// input, so that large pieces need no copy.
    pub(crate) fn read_downstream(
        &mut self,
        now_ns: u64,
        key: Key,
        bytes: &[u8],
        is_input: bool,
    ) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let Some(downstream) = self.downstreams.find(key) else {
                return bytes.len();
            };
            let step = match downstream.phase {
                // A caller who does not take its responses gets no more of them.
                DownstreamPhase::Head
                    if downstream.unsent_bytes > self.cfg.buffer.high_water_bytes =>
                {
                    None
                }
                DownstreamPhase::Head => self.read_request_head(now_ns, key, &bytes[at..]),
                DownstreamPhase::RequestBody => {
                    self.read_request_body(now_ns, key, bytes, at, is_input)
                }
                DownstreamPhase::Response => None,
                DownstreamPhase::Discard => Some(self.discard(now_ns, key, &bytes[at..])),
                DownstreamPhase::Linger => return bytes.len(),
                DownstreamPhase::Tunnel => {
                    self.tunnel_upstream(now_ns, key, bytes, at, is_input);
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

    fn read_request_head(&mut self, now_ns: u64, key: Key, bytes: &[u8]) -> Option<usize> {
        let downstream = &mut self.downstreams[key];
        let mut head = std::mem::take(&mut self.request_head);
        let parsed = parse_request(bytes, &mut downstream.scan, &self.limits, &mut head);
        let step = match parsed {
            Ok(false) => {
                if !downstream.head_begun {
                    downstream.head_begun = true;
                    let deadline_ns = after(now_ns, self.cfg.downstream.request_head_ms);
                    self.set_phase_deadline(key, deadline_ns);
                }
                None
            }
            Ok(true) => {
                downstream.scan = Default::default();
                self.start(now_ns, key, bytes, &head);
                Some(head.len)
            }
            Err(error) => {
                self.refuse(now_ns, key, Reason::BadRequest(error));
                Some(bytes.len())
            }
        };
        self.request_head = head;
        step
    }

    /// Answers bytes that are no request, and closes.
    pub(crate) fn refuse(&mut self, now_ns: u64, key: Key, reason: Reason) {
        if self.downstreams[key].awaits_proxy_header {
            // Whoever is there does not speak HTTP yet.
            return self.turn_away(key, cell::REFUSED_PROXY_HEADER);
        }
        let exchange = &mut self.downstreams[key].exchange;
        exchange.reset();
        exchange.active = true;
        exchange.started_ns = now_ns;
        self.ids.write(&mut exchange.request_id);
        self.fail(now_ns, key, reason);
    }

    /// Begins the exchange of a whole head.
    fn start(&mut self, now_ns: u64, key: Key, src: &[u8], head: &RequestHead) {
        let downstream = &mut self.downstreams[key];
        let exchange = &mut downstream.exchange;
        exchange.reset();
        exchange.active = true;
        exchange.started_ns = now_ns;
        exchange.method = head.method;
        exchange.version = head.version;
        exchange.keep_alive = head.keep_alive;
        exchange.awaits_continue = head.expect_continue;
        exchange.bytes_in = head.len as u64;
        (exchange.body, exchange.body_chunked) = match head.framing {
            Framing::None | Framing::Length(0) => (Body::Done, false),
            Framing::Length(len_bytes) => (Body::Length(len_bytes), false),
            Framing::Chunked => (
                Body::Chunked(ChunkedDecoder::new(ChunkLimits::default())),
                true,
            ),
        };
        let callers_id = head
            .fields
            .iter()
            .find(|field| field.id == FieldId::XRequestId && !field.hop_by_hop)
            .map(|field| field.value.of(src))
            .filter(|id| request_id::is_acceptable(id));
        match callers_id {
            Some(id) => exchange.request_id.extend_from_slice(id),
            None => self.ids.write(&mut exchange.request_id),
        }
        if let Some(tracing) = &self.cfg.tracing {
            exchange.trace = Some(Trace::of(src, head, tracing, &mut self.ids));
        }
        if self.records_requests {
            exchange
                .log_method
                .extend_from_slice(head.method_span.of(src));
            exchange.log_target.extend_from_slice(head.path.of(src));
        }
        downstream.phase_deadline_ns = NEVER;
        downstream.phase = if exchange.body.is_done() {
            DownstreamPhase::Response
        } else {
            DownstreamPhase::RequestBody
        };
        self.identify_client(key, src, head);
        if let Err(reason) = self.route(now_ns, key, src, head) {
            return self.fail(now_ns, key, reason);
        }
        if let Err(reason) = self.authorise(now_ns, key, src, head) {
            return self.fail(now_ns, key, reason);
        }
        if head.method == Method::Options && max_forwards(src, head) == Some(0) {
            return self.answer_options(now_ns, key);
        }
        let is_hit = self.choose_fault(now_ns, key, src, head);
        self.prepare(key, src, head);
        if is_hit {
            self.advance_fault(now_ns, key);
        } else {
            self.admit(now_ns, key);
        }
    }

    /// Finds the proxy and holds the request against what can be told from its head.
    fn route(
        &mut self,
        now_ns: u64,
        key: Key,
        src: &[u8],
        head: &RequestHead,
    ) -> Result<(), Reason> {
        if matches!(head.method, Method::Connect | Method::Trace) {
            return Err(Reason::NotImplemented);
        }
        let path = head.path.of(src);
        // `*` asks about the server as a whole, which is where `/` leads.
        let whole = path.is_empty() || head.form == TargetForm::Asterisk;
        let path = if whole { b"/" } else { path };
        let index = self
            .routes
            .find(head.host.of(src), path)
            .ok_or(Reason::NoRoute)?;
        let proxy = self.proxies[index as usize].clone();
        let downstream = &mut self.downstreams[key];
        let exchange = &mut downstream.exchange;
        proxy.cells.add(cell::BEGUN, 1);
        proxy.cells.add(cell::ACTIVE, 1);
        exchange.concurrent_count = proxy.cells.load(cell::ACTIVE);
        downstream.total_deadline_ns = after(now_ns, proxy.cfg.timeout.total_ms);
        let proxy = exchange.proxy.insert(proxy);

        if head.upgrade.of(src).eq_ignore_ascii_case(b"websocket") {
            if !proxy.cfg.websocket {
                return Err(Reason::UpgradeNotAllowed);
            }
            exchange.upgrade = true;
        }
        if let (Framing::Length(len_bytes), max_bytes @ 1..) =
            (head.framing, proxy.cfg.request_body_max_bytes)
            && len_bytes > max_bytes
        {
            return Err(Reason::BodyTooLarge);
        }
        Ok(())
    }

    /// Writes the head for the upstream, and keeps of the request what later decisions need.
    fn prepare(&mut self, key: Key, src: &[u8], head: &RequestHead) {
        let downstream = &mut self.downstreams[key];
        let exchange = &mut downstream.exchange;
        let proxy = exchange.proxy.as_ref().expect("routed");
        let client = downstream.client.as_bytes();
        let identity = Identity {
            client,
            peer: downstream.peer.as_bytes(),
            peer_trusted: exchange.peer_trusted,
            scheme: if downstream.is_secured {
                "https"
            } else {
                "http"
            },
            request_id: &exchange.request_id,
            trace: exchange.trace.as_ref(),
            via_line: &self.via_line,
            caller: exchange.caller.as_deref(),
        };
        write_request(
            &mut exchange.request_head,
            src,
            head,
            proxy,
            exchange.upgrade,
            &identity,
        );
        let field = |name: &String| {
            head.fields
                .iter()
                .find(|field| field.name.of(src).eq_ignore_ascii_case(name.as_bytes()))
                .map(|field| field.value.of(src))
        };
        if let Some(retry) = &proxy.cfg.retry {
            // What a fault answers is no request that retries could be a share of.
            let reaches_upstream = !exchange
                .fault
                .as_ref()
                .is_some_and(|fault| fault.is_final());
            if reaches_upstream {
                proxy
                    .retry_budget
                    .borrow_mut()
                    .on_request(exchange.started_ns);
            }
            exchange.replay = (retry.attempts > 1).then(Vec::new);
        }
        if let Some(name) = proxy
            .cfg
            .queue
            .as_ref()
            .and_then(|queue| queue.priority_header.as_ref())
            && let Some([digit @ b'0'..=b'9']) = field(name)
        {
            exchange.urgency = digit - b'0';
        }
        if matches!(
            proxy.cfg.load_balancing.algorithm,
            LoadBalancingAlgorithm::ConsistentHash
        ) {
            let by_header = proxy
                .cfg
                .load_balancing
                .hash_header
                .as_ref()
                .and_then(field);
            exchange.key_hash = fnv1a(by_header.unwrap_or(client));
        }
    }

    fn read_request_body(
        &mut self,
        now_ns: u64,
        key: Key,
        bytes: &[u8],
        at: usize,
        is_input: bool,
    ) -> Option<usize> {
        let exchange = &mut self.downstreams[key].exchange;
        let upstream_key = exchange.upstream?;
        let upstream = &mut self.upstreams[upstream_key];
        if upstream.phase == UpstreamPhase::Connecting {
            return None;
        }
        let mut ended = None;
        let progress = match exchange.body.step(&bytes[at..], &mut ended) {
            Ok(progress) => progress,
            Err(error) => {
                self.fail(now_ns, key, Reason::BadRequest(error));
                return Some(bytes.len() - at);
            }
        };
        exchange.bytes_in += progress.consumed as u64;
        exchange.body_bytes += progress.data.len() as u64;
        // The caller did not wait for the 100, or has it.
        let waited = std::mem::take(&mut exchange.awaits_continue);
        let max_bytes = upstream.proxy.cfg.request_body_max_bytes;
        if max_bytes > 0 && exchange.body_bytes > max_bytes {
            self.fail(now_ns, key, Reason::BodyTooLarge);
            return Some(progress.consumed);
        }
        let range = at + progress.data.start..at + progress.data.end;
        if let Some(replay) = &mut exchange.replay {
            let max_bytes = upstream
                .proxy
                .cfg
                .retry
                .as_ref()
                .map_or(0, |retry| retry.body_max_bytes);
            if replay.len() + range.len() > max_bytes {
                exchange.replay = None;
            } else {
                replay.extend_from_slice(&bytes[range.clone()]);
            }
        }
        let conn = ConnId::Upstream(upstream_key);
        if !upstream.send_failed {
            let (out, outbox) = (&mut self.out, &mut upstream.outbox);
            out.send_body(conn, outbox, bytes, range, is_input, exchange.body_chunked);
            if let Some(decoder) = ended {
                out.end_chunks(conn, outbox, decoder.trailers());
            }
        }
        if exchange.body.is_done() {
            self.complete_request(now_ns, key, upstream_key);
        } else {
            if waited {
                self.arm_request_stall(now_ns, upstream_key);
            }
            let deadline_ns = self.body_deadline(now_ns, key);
            self.set_phase_deadline(key, deadline_ns);
        }
        Some(progress.consumed)
    }

    /// The request is whole: from here on the upstream is waited for.
    fn complete_request(&mut self, now_ns: u64, key: Key, upstream_key: Key) {
        let downstream = &mut self.downstreams[key];
        downstream.phase = DownstreamPhase::Response;
        downstream.exchange.waits_since_ns = now_ns;
        self.await_upstream(now_ns, key);
        let upstream = &self.upstreams[upstream_key];
        if upstream.phase == UpstreamPhase::AwaitingHead {
            let header_ms = upstream.proxy.cfg.timeout.response_header_ms;
            self.set_upstream_deadline(upstream_key, after(now_ns, header_ms));
        }
    }

    /// Reads past the rest of a body whose request was refused.
    fn discard(&mut self, now_ns: u64, key: Key, bytes: &[u8]) -> usize {
        let exchange = &mut self.downstreams[key].exchange;
        match exchange.body.step(bytes, &mut None) {
            Ok(progress) => {
                if exchange.body.is_done() {
                    self.await_next_request(now_ns, key);
                }
                progress.consumed
            }
            Err(_) => {
                self.linger(now_ns, key);
                bytes.len()
            }
        }
    }
}

/// Hash of a key for consistent hashing: FNV-1a, the same in every worker and after every start.
fn fnv1a(key: &[u8]) -> u64 {
    key.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
