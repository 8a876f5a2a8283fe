//! Injected faults: after the rules of access, before breaker and limiter.
//!
//! ```text
//!   choose ──► (start delay) ──► (delay) ──► abort │ reset │ admit ──► throttle, truncate
//! ```
//!
//! A request that is held has no permit, no ticket, no upstream and no attempt; its head is kept, and it ends
//! at once when the caller leaves. What is injected is counted here and marked in the log; breaker, retries and
//! error metrics never hear of it.
//!
//! Cost: a proxy without a policy pays one look at an empty option a request, and one a response piece.

use std::rc::Rc;

use gatewayx_http::RequestHead;
use gatewayx_policy::fault::{Injection, Plan, RequestView, Rule, first_match};
use gatewayx_telemetry::{Cells, Permits, Region};

use crate::downstream::{Exchange, Wait};
use crate::engine::Engine;
use crate::fault_metrics::{DELAY_BOUNDS_NS, Injected};
use crate::metrics::{PERMIT_CELLS, cell, shared_cell};
use crate::output::CloseMode;
use crate::respond::write_abort;
use crate::rewrite::OutFraming;
use crate::slab::Key;
use crate::upstream::UpstreamPhase;

/// A throttled body is passed on in pieces of this much time.
const PACE_NS: u64 = 50_000_000;

/// How far a fault has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its start delay runs, or has not been looked at.
    Pending,
    /// Its delay runs, if it has one.
    Held,
    /// The request has gone on; what is left concerns the response.
    Passed,
}

/// The fault that an exchange is hit by.
pub(crate) struct ActiveFault {
    rule: Rc<Rule>,
    injection: Injection,
    stage: Stage,
    /// This worker's metrics of the rule.
    cells: Cells,
    /// One of the rule's `max_active`.
    place: Option<Place>,
    injected: Injected,
    // response
    /// Body bytes that were passed on.
    body_bytes: u64,
    /// When the bytes that were passed on have taken the time they should take.
    paid_ns: u64,
}

/// One of the faults that a rule may have under way, in all workers.
struct Place {
    shared: Cells,
    slots: Vec<Cells>,
    slot: u32,
}

impl Place {
    fn take(region: &Region, slot: u32, rule: &Rule) -> Option<Self> {
        let slots_count = region.geometry().slots_count;
        let place = Self {
            shared: region.shared(rule.block),
            slots: (0..slots_count)
                .map(|slot| region.cells(slot, rule.block))
                .collect(),
            slot,
        };
        place
            .permits()
            .try_acquire(rule.max_active)
            .then_some(place)
    }

    fn permits(&self) -> Permits<'_> {
        Permits::new(&self.shared, &self.slots, self.slot, PERMIT_CELLS)
    }
}

/// How much of a response's body may be passed on now.
enum Window {
    Whole,
    Bytes(usize),
    /// None until then.
    Closed(u64),
}

impl ActiveFault {
    /// Faults that have been injected.
    pub(crate) fn injected(&self) -> Injected {
        self.injected
    }

    /// It takes the upstream's place.
    pub(crate) fn is_final(&self) -> bool {
        self.rule.abort.is_some() || self.rule.reset
    }

    fn concerns_response(&self) -> bool {
        self.rule.truncate_after_bytes.is_some() || self.rule.throttle_bytes_per_second.is_some()
    }

    fn window(&mut self, now_ns: u64) -> Window {
        let left_bytes = self
            .rule
            .truncate_after_bytes
            .map(|max_bytes| max_bytes.saturating_sub(self.body_bytes));
        let paced_bytes = match self.rule.throttle_bytes_per_second {
            Some(_) if self.paid_ns > now_ns => return Window::Closed(self.paid_ns),
            Some(rate) => {
                self.paid_ns = now_ns;
                Some((u128::from(rate) * u128::from(PACE_NS) / 1_000_000_000).max(1) as u64)
            }
            None => None,
        };
        let bytes = [left_bytes, paced_bytes].into_iter().flatten().min();
        bytes.map_or(Window::Whole, |bytes| {
            Window::Bytes(usize::try_from(bytes).unwrap_or(usize::MAX))
        })
    }

    /// So many bytes of the body have been passed on.
    pub(crate) fn on_body(&mut self, len_bytes: usize) {
        self.body_bytes += len_bytes as u64;
        if let Some(rate) = self.rule.throttle_bytes_per_second {
            let takes_ns = len_bytes as u128 * 1_000_000_000 / u128::from(rate);
            let takes_ns = u64::try_from(takes_ns).unwrap_or(u64::MAX);
            self.paid_ns = self.paid_ns.saturating_add(takes_ns);
        }
    }

    fn is_cut(&self) -> bool {
        self.rule
            .truncate_after_bytes
            .is_some_and(|max_bytes| self.body_bytes >= max_bytes)
    }
}

impl Engine {
    /// Switches to other fault policies. A request that is held by one that is gone goes on at once.
    pub fn handle_faults(&mut self, now_ns: u64, plan: Plan) {
        self.faults = plan;
        self.assign_faults();
        let is_lifted = |exchange: &Exchange| {
            let fault = exchange.fault.as_ref();
            exchange.wait == Wait::Fault
                && fault.is_some_and(|fault| !self.faults.has_block(fault.rule.block))
        };
        let lifted: Vec<Key> = self
            .downstreams
            .keys()
            .filter(|&key| is_lifted(&self.downstreams[key].exchange))
            .collect();
        for key in lifted {
            self.pass_fault(now_ns, key);
            self.settle_downstream(now_ns, key);
        }
    }

    /// Gives every proxy the rules that are for it.
    pub(crate) fn assign_faults(&mut self) {
        for proxy in &self.proxies {
            let rules = self.faults.rules_for(&proxy.cfg.name, &proxy.cfg.namespace);
            *proxy.faults.borrow_mut() = rules;
        }
    }

    /// Whether the request is hit by a fault, which then stands in its exchange.
    pub(crate) fn choose_fault(
        &mut self,
        now_ns: u64,
        key: Key,
        src: &[u8],
        head: &RequestHead,
    ) -> bool {
        let exchange = &mut self.downstreams[key].exchange;
        let proxy = exchange.proxy.as_ref().expect("routed");
        let faults = proxy.faults.borrow();
        let Some(rules) = &*faults else { return false };
        let request = RequestView {
            method: head.method_span.of(src),
            path: match head.path.of(src) {
                b"" => b"/",
                path => path,
            },
            headers: head
                .fields
                .iter()
                .map(|field| (field.name.of(src), field.value.of(src))),
        };
        let now_unix_ms = now_ns.saturating_add(self.wall_offset_ns) / 1_000_000;
        let Some(rule) = first_match(rules, now_unix_ms, &request) else {
            return false;
        };
        let cells = self.region.cells(self.slot, rule.block);
        let shared = self.region.shared(rule.block);
        cells.add(cell::FAULT_MATCHED, 1);
        let sequence = || shared.update(shared_cell::FAULT_SEQUENCE, |n| (n.wrapping_add(1), n));
        let Some(injection) = rule.decide(&request, sequence, || self.ids.next_u64()) else {
            return false;
        };
        let mut place = None;
        if rule.max_active > 0 {
            place = Place::take(&self.region, self.slot, rule);
            if place.is_none() {
                return false;
            }
        }
        exchange.fault = Some(Box::new(ActiveFault {
            rule: rule.clone(),
            injection,
            stage: Stage::Pending,
            cells,
            place,
            injected: Injected::default(),
            body_bytes: 0,
            paid_ns: 0,
        }));
        true
    }

    /// Takes the fault of an exchange as far as it goes now.
    pub(crate) fn advance_fault(&mut self, now_ns: u64, key: Key) {
        let exchange = &mut self.downstreams[key].exchange;
        let fault = exchange.fault.as_mut().expect("chosen");
        let begins_ns = exchange
            .started_ns
            .saturating_add(fault.injection.start_delay_ns);
        if fault.stage == Stage::Pending && begins_ns <= now_ns {
            fault.stage = Stage::Held;
            if let Some(delay_ns) = fault.injection.delay_ns {
                self.inject(key, Injected::DELAY);
                self.cells
                    .histogram(cell::FAULT_DELAY, &DELAY_BOUNDS_NS)
                    .observe_ns(delay_ns);
            }
        }
        let exchange = &mut self.downstreams[key].exchange;
        let fault = exchange.fault.as_mut().expect("chosen");
        let delay_ns = fault.injection.delay_ns.unwrap_or(0);
        let until_ns = match fault.stage {
            Stage::Pending => begins_ns,
            Stage::Held | Stage::Passed => begins_ns.saturating_add(delay_ns),
        };
        if until_ns > now_ns {
            exchange.wait = Wait::Fault;
            return self.set_phase_deadline(key, until_ns);
        }
        exchange.wait = Wait::Nothing;
        if fault.rule.abort.is_some() {
            self.abort(now_ns, key);
        } else if fault.rule.reset {
            self.inject(key, Injected::RESET);
            self.close_books(now_ns, key);
            self.remove_downstream(key, CloseMode::Reset);
        } else {
            self.pass_fault(now_ns, key);
        }
    }

    /// The request goes on to its upstream.
    fn pass_fault(&mut self, now_ns: u64, key: Key) {
        let exchange = &mut self.downstreams[key].exchange;
        exchange.wait = Wait::Nothing;
        let fault = exchange.fault.as_mut().expect("chosen");
        let is_over = fault.stage == Stage::Pending || !fault.concerns_response();
        fault.stage = Stage::Passed;
        if is_over {
            self.leave_fault(key);
        }
        self.admit(now_ns, key);
    }

    /// Gives back the place that a fault held.
    pub(crate) fn leave_fault(&mut self, key: Key) {
        let Some(fault) = &mut self.downstreams[key].exchange.fault else {
            return;
        };
        if let Some(place) = fault.place.take() {
            place.permits().release();
        }
    }

    /// Counts a fault of the exchange, once of each kind.
    fn inject(&mut self, key: Key, kind: Injected) {
        let fault = self.downstreams[key].exchange.fault.as_mut();
        let fault = fault.expect("chosen");
        if !fault.injected.contains(kind) {
            fault.injected.insert(kind);
            fault.cells.add(kind.cell(), 1);
            self.cells.add(kind.cell(), 1);
        }
    }

    /// Answers in place of the upstream.
    fn abort(&mut self, now_ns: u64, key: Key) {
        self.inject(key, Injected::ABORT);
        let fault = self.downstreams[key].exchange.fault.as_ref();
        let rule = fault.expect("chosen").rule.clone();
        let abort = rule.abort.as_ref().expect("the caller has looked");
        self.downstreams[key].exchange.status = abort.status;
        self.send_answer(now_ns, key, |arena, exchange, connection, with_body| {
            write_abort(arena, abort, &exchange.request_id, connection, with_body);
        });
    }

    // ---- on the way back

    /// Passes on as much of a body as the fault of its exchange lets through; `None`: nothing now.
    pub(crate) fn read_faulted_body(
        &mut self,
        now_ns: u64,
        key: Key,
        bytes: &[u8],
        at: usize,
        is_input: bool,
    ) -> Option<usize> {
        let downstream_key = self.upstreams[key].downstream.expect("in use");
        let fault = self.downstreams[downstream_key].exchange.fault.as_mut();
        let fault = fault.expect("the caller has looked");
        let is_throttled = fault.rule.throttle_bytes_per_second.is_some();
        let end = match fault.window(now_ns) {
            Window::Whole => bytes.len(),
            Window::Bytes(max_bytes) => at.saturating_add(max_bytes).min(bytes.len()),
            Window::Closed(until_ns) => {
                self.set_upstream_deadline(key, until_ns);
                return None;
            }
        };
        if is_throttled {
            self.inject(downstream_key, Injected::THROTTLE);
        }
        let consumed = self.read_response_body(now_ns, key, &bytes[..end], at, is_input);
        self.cut_response(now_ns, key);
        Some(consumed)
    }

    /// Whether a body of the connection passes through [`Self::read_faulted_body`].
    #[inline]
    pub(crate) fn is_body_faulted(&self, key: Key) -> bool {
        let exchange = self.upstreams[key]
            .downstream
            .map(|key| &self.downstreams[key].exchange);
        exchange
            .and_then(|exchange| exchange.fault.as_ref())
            .is_some_and(|fault| fault.stage == Stage::Passed && fault.concerns_response())
    }

    /// Cuts a response whose body has reached the length that its fault leaves it.
    pub(crate) fn cut_response(&mut self, now_ns: u64, key: Key) {
        let Some(upstream) = self.upstreams.find(key) else {
            return;
        };
        let in_body = upstream.phase == UpstreamPhase::ResponseBody;
        let Some(downstream_key) = upstream.downstream.filter(|_| in_body) else {
            return;
        };
        let exchange = &mut self.downstreams[downstream_key].exchange;
        let is_cut = exchange.fault.as_ref().is_some_and(|fault| fault.is_cut());
        if !is_cut || !self.is_body_faulted(key) {
            return;
        }
        self.inject(downstream_key, Injected::TRUNCATE);
        let exchange = &mut self.downstreams[downstream_key].exchange;
        exchange.upstream_ended_ns = now_ns;
        let silent_end = exchange.out_framing == OutFraming::UntilClose;
        // The upstream did nothing wrong, and has not shown that it would have ended well.
        self.end_attempt(now_ns, downstream_key, None);
        self.detach_upstream(downstream_key, CloseMode::Reset);
        self.close_books(now_ns, downstream_key);
        if silent_end {
            self.remove_downstream(downstream_key, CloseMode::Reset);
        } else {
            self.linger(now_ns, downstream_key);
        }
    }

    /// The time of a throttled body's next piece has come. `false`: the connection waits for its peer.
    pub(crate) fn resume_faulted_body(&mut self, now_ns: u64, key: Key) -> bool {
        if self.upstreams[key].inbuf.is_empty() || !self.is_body_faulted(key) {
            return false;
        }
        self.reread_upstream(now_ns, key);
        true
    }

    /// The upstream has ended while a part of its response is still held: the rest goes at once.
    pub(crate) fn release_faulted_body(&mut self, now_ns: u64, key: Key) {
        while self
            .upstreams
            .find(key)
            .is_some_and(|upstream| !upstream.inbuf.is_empty())
            && self.is_body_faulted(key)
        {
            let downstream_key = self.upstreams[key].downstream.expect("faulted");
            if let Some(fault) = &mut self.downstreams[downstream_key].exchange.fault {
                fault.paid_ns = 0;
            }
            self.reread_upstream(now_ns, key);
        }
    }

    /// Reads no more of a response than is being passed on.
    pub(crate) fn pace_upstream(&mut self, now_ns: u64, key: Key) {
        let Some(upstream) = self.upstreams.find(key) else {
            return;
        };
        if upstream.phase != UpstreamPhase::ResponseBody || !self.is_body_faulted(key) {
            return;
        }
        self.regulate_upstream(now_ns, key);
        let Some(upstream) = self.upstreams.find(key) else {
            return;
        };
        let holds = !upstream.inbuf.is_empty();
        let downstream_key = upstream.downstream.expect("faulted");
        let exchange = &self.downstreams[downstream_key].exchange;
        let paid_ns = exchange.fault.as_ref().map_or(0, |fault| fault.paid_ns);
        if holds {
            self.set_upstream_deadline(key, paid_ns.max(now_ns));
        }
    }
}
