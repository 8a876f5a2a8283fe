//! `CircuitBreaker`: the breaker of `gatewayx_policy` with a clock and a lock.

use std::sync::{Mutex, MutexGuard};

use gatewayx_policy::{Breaker, BreakerConfig, State, Ticket};
use pyo3::PyTraverseError;
use pyo3::exceptions::PyValueError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use super::seconds::ns_from_seconds;
use crate::clock;

/// What is returned in place of a ticket when a request is refused; falsy.
const REFUSED: u64 = 0;

/// Refuses after failures in a row, and lets probes decide when to stop refusing.
#[pyclass(frozen, module = "gatewayx._native")]
pub(super) struct CircuitBreaker {
    breaker: Mutex<Breaker>,
    /// Seconds of a monotonic clock of the caller's; `None` is the system's.
    clock: Option<Py<PyAny>>,
}

impl CircuitBreaker {
    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().expect("nothing panics under this lock")
    }

    /// Read before the lock is taken: a clock of the caller's is Python code.
    fn now_ns(&self, py: Python<'_>) -> PyResult<u64> {
        match &self.clock {
            None => Ok(clock::now_ns()),
            Some(clock) => ns_from_seconds(clock.bind(py).call0()?.extract()?),
        }
    }
}

/// The ticket that a result belongs to; without one, it counts as of now.
fn ticket_or_present(breaker: &Breaker, ticket: Option<u64>) -> Ticket {
    ticket.map_or_else(|| breaker.ticket(), Ticket::from_generation)
}

#[pymethods]
impl CircuitBreaker {
    #[new]
    #[pyo3(signature = (
        failure_threshold = 5, recovery_timeout = 30.0, half_open_requests = 1, *, clock = None
    ))]
    fn new(
        failure_threshold: u32,
        recovery_timeout: f64,
        half_open_requests: u32,
        clock: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        if failure_threshold == 0 || half_open_requests == 0 {
            return Err(PyValueError::new_err(
                "failure_threshold and half_open_requests are at least 1",
            ));
        }
        let breaker = Breaker::new(BreakerConfig {
            failure_threshold,
            recovery_timeout_ns: ns_from_seconds(recovery_timeout)?,
            half_open_requests,
            ..BreakerConfig::default()
        });
        Ok(Self {
            breaker: Mutex::new(breaker),
            clock,
        })
    }

    /// A ticket, which is a true number, when a request may pass; 0 when it is refused.
    fn allow(&self, py: Python<'_>) -> PyResult<u64> {
        let now_ns = self.now_ns(py)?;
        Ok(self
            .lock()
            .try_acquire(now_ns)
            .map_or(REFUSED, Ticket::generation))
    }

    #[pyo3(signature = (ticket = None))]
    fn record_success(&self, ticket: Option<u64>) {
        let mut breaker = self.lock();
        let ticket = ticket_or_present(&breaker, ticket);
        breaker.on_success(ticket);
    }

    #[pyo3(signature = (ticket = None))]
    fn record_failure(&self, py: Python<'_>, ticket: Option<u64>) -> PyResult<()> {
        let now_ns = self.now_ns(py)?;
        let mut breaker = self.lock();
        let ticket = ticket_or_present(&breaker, ticket);
        breaker.on_failure(ticket, now_ns);
        Ok(())
    }

    /// The request said nothing about what is protected; a probe's place is free again.
    #[pyo3(signature = (ticket = None))]
    fn record_cancelled(&self, ticket: Option<u64>) {
        let mut breaker = self.lock();
        let ticket = ticket_or_present(&breaker, ticket);
        breaker.on_cancel(ticket);
    }

    #[getter]
    fn state(&self, py: Python<'_>) -> PyResult<&'static str> {
        let now_ns = self.now_ns(py)?;
        Ok(match self.lock().state(now_ns) {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half_open",
        })
    }

    fn reset(&self) {
        self.lock().reset();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.clock)
    }
}
