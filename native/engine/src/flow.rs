//! When each side is read, and when each wait ends.
//!
//! One rule: whoever is waited for has a deadline. A side that is not read cannot make progress, so its clock
//! stands still and the one of the peer that blocks it runs.

use crate::downstream::DownstreamPhase;
use crate::engine::{Engine, after};
use crate::output::{Action, ConnId};
use crate::slab::Key;
use crate::timers::NEVER;
use crate::upstream::UpstreamPhase;

/// Pipelined bytes that are kept while a response is under way; then the connection is not read.
const PIPELINE_MAX_BYTES: usize = 32 * 1024;

/// Timer entries that are always allowed; see [`Engine::tidy_timers`].
const TIMERS_SLACK_COUNT: usize = 64;

impl Engine {
    /// After anything that may let a caller's connection go on: reads on, or stops reading.
    pub(crate) fn settle_downstream(&mut self, now_ns: u64, key: Key) {
        let Some(downstream) = self.downstreams.find(key) else {
            return;
        };
        if downstream.inbuf.is_empty() {
            self.regulate_downstream(now_ns, key);
        } else {
            self.reread_downstream(now_ns, key);
        }
    }

    /// Reads from a caller exactly while what it sends can be used or kept within bounds.
    pub(crate) fn regulate_downstream(&mut self, now_ns: u64, key: Key) {
        let high_water_bytes = self.cfg.buffer.high_water_bytes;
        let Some(downstream) = self.downstreams.find(key) else {
            return;
        };
        let reads = match downstream.phase {
            DownstreamPhase::Head => downstream.unsent_bytes <= high_water_bytes,
            DownstreamPhase::Response => downstream.inbuf.len() < PIPELINE_MAX_BYTES,
            DownstreamPhase::Discard | DownstreamPhase::Linger => true,
            DownstreamPhase::RequestBody | DownstreamPhase::Tunnel => {
                match downstream
                    .exchange
                    .upstream
                    .map(|upstream| &self.upstreams[upstream])
                {
                    Some(upstream) if upstream.phase != UpstreamPhase::Connecting => {
                        upstream.unsent_bytes <= high_water_bytes
                    }
                    // Nobody takes the body yet; reading on is how a caller's leaving is noticed.
                    _ => downstream.inbuf.len() < PIPELINE_MAX_BYTES,
                }
            }
        };
        if reads != downstream.reading_paused {
            return;
        }
        downstream.reading_paused = !reads;
        let in_body = downstream.phase == DownstreamPhase::RequestBody
            && downstream.exchange.upstream.is_some_and(|upstream| {
                self.upstreams[upstream].phase != UpstreamPhase::Connecting
            });
        let conn = ConnId::Downstream(key);
        self.out.push_action(if reads {
            Action::ResumeReading(conn)
        } else {
            Action::PauseReading(conn)
        });
        let downstream = &self.downstreams[key];
        if downstream.phase == DownstreamPhase::Head {
            // The clock of the next request stands still while it could not be heard.
            let wait_ms = match (reads, downstream.head_begun || !downstream.inbuf.is_empty()) {
                (false, _) => self.cfg.downstream.write_idle_ms,
                (true, true) => self.cfg.downstream.request_head_ms,
                (true, false) => self.cfg.downstream.keep_alive_ms,
            };
            self.set_phase_deadline(key, after(now_ns, wait_ms));
        }
        if in_body {
            // A caller that is not read cannot make progress; then the peer that blocks it has the deadline.
            if reads {
                self.resume_body_clock(now_ns, key);
                let deadline_ns = self.body_deadline(now_ns, key);
                return self.set_phase_deadline(key, deadline_ns);
            }
            let downstream = &mut self.downstreams[key];
            downstream.exchange.body_paused_ns = now_ns;
            let exchange = &downstream.exchange;
            let wait_ms = if downstream.unsent_bytes > 0 {
                self.cfg.downstream.write_idle_ms
            } else if exchange.response_started {
                exchange
                    .proxy
                    .as_ref()
                    .map_or(0, |proxy| proxy.cfg.timeout.body_idle_ms)
            } else {
                0
            };
            self.set_phase_deadline(key, after(now_ns, wait_ms));
        }
    }

    /// Reads from a target exactly while the caller takes what it sends.
    pub(crate) fn regulate_upstream(&mut self, now_ns: u64, key: Key) {
        let high_water_bytes = self.cfg.buffer.high_water_bytes;
        let upstream = &mut self.upstreams[key];
        let reads = match upstream.phase {
            UpstreamPhase::ResponseBody | UpstreamPhase::Tunnel => {
                upstream
                .downstream
                .is_none_or(|key| self.downstreams[key].unsent_bytes <= high_water_bytes)
                // What a fault holds back comes first.
                && (upstream.inbuf.is_empty() || upstream.phase == UpstreamPhase::Tunnel)
            }
            _ => true,
        };
        if reads != upstream.reading_paused || upstream.phase == UpstreamPhase::Connecting {
            return;
        }
        upstream.reading_paused = !reads;
        if upstream.phase == UpstreamPhase::ResponseBody {
            let idle_ms = upstream.proxy.cfg.timeout.body_idle_ms;
            let deadline_ns = if reads { after(now_ns, idle_ms) } else { NEVER };
            self.timers
                .set(ConnId::Upstream(key), &mut upstream.timer, deadline_ns);
        }
        let conn = ConnId::Upstream(key);
        self.out.push_action(if reads {
            Action::ResumeReading(conn)
        } else {
            Action::PauseReading(conn)
        });
    }

    /// What was queued has been performed; whatever follows begins a send of its own.
    pub(crate) fn close_outboxes(&mut self) {
        while let Some(conn) = self.out.take_open() {
            match conn {
                ConnId::Downstream(key) => {
                    if let Some(downstream) = self.downstreams.find(key) {
                        downstream.outbox = Default::default();
                    }
                }
                ConnId::Upstream(key) => {
                    if let Some(upstream) = self.upstreams.find(key) {
                        upstream.outbox = Default::default();
                    }
                }
            }
        }
    }

    /// Entries of closed connections stay in the heap until they come due; when they outnumber the living they
    /// are swept out, so that the heap follows the number of connections and not the length of time-outs. The last
    /// caller to leave takes all of them along.
    pub(crate) fn tidy_timers(&mut self) {
        let connections_count = self.downstreams.len() + self.upstreams.len();
        let busy = !self.downstreams.is_empty();
        if busy && self.timers.len() <= TIMERS_SLACK_COUNT + 4 * connections_count {
            return;
        }
        let (downstreams, upstreams) = (&mut self.downstreams, &mut self.upstreams);
        self.timers.retain(|at_ns, conn| {
            let timer = match conn {
                ConnId::Downstream(key) => downstreams.find(key).map(|downstream| downstream.timer),
                ConnId::Upstream(key) => upstreams.find(key).map(|upstream| upstream.timer),
            };
            timer.is_some_and(|timer| timer.is_scheduled_at(at_ns))
        });
    }

    /// When a caller whose body is awaited has been too slow: without a byte for too long, or below the least
    /// average rate since the body was first asked for. Time in which it was not read does not count.
    pub(crate) fn body_deadline(&self, now_ns: u64, key: Key) -> u64 {
        let cfg = &self.cfg.downstream;
        let exchange = &self.downstreams[key].exchange;
        let idle_ns = after(now_ns, cfg.request_body_idle_ms);
        let least = cfg.request_body_min_bytes_per_s;
        if least == 0 {
            return idle_ns;
        }
        let earned_ms = exchange.body_bytes.saturating_mul(1_000) / least;
        let allowed_ms = cfg.min_rate_grace_ms.saturating_add(earned_ms);
        idle_ns.min(after(exchange.body_since_ns, allowed_ms.max(1)))
    }

    /// The caller is read again.
    fn resume_body_clock(&mut self, now_ns: u64, key: Key) {
        let exchange = &mut self.downstreams[key].exchange;
        if exchange.body_paused_ns > 0 {
            let paused_ns = now_ns.saturating_sub(exchange.body_paused_ns);
            exchange.body_since_ns += paused_ns;
            exchange.body_paused_ns = 0;
        }
    }

    /// When a caller that does not take what is unsent has been too slow.
    pub(crate) fn stall_deadline(&self, now_ns: u64, unsent_bytes: usize) -> u64 {
        if unsent_bytes == 0 {
            return NEVER;
        }
        let cfg = &self.cfg.downstream;
        let idle_ns = after(now_ns, cfg.write_idle_ms);
        let least = cfg.response_min_bytes_per_s;
        if least == 0 {
            return idle_ns;
        }
        let earned_ms = (unsent_bytes as u64).saturating_mul(1_000) / least;
        idle_ns.min(after(
            now_ns,
            cfg.min_rate_grace_ms.saturating_add(earned_ms),
        ))
    }

    #[inline]
    pub(crate) fn set_phase_deadline(&mut self, key: Key, deadline_ns: u64) {
        let downstream = &mut self.downstreams[key];
        downstream.phase_deadline_ns = deadline_ns;
        let earlier_ns = deadline_ns.min(downstream.total_deadline_ns);
        self.timers
            .set(ConnId::Downstream(key), &mut downstream.timer, earlier_ns);
    }

    #[inline]
    pub(crate) fn set_upstream_deadline(&mut self, key: Key, deadline_ns: u64) {
        let upstream = &mut self.upstreams[key];
        self.timers
            .set(ConnId::Upstream(key), &mut upstream.timer, deadline_ns);
    }
}
