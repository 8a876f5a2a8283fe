use super::*;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn breaker(failure_threshold: u32, half_open_requests: u32) -> Breaker {
    Breaker::new(BreakerConfig {
        failure_threshold,
        half_open_requests,
        ..BreakerConfig::default()
    })
}

/// An open breaker, opened at 0 by the ticket that is returned beside it.
fn opened(half_open_requests: u32) -> (Breaker, Ticket) {
    let mut breaker = breaker(1, half_open_requests);
    let ticket = breaker.try_acquire(0).unwrap();
    breaker.on_failure(ticket, 0);
    assert_eq!(breaker.state(0), State::Open);
    (breaker, ticket)
}

#[test]
fn opens_after_failures_in_a_row_only() {
    let mut breaker = breaker(3, 1);
    for failed in [true, true, false, true, true] {
        let ticket = breaker.try_acquire(0).unwrap();
        if failed {
            breaker.on_failure(ticket, 0)
        } else {
            breaker.on_success(ticket)
        }
    }
    assert_eq!(breaker.state(0), State::Closed);
    let ticket = breaker.try_acquire(0).unwrap();
    breaker.on_failure(ticket, 7);
    assert_eq!(breaker.state(7), State::Open);
    assert_eq!(breaker.try_acquire(7), None);
}

#[test]
fn recovers_exactly_when_the_timeout_has_gone_by() {
    let (mut breaker, _) = opened(1);
    assert_eq!(breaker.try_acquire(30 * SECOND - 1), None);
    assert_eq!(breaker.state(30 * SECOND - 1), State::Open);
    assert_eq!(breaker.state(30 * SECOND), State::HalfOpen);
    let probe = breaker.try_acquire(30 * SECOND).unwrap();
    assert_eq!(
        breaker.try_acquire(30 * SECOND),
        None,
        "one probe at a time"
    );
    breaker.on_success(probe);
    assert_eq!(breaker.state(30 * SECOND), State::Closed);
}

#[test]
fn a_failed_probe_opens_for_another_timeout() {
    let (mut breaker, _) = opened(2);
    let first = breaker.try_acquire(30 * SECOND).unwrap();
    let second = breaker.try_acquire(30 * SECOND).unwrap();
    breaker.on_success(first);
    breaker.on_failure(second, 40 * SECOND);
    assert_eq!(breaker.state(70 * SECOND - 1), State::Open);
    assert_eq!(breaker.state(70 * SECOND), State::HalfOpen);
}

#[test]
fn closes_when_every_probe_has_succeeded() {
    let (mut breaker, _) = opened(3);
    let probes: Vec<_> = (0..4)
        .map_while(|_| breaker.try_acquire(30 * SECOND))
        .collect();
    assert_eq!(probes.len(), 3);
    for probe in probes {
        assert_eq!(breaker.state(30 * SECOND), State::HalfOpen);
        breaker.on_success(probe);
    }
    assert_eq!(breaker.state(30 * SECOND), State::Closed);
}

#[test]
fn late_results_are_dropped() {
    let (mut breaker, early) = opened(1);
    breaker.on_success(early);
    breaker.on_failure(early, 29 * SECOND);
    assert_eq!(
        breaker.state(30 * SECOND),
        State::HalfOpen,
        "the timeout was not extended"
    );
    let probe = breaker.try_acquire(30 * SECOND).unwrap();
    breaker.on_failure(early, 30 * SECOND);
    breaker.on_success(early);
    breaker.on_cancel(early);
    assert_eq!(
        breaker.try_acquire(30 * SECOND),
        None,
        "the probe is still out"
    );
    breaker.on_success(probe);
    breaker.on_failure(probe, 30 * SECOND);
    assert_eq!(breaker.state(30 * SECOND), State::Closed);
}

#[test]
fn a_result_without_a_ticket_of_its_own_cannot_touch_an_open_breaker() {
    let (mut breaker, _) = opened(1);
    breaker.on_success(breaker.ticket());
    breaker.on_failure(breaker.ticket(), 29 * SECOND);
    breaker.on_cancel(breaker.ticket());
    assert_eq!(breaker.state(30 * SECOND - 1), State::Open);
    assert_eq!(breaker.state(30 * SECOND), State::HalfOpen);
}

#[test]
fn a_cancelled_probe_makes_room_for_another() {
    let (mut breaker, _) = opened(1);
    let probe = breaker.try_acquire(30 * SECOND).unwrap();
    breaker.on_cancel(probe);
    let probe = breaker.try_acquire(30 * SECOND).unwrap();
    breaker.on_success(probe);
    assert_eq!(breaker.state(30 * SECOND), State::Closed);
    let ticket = breaker.try_acquire(30 * SECOND).unwrap();
    breaker.on_cancel(ticket);
    assert_eq!(
        breaker.state(30 * SECOND),
        State::Closed,
        "nothing to give back when closed"
    );
}

#[test]
fn cancelling_too_often_never_admits_more_than_what_must_succeed() {
    let (mut breaker, _) = opened(2);
    let first = breaker.try_acquire(30 * SECOND).unwrap();
    breaker.on_success(first);
    (0..3).for_each(|_| breaker.on_cancel(first));
    assert!(breaker.try_acquire(30 * SECOND).is_some());
    assert_eq!(breaker.try_acquire(30 * SECOND), None);
}

#[test]
fn a_lost_probe_does_not_keep_it_half_open_for_ever() {
    let (mut breaker, _) = opened(1);
    let lost = breaker.try_acquire(30 * SECOND).unwrap();
    assert_eq!(breaker.try_acquire(60 * SECOND - 1), None);
    let second = breaker.try_acquire(60 * SECOND).unwrap();
    assert_eq!(breaker.try_acquire(60 * SECOND), None);
    assert_eq!(
        lost, second,
        "a slow probe counts as well as its replacement"
    );
    breaker.on_success(lost);
    assert_eq!(breaker.state(60 * SECOND), State::Closed);
}

#[test]
fn a_lost_probe_that_succeeds_after_cancellations_takes_a_place() {
    let (mut breaker, _) = opened(2);
    let probes: Vec<_> = [30, 30, 60]
        .map(|seconds| breaker.try_acquire(seconds * SECOND).unwrap())
        .into();
    breaker.on_cancel(probes[0]);
    breaker.on_cancel(probes[1]);
    breaker.on_success(probes[2]);
    assert!(breaker.try_acquire(60 * SECOND).is_some());
    assert_eq!(breaker.try_acquire(60 * SECOND), None);
}

#[test]
fn reset_closes_and_forgets() {
    let (mut breaker, _) = opened(1);
    breaker.reset();
    let before = breaker.try_acquire(0).unwrap();
    breaker.reset();
    breaker.on_failure(before, 0);
    assert_eq!(breaker.state(0), State::Closed);
}

#[test]
fn no_probes_count_as_one() {
    let mut breaker = Breaker::new(BreakerConfig {
        failure_threshold: 1,
        recovery_timeout_ns: 0,
        half_open_requests: 0,
        ..BreakerConfig::default()
    });
    let ticket = breaker.try_acquire(0).unwrap();
    breaker.on_failure(ticket, 0);
    let probe = breaker.try_acquire(0).unwrap();
    assert_ne!(probe.generation(), ticket.generation());
    breaker.on_success(Ticket::from_generation(probe.generation()));
    assert_eq!(breaker.state(0), State::Closed);
}

#[test]
fn without_a_threshold_failures_in_a_row_open_nothing() {
    let mut breaker = breaker(0, 1);
    let ticket = breaker.ticket();
    (0..1_000).for_each(|_| breaker.on_failure(ticket, 0));
    assert_eq!(breaker.state(0), State::Closed);
    breaker.trip(ticket, 0);
    assert_eq!(breaker.state(0), State::Open);
}

#[test]
fn a_trip_counts_once_and_only_against_the_breaker_that_it_saw() {
    let (mut breaker, early) = opened(1);
    breaker.trip(early, 29 * SECOND);
    assert_eq!(breaker.state(30 * SECOND), State::HalfOpen);
    let probe = breaker.try_acquire(30 * SECOND).unwrap();
    breaker.trip(probe, 30 * SECOND);
    breaker.on_success(probe);
    breaker.trip(early, 30 * SECOND);
    assert_eq!(breaker.state(30 * SECOND), State::Closed);
}

#[test]
fn a_slow_probe_fails_and_a_slow_call_does_not() {
    let (mut breaker, _) = opened(1);
    let probe = breaker.try_acquire(30 * SECOND).unwrap();
    breaker.on_slow_success(probe, 31 * SECOND);
    assert_eq!(breaker.state(61 * SECOND - 1), State::Open);
    let probe = breaker.try_acquire(61 * SECOND).unwrap();
    breaker.on_success(probe);
    breaker.on_slow_success(breaker.ticket(), 61 * SECOND);
    assert_eq!(breaker.state(61 * SECOND), State::Closed);
}

#[test]
fn a_forced_breaker_listens_to_nobody_until_it_is_reset() {
    let mut breaker = breaker(1, 1);
    let before = breaker.ticket();
    breaker.force(Forced::Open);
    assert_eq!(breaker.try_acquire(1_000 * SECOND), None);
    assert_eq!(breaker.state(1_000 * SECOND), State::Open);
    breaker.force(Forced::Closed);
    let ticket = breaker.try_acquire(0).unwrap();
    (0..9).for_each(|_| breaker.on_failure(ticket, 0));
    breaker.trip(ticket, 0);
    assert_eq!(
        (breaker.state(0), breaker.forced()),
        (State::Closed, Some(Forced::Closed))
    );
    breaker.reset();
    for late in [before, ticket] {
        breaker.on_failure(late, 0);
    }
    assert_eq!((breaker.state(0), breaker.forced()), (State::Closed, None));
    breaker.on_failure(breaker.ticket(), 0);
    assert_eq!(breaker.state(0), State::Open);
}

proptest! {
    /// Jitter never shortens, never adds more than its percentage, and differs from trip to trip.
    #[test]
    fn jitter_only_lengthens(percent in 1..=100_u32, begin_s in 0..1_000_000_u64) {
        let cfg = BreakerConfig {
            failure_threshold: 1,
            recovery_jitter_percent: percent,
            ..BreakerConfig::default()
        };
        let longest_ns = 30 * SECOND + 30 * SECOND * u64::from(percent) / 100;
        let mut ends = std::collections::BTreeSet::new();
        for trip in 0..20 {
            let mut breaker = Breaker::new(cfg);
            let since_ns = (begin_s + trip) * SECOND;
            breaker.on_failure(breaker.ticket(), since_ns);
            prop_assert_eq!(breaker.state(since_ns + 30 * SECOND - 1), State::Open);
            prop_assert_eq!(breaker.state(since_ns + longest_ns), State::HalfOpen);
            ends.insert(jitter_ns(30 * SECOND, percent, breaker.generation, since_ns));
        }
        prop_assert!(ends.len() > 15);
    }
}

#[test]
fn a_clock_that_steps_back_delays_and_no_more() {
    let mut breaker = breaker(1, 1);
    let ticket = breaker.try_acquire(50 * SECOND).unwrap();
    breaker.on_failure(ticket, 50 * SECOND);
    assert_eq!(breaker.try_acquire(10 * SECOND), None);
    assert!(breaker.try_acquire(80 * SECOND).is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Acquire,
    Succeed(prop::sample::Index),
    Fail(prop::sample::Index),
    Cancel(prop::sample::Index),
    Reset,
    Pass { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let any_ticket = any::<prop::sample::Index>;
    prop_oneof![
        6 => Just(Step::Acquire),
        4 => any_ticket().prop_map(Step::Succeed),
        4 => any_ticket().prop_map(Step::Fail),
        2 => any_ticket().prop_map(Step::Cancel),
        1 => Just(Step::Reset),
        3 => (0..=20u64).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

/// The rules over a written history: one era for each stretch of one state, with everything that
/// happened in it. Nothing is counted until it is asked for.
struct Model {
    cfg: BreakerConfig,
    eras: Vec<Era>,
}

struct Era {
    state: State,
    began_ns: u64,
    admitted_ns: Vec<u64>,
    /// Lost probes that were replaced.
    replaced: usize,
    cancelled: usize,
    results: Vec<bool>,
}

impl Model {
    fn new(cfg: BreakerConfig) -> Self {
        let mut model = Self {
            cfg,
            eras: Vec::new(),
        };
        model.begin(State::Closed, 0);
        model
    }

    fn begin(&mut self, state: State, began_ns: u64) {
        self.eras.push(Era {
            state,
            began_ns,
            admitted_ns: Vec::new(),
            replaced: 0,
            cancelled: 0,
            results: Vec::new(),
        });
    }

    fn era(&mut self) -> &mut Era {
        self.eras.last_mut().unwrap()
    }

    fn state(&self, now_ns: u64) -> State {
        let era = self.eras.last().unwrap();
        let recovered = now_ns >= era.began_ns + self.cfg.recovery_timeout_ns;
        if era.state == State::Open && recovered {
            State::HalfOpen
        } else {
            era.state
        }
    }

    /// The era whose ticket is given out.
    fn acquire(&mut self, now_ns: u64) -> Option<usize> {
        if self.state(now_ns) != self.era().state {
            self.begin(State::HalfOpen, now_ns);
        }
        let cfg = self.cfg;
        let era = self.era();
        if era.state == State::Open {
            return None;
        }
        if era.state == State::HalfOpen {
            let places_given = era.admitted_ns.len() - era.replaced - era.cancelled;
            let places_taken = places_given.max(era.results.len());
            if places_taken >= cfg.half_open_requests as usize {
                let last_ns = era.admitted_ns.iter().max().copied().unwrap_or(now_ns);
                if now_ns < last_ns + cfg.recovery_timeout_ns {
                    return None;
                }
                era.replaced += 1;
            }
        }
        era.admitted_ns.push(now_ns);
        Some(self.eras.len() - 1)
    }

    fn result(&mut self, era_index: usize, succeeded: bool, now_ns: u64) {
        if era_index + 1 != self.eras.len() {
            return;
        }
        let cfg = self.cfg;
        let era = self.era();
        era.results.push(succeeded);
        let failures_in_a_row = era
            .results
            .iter()
            .rev()
            .take_while(|&&succeeded| !succeeded);
        match era.state {
            State::Closed if failures_in_a_row.count() >= cfg.failure_threshold as usize => {
                self.begin(State::Open, now_ns);
            }
            State::HalfOpen if !succeeded => self.begin(State::Open, now_ns),
            State::HalfOpen if era.results.len() >= cfg.half_open_requests as usize => {
                self.begin(State::Closed, now_ns);
            }
            _ => {}
        }
    }

    fn cancel(&mut self, era_index: usize) {
        if era_index + 1 != self.eras.len() || self.era().state != State::HalfOpen {
            return;
        }
        let era = self.era();
        let places_given = era.admitted_ns.len() - era.replaced - era.cancelled;
        era.cancelled += usize::from(places_given > era.results.len());
    }
}

proptest! {
    #[test]
    fn behaves_like_the_written_history(
        failure_threshold in 1..4u32,
        half_open_requests in 1..4u32,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let recovery_timeout_ns = 30 * SECOND;
        let cfg = BreakerConfig {
            failure_threshold,
            recovery_timeout_ns,
            half_open_requests,
            ..BreakerConfig::default()
        };
        let (mut breaker, mut model) = (Breaker::new(cfg), Model::new(cfg));
        let mut now_ns = 0;
        let mut out: Vec<(Ticket, usize)> = Vec::new();
        for step in steps {
            match step {
                Step::Acquire => {
                    let ticket = breaker.try_acquire(now_ns);
                    let era = model.acquire(now_ns);
                    prop_assert_eq!(ticket.is_some(), era.is_some());
                    out.extend(ticket.zip(era));
                }
                Step::Reset => {
                    breaker.reset();
                    model.begin(State::Closed, now_ns);
                }
                Step::Pass { seconds } => now_ns += seconds * SECOND,
                _ if out.is_empty() => {}
                Step::Succeed(index) => {
                    let (ticket, era) = out.swap_remove(index.index(out.len()));
                    breaker.on_success(ticket);
                    model.result(era, true, now_ns);
                }
                Step::Fail(index) => {
                    let (ticket, era) = out.swap_remove(index.index(out.len()));
                    breaker.on_failure(ticket, now_ns);
                    model.result(era, false, now_ns);
                }
                Step::Cancel(index) => {
                    let (ticket, era) = out.swap_remove(index.index(out.len()));
                    breaker.on_cancel(ticket);
                    model.cancel(era);
                }
            }
            prop_assert_eq!(breaker.state(now_ns), model.state(now_ns));
        }
    }
}
