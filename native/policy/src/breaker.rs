//! A circuit breaker: after failures in a row it refuses for a while, then lets a few probes
//! decide.
//!
//! | state    | lets pass                   | a success           | a failure              |
//! |----------|-----------------------------|---------------------|------------------------|
//! | Closed   | everything                  | forgets failures    | Open, when in a row    |
//! | Open     | nothing before the timeout  | dropped             | dropped                |
//! | HalfOpen | `half_open_requests` probes | Closed, when all do | Open, a whole new time |
//!
//! An operator can force it open or closed; it stays so, whatever happens, until it is reset to a closed
//! breaker without a past.
//!
//! # Jitter
//!
//! Many gateways that lost the same upstream at the same time would also probe it at the same time. With
//! `recovery_jitter_percent` the timeout is longer by a share that is drawn anew each time it opens,
//! between nothing and that percentage; never shorter. The draw is a hash of what the state holds anyway, so
//! that all workers of a gateway see the same end.
//!
//! # Late results
//!
//! Every change of state begins a new *generation*, and the ticket that lets a request pass names
//! the generation it was given in. A result that comes back with an older one is dropped: it says
//! how the upstream was, not how it is. Without this the slow failures of the requests that opened
//! the breaker would fail its probes for it.
//!
//! # Lost probes
//!
//! A probe whose result never comes would keep the breaker half-open for ever. So when all probes
//! are out, one more passes each time another recovery timeout has gone by. The generation stays,
//! so that a slow probe still counts when it returns.

mod packed;

/// When the breaker opens and how it closes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it; 0: none do, because something else decides.
    pub failure_threshold: u32,
    /// How long it refuses before it probes, at least.
    pub recovery_timeout_ns: u64,
    /// How much longer it may refuse, drawn each time.
    pub recovery_jitter_percent: u32,
    /// Probes that must succeed to close it, and pass meanwhile; 0 counts as 1.
    pub half_open_requests: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            recovery_timeout_ns: 30_000_000_000,
            recovery_jitter_percent: 0,
            half_open_requests: 1,
        }
    }
}

/// The state as users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Requests pass.
    Closed,
    /// Requests are refused.
    Open,
    /// A few probes pass.
    HalfOpen,
}

/// What an operator has it do, whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    /// Refuse everything.
    Open,
    /// Let everything pass.
    Closed,
}

/// Leave to pass, to be handed back with the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    generation: u64,
}

impl Ticket {
    /// The ticket as a number, which is never 0.
    pub const fn generation(self) -> u64 {
        self.generation
    }

    /// The ticket of a number that [`Ticket::generation`] gave.
    pub const fn from_generation(generation: u64) -> Self {
        Self { generation }
    }
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed {
        failures_in_a_row: u32,
    },
    Open {
        since_ns: u64,
    },
    /// Invariant: `succeeded <= admitted <= half_open_requests`.
    HalfOpen {
        admitted: u32,
        succeeded: u32,
        last_admitted_ns: u64,
    },
    Forced(Forced),
}

/// The state machine. `now_ns` may come from any clock; one that steps back delays, no more.
#[derive(Clone, Debug)]
pub struct Breaker {
    cfg: BreakerConfig,
    phase: Phase,
    generation: u64,
}

impl Breaker {
    /// A closed breaker.
    pub const fn new(cfg: BreakerConfig) -> Self {
        Self {
            cfg,
            phase: Phase::Closed {
                failures_in_a_row: 0,
            },
            generation: 1,
        }
    }

    /// Lets a request pass, or refuses it with `None`.
    pub fn try_acquire(&mut self, now_ns: u64) -> Option<Ticket> {
        if self.has_recovered(now_ns) {
            let half_open = Phase::HalfOpen {
                admitted: 0,
                succeeded: 0,
                last_admitted_ns: now_ns,
            };
            self.enter(half_open);
        }
        match &mut self.phase {
            Phase::Closed { .. } | Phase::Forced(Forced::Closed) => {}
            Phase::Open { .. } | Phase::Forced(Forced::Open) => return None,
            Phase::HalfOpen {
                admitted,
                last_admitted_ns,
                ..
            } => {
                let all_out = *admitted >= self.cfg.half_open_requests.max(1);
                let waited_ns = now_ns.saturating_sub(*last_admitted_ns);
                if all_out && waited_ns < self.cfg.recovery_timeout_ns {
                    return None;
                }
                *admitted += u32::from(!all_out);
                *last_admitted_ns = now_ns;
            }
        }
        Some(self.ticket())
    }

    /// A request succeeded.
    pub fn on_success(&mut self, ticket: Ticket) {
        if ticket != self.ticket() {
            return;
        }
        match &mut self.phase {
            Phase::Closed { failures_in_a_row } => *failures_in_a_row = 0,
            Phase::Open { .. } | Phase::Forced(_) => {}
            Phase::HalfOpen {
                admitted,
                succeeded,
                ..
            } => {
                *succeeded += 1;
                *admitted = (*admitted).max(*succeeded);
                if *succeeded >= self.cfg.half_open_requests.max(1) {
                    self.enter(Phase::Closed {
                        failures_in_a_row: 0,
                    });
                }
            }
        }
    }

    /// A request failed.
    pub fn on_failure(&mut self, ticket: Ticket, now_ns: u64) {
        if ticket != self.ticket() {
            return;
        }
        match &mut self.phase {
            Phase::Closed { failures_in_a_row } => {
                *failures_in_a_row = failures_in_a_row.saturating_add(1);
                let threshold = self.cfg.failure_threshold;
                if threshold > 0 && *failures_in_a_row >= threshold {
                    self.enter(Phase::Open { since_ns: now_ns });
                }
            }
            Phase::Open { .. } | Phase::Forced(_) => {}
            Phase::HalfOpen { .. } => self.enter(Phase::Open { since_ns: now_ns }),
        }
    }

    /// A request succeeded but took too long: a success, unless it was a probe.
    pub fn on_slow_success(&mut self, ticket: Ticket, now_ns: u64) {
        if matches!(self.phase, Phase::HalfOpen { .. }) {
            self.on_failure(ticket, now_ns);
        } else {
            self.on_success(ticket);
        }
    }

    /// Opens it, for a reason that the caller knows, if it is closed as it was for this ticket.
    pub fn trip(&mut self, ticket: Ticket, now_ns: u64) {
        if self.counts(ticket) {
            self.enter(Phase::Open { since_ns: now_ns });
        }
    }

    /// Whether a result belongs to a closed breaker's present past: what a window may count.
    pub const fn counts(&self, ticket: Ticket) -> bool {
        matches!(self.phase, Phase::Closed { .. }) && ticket.generation == self.generation
    }

    /// A request ended without saying anything about the upstream; a probe's place is free again.
    pub fn on_cancel(&mut self, ticket: Ticket) {
        if ticket != self.ticket() {
            return;
        }
        if let Phase::HalfOpen {
            admitted,
            succeeded,
            ..
        } = &mut self.phase
        {
            *admitted = admitted.saturating_sub(1).max(*succeeded);
        }
    }

    /// Keeps it open or closed until [`Self::reset`].
    pub fn force(&mut self, forced: Forced) {
        self.enter(Phase::Forced(forced));
    }

    /// What it is forced to.
    pub const fn forced(&self) -> Option<Forced> {
        match self.phase {
            Phase::Forced(forced) => Some(forced),
            _ => None,
        }
    }

    /// Closes the breaker; results of what passed before are late.
    pub fn reset(&mut self) {
        self.enter(Phase::Closed {
            failures_in_a_row: 0,
        });
    }

    /// The state at this moment: an open breaker whose timeout has gone by is half-open, although
    /// no probe has passed yet.
    pub const fn state(&self, now_ns: u64) -> State {
        match self.phase {
            Phase::Closed { .. } | Phase::Forced(Forced::Closed) => State::Closed,
            Phase::Forced(Forced::Open) => State::Open,
            Phase::Open { .. } if !self.has_recovered(now_ns) => State::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// A ticket of the present generation, for callers who kept none.
    pub const fn ticket(&self) -> Ticket {
        Ticket {
            generation: self.generation,
        }
    }

    const fn has_recovered(&self, now_ns: u64) -> bool {
        match self.phase {
            Phase::Open { since_ns } => {
                let open_ns = self.cfg.recovery_timeout_ns;
                let longer_ns = jitter_ns(
                    open_ns,
                    self.cfg.recovery_jitter_percent,
                    self.generation,
                    since_ns,
                );
                now_ns.saturating_sub(since_ns) >= open_ns.saturating_add(longer_ns)
            }
            _ => false,
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation += 1;
    }
}

/// From nothing to `percent` of `open_ns`, by the moment at which the breaker opened: the finalizer of
/// splitmix64, which spreads moments that are close to each other over all values.
const fn jitter_ns(open_ns: u64, percent: u32, generation: u64, since_ns: u64) -> u64 {
    let mut hash = (since_ns / packed::TICK_NS) ^ (generation << 32);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    let longest_ns = open_ns as u128 * percent as u128 / 100;
    ((longest_ns * (hash >> 32) as u128) >> 32) as u64
}

#[cfg(test)]
mod tests;
