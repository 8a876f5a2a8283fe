//! A request that a fault has hit, and what happens to it next.

use std::rc::Rc;

use gatewayx_policy::fault::{Injection, Rule};

/// What a request has to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait until then, in nanoseconds of the clock that its arrival was told in.
    Wait(u64),
    /// Go on to the upstream.
    Pass,
    /// Be answered by the fault's abort.
    Abort,
    /// Have its connection or stream reset.
    Reset,
}

/// A request with its fault.
///
/// ```text
///   Pending ──start delay──► Held ──delay──► Abort │ Reset │ Pass
/// ```
#[derive(Clone, Debug)]
pub struct Held {
    /// The rule that decided.
    pub rule: Rc<Rule>,
    injection: Injection,
    arrived_ns: u64,
    is_injected: bool,
}

impl Held {
    /// A request that arrived at `arrived_ns`.
    pub fn new(rule: Rc<Rule>, injection: Injection, arrived_ns: u64) -> Self {
        Self {
            rule,
            injection,
            arrived_ns,
            is_injected: false,
        }
    }

    /// Takes the request as far as it goes at `now_ns`. `on_delay` hears once how long the delay is, in
    /// nanoseconds, when it begins.
    pub fn advance(&mut self, now_ns: u64, on_delay: impl FnOnce(u64)) -> Step {
        let begins_ns = self
            .arrived_ns
            .saturating_add(self.injection.start_delay_ns);
        if now_ns < begins_ns {
            return Step::Wait(begins_ns);
        }
        let delay_ns = self.injection.delay_ns;
        if !self.is_injected {
            self.is_injected = true;
            if let Some(delay_ns) = delay_ns {
                on_delay(delay_ns);
            }
        }
        let ends_ns = begins_ns.saturating_add(delay_ns.unwrap_or(0));
        if now_ns < ends_ns {
            Step::Wait(ends_ns)
        } else if self.rule.abort.is_some() {
            Step::Abort
        } else if self.rule.reset {
            Step::Reset
        } else {
            Step::Pass
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Origin, PolicySet};
    use serde_json::{Value, json};

    fn held(fault: Value, start_delay_ns: u64, delay_ns: Option<u64>) -> Held {
        let document = json!({"metadata": {"name": "p"}, "spec": {"rules": [{"fault": fault}]}});
        let mut set = PolicySet::default();
        let origin = Origin {
            document,
            applied_unix_ms: None,
        };
        set.replace(vec![origin], "s", "n", 0).expect("good");
        let rule = set.rules.expect("for all")[0].clone();
        let injection = Injection {
            start_delay_ns,
            delay_ns,
        };
        Held::new(rule, injection, 100)
    }

    #[test]
    fn start_delay_then_delay_then_abort() {
        let fault = json!({"percentage": 100, "abort": {"httpStatus": 503}});
        let mut held = held(fault, 10, Some(5));
        let mut delays = Vec::new();
        assert_eq!(held.advance(100, |ns| delays.push(ns)), Step::Wait(110));
        assert!(delays.is_empty());
        assert_eq!(held.advance(110, |ns| delays.push(ns)), Step::Wait(115));
        assert_eq!(held.advance(114, |ns| delays.push(ns)), Step::Wait(115));
        assert_eq!(held.advance(115, |ns| delays.push(ns)), Step::Abort);
        assert_eq!(delays, [5]);
    }

    #[test]
    fn a_delay_alone_passes_and_a_late_timer_skips_nothing() {
        let fault = json!({"percentage": 100, "delay": {"fixed_delay_ms": 1}});
        let mut held = held(fault, 10, Some(5));
        let mut delays = Vec::new();
        assert_eq!(held.advance(500, |ns| delays.push(ns)), Step::Pass);
        assert_eq!(delays, [5]);
    }

    #[test]
    fn a_reset_waits_for_nothing_but_its_delays() {
        let fault = json!({"percentage": 100, "reset": true});
        assert_eq!(held(fault, 0, None).advance(100, |_| ()), Step::Reset);
    }
}
