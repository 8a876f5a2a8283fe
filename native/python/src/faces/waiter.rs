//! One who waits for a permit, a thread or a coroutine, and how it is told.
//!
//! ```text
//!            release                 resumes, or gives it back
//!   Queued ───────────▶ Granted ──────────────────────────────▶ Settled
//!      └── gives up: leaves the queue, still Queued
//! ```
//!
//! A granted permit has two who may deal with it: the waiter, who takes it or gives it back, and
//! the releaser, who passes it on when the waiter cannot be told any more. `settle` lets exactly
//! one of them; so no permit is lost and none is given back twice, whatever is cancelled, closed
//! or collected in between.

use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, Thread, ThreadId};
use std::time::{Duration, Instant};

use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::{PyTraverseError, intern};

const QUEUED: u8 = 0;
const GRANTED: u8 = 1;
const SETTLED: u8 = 2;

pub(super) struct Waiter {
    /// Written `Release` and read `Acquire`: what the releaser did before is seen by the waiter.
    stage: AtomicU8,
    wake: Wake,
}

enum Wake {
    Thread(Thread),
    Future {
        future: Py<PyAny>,
        /// The thread of the future's loop, where it may be resolved directly.
        loop_thread: ThreadId,
    },
}

impl Waiter {
    /// The calling thread, which is going to `park_until_granted`.
    pub(super) fn thread() -> Self {
        Self {
            stage: AtomicU8::new(QUEUED),
            wake: Wake::Thread(thread::current()),
        }
    }

    /// A coroutine of the calling thread's loop, which awaits `future`.
    pub(super) fn future(future: Py<PyAny>) -> Self {
        let wake = Wake::Future {
            future,
            loop_thread: thread::current().id(),
        };
        Self {
            stage: AtomicU8::new(QUEUED),
            wake,
        }
    }

    /// Makes the permit this waiter's. Called under the limiter's lock, so that whoever finds the
    /// waiter gone from the queue also finds it granted.
    pub(super) fn grant(&self) {
        self.stage.store(GRANTED, Ordering::Release);
    }

    pub(super) fn is_granted(&self) -> bool {
        self.stage.load(Ordering::Acquire) == GRANTED
    }

    /// Whether the caller is the one to deal with the granted permit.
    pub(super) fn settle(&self) -> bool {
        self.stage
            .compare_exchange(GRANTED, SETTLED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Sleeps until granted, or until `deadline` or a spurious wake-up; `false` when not granted.
    pub(super) fn park(&self, deadline: Option<Instant>, at_most: Duration) -> bool {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if !self.is_granted() {
            thread::park_timeout(left.map_or(at_most, |left| left.min(at_most)));
        }
        self.is_granted()
    }

    /// Tells the waiter that it has been granted. `false` when it cannot be told: its task was
    /// cancelled or its loop is closed.
    pub(super) fn wake(&self, py: Python<'_>) -> bool {
        match &self.wake {
            Wake::Thread(thread) => {
                thread.unpark();
                true
            }
            Wake::Future {
                future,
                loop_thread,
            } => {
                let future = future.bind(py);
                let told = if thread::current().id() == *loop_thread {
                    future.call_method1(intern!(py, "set_result"), (true,))
                } else {
                    resolve_threadsafe(future)
                };
                told.is_ok()
            }
        }
    }

    pub(super) fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &self.wake {
            Wake::Thread(_) => Ok(()),
            Wake::Future { future, .. } => visit.call(future),
        }
    }
}

/// Has the future's loop resolve it; fails when the loop is closed.
fn resolve_threadsafe<'py>(future: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static RESOLVE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = future.py();
    let resolve = RESOLVE.get_or_try_init(py, || {
        wrap_pyfunction!(resolve_unless_done, py).map(|function| function.into_any().unbind())
    })?;
    future
        .call_method0(intern!(py, "get_loop"))?
        .call_method1(intern!(py, "call_soon_threadsafe"), (resolve, future))
}

/// By now the task may have been cancelled; it then gives the permit back by itself.
#[pyfunction]
fn resolve_unless_done(future: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    if !future.call_method0(intern!(py, "done"))?.is_truthy()? {
        future.call_method1(intern!(py, "set_result"), (true,))?;
    }
    Ok(())
}
