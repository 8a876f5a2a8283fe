//! From an admitted request to an upstream's answer: permits, attempts, retries.
//!
//! ```text
//!   admit ──► (queue) ──► proceed ──► dispatch ──► send_request
//!                            ▲                         │
//!                            └──── backoff ◄── fail_attempt
//! ```
//!
//! A permit is held from `proceed` to the end of the exchange, whatever the number of attempts. Every attempt
//! has its own ticket of the circuit breaker and its own place in the balancer, which hear of its end once.

use gatewayx_http::{CRLF, LAST_CHUNK, write_chunk_head};
use gatewayx_policy::{Pick, State};

use crate::downstream::{DownstreamPhase, Wait};
use crate::engine::{Engine, after};
use crate::error::{Blame, Reason, Retry};
use crate::metrics::{cell, shared_cell};
use crate::output::{Action, CloseMode, ConnId};
use crate::proxy::Proxy;
use crate::rewrite::write_head_for;
use crate::slab::Key;
use crate::timers::NEVER;
use crate::upstream::{Upstream, UpstreamPhase};

impl Engine {
    /// Lets the request pass the breaker and the limiter, has it wait, or turns it away.
    pub(crate) fn admit(&mut self, now_ns: u64, key: Key) {
        let exchange = &mut self.downstreams[key].exchange;
        let proxy = exchange.proxy.clone().expect("routed");
        if let Some(breaker) = proxy.breaker()
            && breaker.state(now_ns) == State::Open
        {
            return self.fail(now_ns, key, Reason::CircuitOpen);
        }
        if proxy.cfg.max_concurrent == 0 {
            return self.proceed(now_ns, key);
        }
        let permits = proxy.permits();
        let limit = proxy.limit();
        let Some(queue) = &proxy.cfg.queue else {
            if permits.try_acquire(limit) {
                self.hold_permit(key);
                return self.proceed(now_ns, key);
            }
            proxy.cells.add(cell::LIMITER_REJECTED, 1);
            return self.fail(now_ns, key, Reason::LimitReached);
        };
        // Whoever waits comes before whoever arrives, also in another worker.
        let nobody_waits = permits.waiting_count(cell::QUEUED) == 0;
        if nobody_waits && permits.try_acquire(limit) {
            self.hold_permit(key);
            return self.proceed(now_ns, key);
        }
        if proxy.queue.borrow().len() >= queue.size {
            proxy.cells.add(cell::LIMITER_REJECTED, 1);
            return self.fail(now_ns, key, Reason::QueueFull);
        }
        if permits.acquire_or_announce(limit, cell::QUEUED) {
            self.hold_permit(key);
            return self.proceed(now_ns, key);
        }
        let exchange = &mut self.downstreams[key].exchange;
        let place = proxy
            .queue
            .borrow_mut()
            .push(key, exchange.urgency, queue.order);
        exchange.wait = Wait::Permit(place);
        self.set_phase_deadline(key, after(now_ns, queue.timeout_ms));
    }

    fn hold_permit(&mut self, key: Key) {
        self.downstreams[key].exchange.holds_permit = true;
    }

    /// Gives back what an exchange held or waited for.
    pub(crate) fn release_permit(&mut self, now_ns: u64, key: Key) {
        let exchange = &mut self.downstreams[key].exchange;
        let Some(proxy) = exchange.proxy.clone() else {
            return;
        };
        if let Wait::Permit(place) = std::mem::take(&mut exchange.wait) {
            proxy.queue.borrow_mut().remove(place);
            proxy.cells.sub(cell::QUEUED, 1);
        }
        if std::mem::take(&mut exchange.holds_permit) {
            proxy.permits().release();
            if proxy.permits().waiting_count(cell::QUEUED) > 0 {
                self.freed.push((proxy, now_ns));
            }
        }
    }

    /// A permit is free and somebody waits: the next worker in turn that has waiting requests gets it. Done at the
    /// end of a drain, not where the permit comes free, because an exchange that is let go can end at once and
    /// free its permit again.
    pub(crate) fn pass_permit_on(&mut self, now_ns: u64, proxy: &Proxy) {
        let slots_count = self.region.geometry().slots_count;
        for step in 1..=slots_count {
            let slot = (self.slot + step) % slots_count;
            if slot == self.slot {
                return self.grant_permits(now_ns, proxy);
            }
            if self.region.cells(slot, proxy.cfg.block).load(cell::QUEUED) > 0 {
                return self.out.push_action(Action::Wake { slot });
            }
        }
    }

    /// Serves those who wait here with the permits that are free; without a limit, all of them.
    pub(crate) fn grant_permits(&mut self, now_ns: u64, proxy: &Proxy) {
        let permits = proxy.permits();
        let limit = proxy.limit();
        while proxy.queue.borrow().len() > 0 && (limit == 0 || permits.try_acquire(limit)) {
            let Some(key) = proxy.queue.borrow_mut().pop() else {
                break;
            };
            proxy.cells.sub(cell::QUEUED, 1);
            if limit > 0 {
                self.hold_permit(key);
            }
            self.downstreams[key].exchange.wait = Wait::Nothing;
            self.proceed(now_ns, key);
            self.settle_downstream(now_ns, key);
        }
    }

    /// Asks the breaker, then dispatches.
    fn proceed(&mut self, now_ns: u64, key: Key) {
        let exchange = &mut self.downstreams[key].exchange;
        let proxy = exchange.proxy.clone().expect("routed");
        if let Some(breaker) = proxy.breaker() {
            exchange.ticket = breaker.try_acquire(now_ns);
            if exchange.ticket.is_none() {
                return self.fail(now_ns, key, Reason::CircuitOpen);
            }
        }
        let pick = Pick {
            now_ns,
            key_hash: exchange.key_hash,
            random: self.ids.next_u64(),
            down: proxy.shared.load(shared_cell::DOWN),
            tried: exchange.tried,
        };
        exchange.target = proxy.balancer.borrow_mut().pick(&pick);
        exchange.tried |= 1 << exchange.target;
        exchange.attempt_open = true;
        exchange.waits_since_ns = if exchange.body.is_done() {
            now_ns
        } else {
            NEVER
        };
        exchange.head_ns = 0;
        if exchange.attempts_count == 0 {
            exchange.dispatched_ns = now_ns;
        }
        exchange.attempts_count += 1;
        self.dispatch(now_ns, key, true);
    }

    /// Gives the attempt a connection: the warmest idle one, or a new one.
    fn dispatch(&mut self, now_ns: u64, key: Key, may_reuse: bool) {
        let exchange = &mut self.downstreams[key].exchange;
        let proxy = exchange.proxy.clone().expect("routed");
        let target = proxy.targets[exchange.target].id;
        if may_reuse && let Some(idle) = self.pool.take(target) {
            exchange.upstream = Some(idle);
            let upstream = &mut self.upstreams[idle];
            upstream.proxy.cells.sub(cell::UPSTREAM_IDLE, 1);
            proxy.cells.add(cell::UPSTREAM_ACTIVE, 1);
            proxy.cells.add(cell::UPSTREAM_REUSE, 1);
            upstream.proxy = proxy;
            upstream.phase = UpstreamPhase::AwaitingHead;
            upstream.downstream = Some(key);
            return self.send_request(now_ns, key);
        }
        self.tidy_timers();
        let dial_ms = proxy.cfg.timeout.dial_ms;
        let upstream = self
            .upstreams
            .insert(Upstream::connecting(target, proxy, key));
        self.downstreams[key].exchange.upstream = Some(upstream);
        self.set_upstream_deadline(upstream, after(now_ns, dial_ms));
        self.await_upstream(now_ns, key);
        self.out.push_action(Action::Connect {
            key: upstream,
            target,
        });
    }

    /// The connection is there: what is known of the request goes out, and the clocks of the next wait start.
    pub(crate) fn send_request(&mut self, now_ns: u64, key: Key) {
        let exchange = &mut self.downstreams[key].exchange;
        let upstream_key = exchange.upstream.expect("dispatched");
        let upstream = &mut self.upstreams[upstream_key];
        let conn = ConnId::Upstream(upstream_key);
        let target = &upstream.proxy.targets[exchange.target];
        self.out.write(conn, &mut upstream.outbox, |arena| {
            write_head_for(arena, &exchange.request_head, target);
            // Of an earlier attempt; the trailers of a chunked body are not kept.
            if let Some(replay) = exchange.replay.as_ref().filter(|replay| !replay.is_empty()) {
                if exchange.body_chunked {
                    write_chunk_head(arena, replay.len());
                    arena.extend_from_slice(replay);
                    arena.extend_from_slice(CRLF);
                } else {
                    arena.extend_from_slice(replay);
                }
            }
            if exchange.body_chunked && exchange.body.is_done() {
                arena.extend_from_slice(LAST_CHUNK);
                arena.extend_from_slice(CRLF);
            }
        });
        let timeout = &upstream.proxy.cfg.timeout;
        if exchange.body.is_done() {
            let deadline_ns = after(now_ns, timeout.response_header_ms);
            self.set_upstream_deadline(upstream_key, deadline_ns);
            return self.await_upstream(now_ns, key);
        }
        let continue_ns = if exchange.awaits_continue {
            after(now_ns, timeout.expect_continue_ms)
        } else {
            NEVER
        };
        self.set_upstream_deadline(upstream_key, continue_ns);
        let exchange = &mut self.downstreams[key].exchange;
        if exchange.body_since_ns == 0 {
            exchange.body_since_ns = now_ns;
        }
        let deadline_ns = self.body_deadline(now_ns, key);
        self.set_phase_deadline(key, deadline_ns);
    }

    /// It is the upstream's turn; of the caller's deadlines only that of an unfinished earlier response runs.
    pub(crate) fn await_upstream(&mut self, now_ns: u64, key: Key) {
        let deadline_ns = self.stall_deadline(now_ns, self.downstreams[key].unsent_bytes);
        self.set_phase_deadline(key, deadline_ns);
    }

    /// The attempt has ended: well, badly, or without telling anything of the upstream.
    pub(crate) fn end_attempt(&mut self, now_ns: u64, key: Key, failed: Option<bool>) {
        let exchange = &mut self.downstreams[key].exchange;
        if !std::mem::take(&mut exchange.attempt_open) {
            return;
        }
        let ticket = exchange.ticket.take();
        let Some(proxy) = &exchange.proxy else { return };
        proxy
            .balancer
            .borrow_mut()
            .on_end(exchange.target, now_ns, failed);
        if let (Some(breaker), Some(ticket)) = (proxy.breaker(), ticket) {
            breaker.on_result(ticket, now_ns, failed, exchange.waited_ns(now_ns));
        }
        if let Some(adaptive) = proxy.adaptive()
            && failed == Some(true)
            && exchange.head_ns == 0
        {
            adaptive.on_failure(now_ns, exchange.waited_ns(now_ns));
        }
    }

    /// The attempt's response head is there.
    pub(crate) fn on_response_head(&mut self, now_ns: u64, key: Key, status: u16) {
        let exchange = &mut self.downstreams[key].exchange;
        exchange.head_ns = now_ns;
        let Some(proxy) = &exchange.proxy else { return };
        if let Some(adaptive) = proxy.adaptive()
            && exchange.waits_since_ns < NEVER
            && !proxy.is_failure(status)
            && adaptive.on_response(now_ns, exchange.waited_ns(now_ns))
            && proxy.permits().waiting_count(cell::QUEUED) > 0
        {
            self.freed.push((proxy.clone(), now_ns));
        }
    }

    /// An attempt gave no response: tries once more if the rules allow it, else fails the exchange.
    pub(crate) fn fail_attempt(&mut self, now_ns: u64, key: Key, reason: Reason) {
        let exchange = &self.downstreams[key].exchange;
        let wanted = exchange
            .proxy
            .as_ref()
            .and_then(|proxy| proxy.cfg.retry.as_ref())
            .is_some_and(|retry| match reason.retry() {
                Retry::Never => false,
                Retry::Unsent => retry.on_connect_failure,
                Retry::Unanswered => retry.on_reset && exchange.method.is_idempotent(),
                Retry::TimedOut => retry.on_timeout && exchange.method.is_idempotent(),
            });
        if !wanted || !self.retry(now_ns, key) {
            self.fail(now_ns, key, reason);
        }
    }

    /// The upstream refused with a status that the proxy retries. `false`: it is the answer.
    pub(crate) fn retry_status(&mut self, now_ns: u64, key: Key, status: u16) -> bool {
        let exchange = &self.downstreams[key].exchange;
        let wanted = exchange.method.is_idempotent()
            && exchange
                .proxy
                .as_ref()
                .and_then(|proxy| proxy.cfg.retry.as_ref())
                .is_some_and(|retry| retry.on_statuses.contains(&status));
        wanted && self.retry(now_ns, key)
    }

    /// Schedules another attempt, if one is left, the request can be sent again, and the budget has room.
    fn retry(&mut self, now_ns: u64, key: Key) -> bool {
        let downstream = &self.downstreams[key];
        let exchange = &downstream.exchange;
        let Some(proxy) = exchange.proxy.clone() else {
            return false;
        };
        let Some(retry) = &proxy.cfg.retry else {
            return false;
        };
        let repeatable = exchange.attempts_count < retry.attempts
            && !exchange.response_started
            && !exchange.upgrade
            && exchange.replay.is_some();
        if !repeatable || !proxy.retry_budget.borrow_mut().try_retry(now_ns) {
            return false;
        }
        proxy.cells.add(cell::RETRIES, 1);
        self.end_attempt(now_ns, key, Some(true));
        self.detach_upstream(key, CloseMode::Reset);
        let exchange = &mut self.downstreams[key].exchange;
        exchange.wait = Wait::Backoff;
        let doublings = (exchange.attempts_count - 1).min(16);
        let whole_ms = retry
            .backoff_ms
            .saturating_mul(1 << doublings)
            .min(retry.backoff_max_ms);
        let drawn_ms = whole_ms / 2 + self.ids.next_u64() % (whole_ms / 2 + 1);
        self.set_phase_deadline(
            key,
            now_ns.saturating_add(drawn_ms.saturating_mul(1_000_000)),
        );
        true
    }

    /// The wait that the phase deadline ended: `true` when the exchange was in one.
    pub(crate) fn end_wait(&mut self, now_ns: u64, key: Key) -> bool {
        match self.downstreams[key].exchange.wait {
            Wait::Nothing => false,
            Wait::Permit(_) => {
                self.fail(now_ns, key, Reason::QueueTimeout);
                true
            }
            Wait::Fault => {
                self.advance_fault(now_ns, key);
                true
            }
            Wait::Backoff => {
                self.downstreams[key].exchange.wait = Wait::Nothing;
                self.proceed(now_ns, key);
                true
            }
        }
    }

    /// A connection of the pool ended before it answered. If it had been idle before, its late close says
    /// nothing about the request, and one that may be repeated is sent once more on a new connection (RFC 9112
    /// section 9.3.1); that costs neither an attempt nor the budget.
    pub(crate) fn lose_upstream(&mut self, now_ns: u64, key: Key, late_close: bool) {
        let exchange = &mut self.downstreams[key].exchange;
        let repeatable = late_close
            && !exchange.late_close_repeated
            && exchange.method.is_idempotent()
            && exchange.body.is_done()
            && exchange.body_bytes == 0
            && exchange.informational_count == 0
            && !exchange.upgrade;
        if !repeatable {
            return self.fail_attempt(now_ns, key, Reason::UpstreamReset);
        }
        exchange.late_close_repeated = true;
        if let Some(proxy) = &exchange.proxy {
            proxy.cells.add(cell::RETRIES, 1);
        }
        self.detach_upstream(key, CloseMode::Graceful);
        self.dispatch(now_ns, key, false);
    }

    /// Lets the connection go that an exchange was using, which nobody can use any more.
    pub(crate) fn detach_upstream(&mut self, key: Key, mode: CloseMode) {
        if let Some(upstream) = self.downstreams[key].exchange.upstream.take() {
            self.upstreams[upstream].downstream = None;
            self.close_upstream(upstream, mode);
        }
    }

    /// Whether a failure tells of the upstream's health, and what.
    pub(crate) fn verdict(reason: Reason) -> Option<bool> {
        (reason.blame() == Blame::Upstream).then_some(true)
    }

    /// A target that does not take the request's bytes is given as long as one that sends none.
    pub(crate) fn arm_request_stall(&mut self, now_ns: u64, upstream_key: Key) {
        let upstream = &self.upstreams[upstream_key];
        let Some(key) = upstream.downstream else {
            return;
        };
        let downstream = &self.downstreams[key];
        // While the caller waits for 100 the shorter deadline of that wait runs.
        let waits = upstream.phase == UpstreamPhase::AwaitingHead
            && downstream.phase == DownstreamPhase::RequestBody
            && !downstream.exchange.awaits_continue;
        if waits {
            let idle_ms = upstream.proxy.cfg.timeout.body_idle_ms;
            let deadline_ns = if upstream.unsent_bytes > 0 {
                after(now_ns, idle_ms)
            } else {
                NEVER
            };
            self.set_upstream_deadline(upstream_key, deadline_ns);
        }
    }
}
