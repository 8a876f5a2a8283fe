//! `ConcurrencyLimiter`: at most so many at once; threads and coroutines wait in one queue.
//!
//! A permit given back goes straight to whoever has waited longest, thread or coroutine, of any
//! loop; `gatewayx_policy::Limiter` decides that, `Waiter` carries it out.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use gatewayx_policy::{Limiter, Released, WaitKey};
use pyo3::PyTraverseError;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use super::acquisition::{Acquisition, Finished};
use super::seconds::ns_from_seconds;
use super::waiter::Waiter;

/// How long a thread sleeps before it looks for signals: Python's handlers, Ctrl-C among them, only
/// run when the main thread asks for them.
const SIGNAL_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Limits how many hold a permit at once.
///
/// The queue is as long as the threads and tasks that the caller lets wait, whose own memory dwarfs
/// their place in it; so it has no bound of its own.
#[pyclass(frozen, module = "gatewayx._native")]
pub(super) struct ConcurrencyLimiter {
    limiter: Mutex<Limiter<Arc<Waiter>>>,
}

impl ConcurrencyLimiter {
    fn lock(&self) -> MutexGuard<'_, Limiter<Arc<Waiter>>> {
        self.limiter.lock().expect("nothing panics under this lock")
    }

    /// A permit at once (`None`), or a place in the queue.
    pub(super) fn acquire_or_enqueue(&self, waiter: &Arc<Waiter>) -> Option<WaitKey> {
        let outcome = self.lock().acquire_or_enqueue(waiter.clone(), None);
        outcome.ok().expect("the queue has no bound")
    }

    /// Gives a permit back, or passes it on to the first waiter that can still be told.
    fn pass_on(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            let waiter = {
                let mut limiter = self.lock();
                match limiter.release() {
                    Released::Freed => return Ok(()),
                    Released::NotHeld => return Err(not_held()),
                    Released::PassedTo(waiter) => {
                        waiter.grant();
                        waiter
                    }
                }
            };
            if waiter.wake(py) || !waiter.settle() {
                return Ok(());
            }
        }
    }

    /// A waiter leaves for good: the queue, or with the permit that it was granted meanwhile.
    pub(super) fn give_up(&self, py: Python<'_>, waiter: &Waiter, key: WaitKey) {
        let left_queue = self.lock().give_up(key);
        if left_queue.is_none() && waiter.settle() {
            self.pass_on(py).expect("the waiter held a permit");
        }
    }
}

#[pymethods]
impl ConcurrencyLimiter {
    #[new]
    fn new(max_concurrent: i64) -> Self {
        let permits_max = u64::try_from(max_concurrent).ok().filter(|&max| max > 0);
        Self {
            limiter: Mutex::new(Limiter::new(permits_max, usize::MAX)),
        }
    }

    /// Takes a permit if one is free.
    pub(super) fn acquire(&self) -> bool {
        self.lock().try_acquire()
    }

    /// Waits for a permit, blocking this thread and no other.
    #[pyo3(signature = (seconds))]
    fn acquire_with_timeout(&self, py: Python<'_>, seconds: Option<f64>) -> PyResult<bool> {
        let deadline = deadline_in(seconds)?;
        let waiter = Arc::new(Waiter::thread());
        let Some(key) = self.acquire_or_enqueue(&waiter) else {
            return Ok(true);
        };
        loop {
            if py.detach(|| waiter.park(deadline, SIGNAL_CHECK_INTERVAL)) && waiter.settle() {
                return Ok(true);
            }
            let outcome = py.check_signals().map(|()| false);
            if outcome.is_err() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.give_up(py, &waiter, key);
                return outcome;
            }
        }
    }

    /// A coroutine that waits for a permit.
    fn acquire_blocking(slf: Bound<'_, Self>) -> Acquisition {
        Acquisition::new(slf.unbind())
    }

    /// Gives a permit back.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.pass_on(py)
    }

    /// Permits that are free; `None` without a limit.
    fn available(&self) -> Option<u64> {
        self.lock().available()
    }

    /// Permits in use.
    fn in_use(&self) -> u64 {
        self.lock().in_use()
    }

    /// Threads and coroutines that wait.
    fn waiting(&self) -> usize {
        self.lock().waiters().len()
    }

    fn __aenter__(slf: Bound<'_, Self>) -> Acquisition {
        Self::acquire_blocking(slf)
    }

    #[pyo3(signature = (*_exc))]
    fn __aexit__(&self, py: Python<'_>, _exc: &Bound<'_, PyAny>) -> PyResult<Finished> {
        self.pass_on(py)?;
        Ok(Finished)
    }

    /// The futures of those who wait lead to their tasks, and those back here. Whoever holds the
    /// lock while the collector runs has the objects in hand anyway.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.limiter.try_lock().map_or(Ok(()), |limiter| {
            limiter
                .waiters()
                .iter()
                .try_for_each(|waiter| waiter.traverse(visit))
        })
    }
}

fn not_held() -> PyErr {
    PyRuntimeError::new_err("release without acquire: no permit is in use")
}

/// The end of a wait; `None` waits for ever. A time in the past does not wait.
fn deadline_in(seconds: Option<f64>) -> PyResult<Option<Instant>> {
    match seconds {
        None | Some(f64::INFINITY) => Ok(None),
        Some(seconds) if seconds.is_nan() => Err(PyValueError::new_err("seconds is not a number")),
        Some(seconds) => {
            let wait = Duration::from_nanos(ns_from_seconds(seconds.max(0.0))?);
            Ok(Instant::now().checked_add(wait))
        }
    }
}
