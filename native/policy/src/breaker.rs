//! A circuit breaker: after failures in a row it refuses for a while, then lets a few probes
//! decide.
//!
//! | state    | lets pass                   | a success           | a failure              |
//! |----------|-----------------------------|---------------------|------------------------|
//! | Closed   | everything                  | forgets failures    | Open, when in a row    |
//! | Open     | nothing before the timeout  | dropped             | dropped                |
//! | HalfOpen | `half_open_requests` probes | Closed, when all do | Open, a whole new time |
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
    /// Failures in a row that open it; 0 counts as 1.
    pub failure_threshold: u32,
    /// How long it refuses before it probes.
    pub recovery_timeout_ns: u64,
    /// Probes that must succeed to close it, and pass meanwhile; 0 counts as 1.
    pub half_open_requests: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            recovery_timeout_ns: 30_000_000_000,
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
            Phase::Closed { .. } => {}
            Phase::Open { .. } => return None,
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
            Phase::Open { .. } => {}
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
                *failures_in_a_row += 1;
                if *failures_in_a_row >= self.cfg.failure_threshold {
                    self.enter(Phase::Open { since_ns: now_ns });
                }
            }
            Phase::Open { .. } => {}
            Phase::HalfOpen { .. } => self.enter(Phase::Open { since_ns: now_ns }),
        }
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
            Phase::Closed { .. } => State::Closed,
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
                now_ns.saturating_sub(since_ns) >= self.cfg.recovery_timeout_ns
            }
            _ => false,
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests;
