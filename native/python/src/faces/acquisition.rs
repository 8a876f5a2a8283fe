//! The coroutine of `ConcurrencyLimiter.acquire_blocking()`, written out as an object.
//!
//! A bare future would not do: between the moment when it is resolved and the moment when its task
//! runs, the task may be cancelled, and the permit in the future's hands would be lost. A coroutine
//! is told of that (`throw`) and gives the permit back.

use std::sync::Arc;

use gatewayx_policy::WaitKey;
use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyIterator;
use pyo3::{PyTraverseError, intern};

use super::limiter::ConcurrencyLimiter;
use super::waiter::Waiter;

/// Waits for a permit; its result is `True`.
#[pyclass(module = "gatewayx._native")]
pub(super) struct Acquisition {
    limiter: Py<ConcurrencyLimiter>,
    stage: Stage,
}

enum Stage {
    /// Not awaited yet: it holds nothing and waits for nothing.
    Fresh,
    Waiting {
        waiter: Arc<Waiter>,
        key: WaitKey,
        /// The future's own iterator, which knows how to suspend a task.
        steps: Py<PyIterator>,
    },
    Finished,
}

impl Acquisition {
    pub(super) fn new(limiter: Py<ConcurrencyLimiter>) -> Self {
        Self {
            limiter,
            stage: Stage::Fresh,
        }
    }

    /// Takes a permit, or joins the queue and suspends.
    fn start<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let limiter = self.limiter.get();
        if limiter.acquire() {
            return Err(self.finish());
        }
        let future = py
            .import(intern!(py, "asyncio"))?
            .call_method0(intern!(py, "get_running_loop"))?
            .call_method0(intern!(py, "create_future"))?;
        let mut steps = future.try_iter()?;
        let waiter = Arc::new(Waiter::future(future.unbind()));
        // Decided anew: a permit may have come back since.
        let Some(key) = limiter.acquire_or_enqueue(&waiter) else {
            return Err(self.finish());
        };
        let suspended = steps.next();
        self.stage = Stage::Waiting {
            waiter,
            key,
            steps: steps.unbind(),
        };
        self.advance(py, suspended)
    }

    /// What a step of the future means for this coroutine.
    fn advance<'py>(
        &mut self,
        py: Python<'py>,
        step: Option<PyResult<Bound<'py, PyAny>>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match (step, &self.stage) {
            (Some(Ok(suspended)), _) => Ok(suspended),
            (None, Stage::Waiting { waiter, .. }) if waiter.settle() => Err(self.finish()),
            (None, _) => {
                self.give_up(py);
                Err(PyRuntimeError::new_err(
                    "the future of a waiter was resolved by somebody else",
                ))
            }
            (Some(Err(error)), _) => {
                self.give_up(py);
                Err(error)
            }
        }
    }

    /// The permit is the caller's.
    fn finish(&mut self) -> PyErr {
        self.stage = Stage::Finished;
        PyStopIteration::new_err((true,))
    }

    /// Leaves the queue, or gives back what has been granted.
    fn give_up(&mut self, py: Python<'_>) {
        if let Stage::Waiting { waiter, key, .. } =
            std::mem::replace(&mut self.stage, Stage::Finished)
        {
            self.limiter.get().give_up(py, &waiter, key);
        }
    }
}

#[pymethods]
impl Acquisition {
    /// How asyncio names the coroutine of a task.
    #[getter(__qualname__)]
    fn qualname(&self) -> &'static str {
        "ConcurrencyLimiter.acquire_blocking"
    }

    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.stage {
            Stage::Fresh => self.start(py),
            Stage::Waiting { steps, .. } => {
                let step = steps.bind(py).clone().next();
                self.advance(py, step)
            }
            Stage::Finished => Err(PyRuntimeError::new_err("cannot await an acquisition twice")),
        }
    }

    fn send<'py>(
        &mut self,
        py: Python<'py>,
        _value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.__next__(py)
    }

    /// Ends the wait with an exception, a cancellation above all.
    #[pyo3(signature = (exception, value = None, traceback = None))]
    fn throw(
        &mut self,
        py: Python<'_>,
        exception: Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.give_up(py);
        self.stage = Stage::Finished;
        let error = PyErr::from_value(value.unwrap_or(exception));
        if let Some(traceback) = traceback {
            error.set_traceback(py, Some(traceback.cast_into()?));
        }
        Err(error)
    }

    /// Ends the wait, as for any coroutine that is not going to be resumed.
    fn close(&mut self, py: Python<'_>) {
        self.give_up(py);
        self.stage = Stage::Finished;
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.limiter)?;
        // The waiter's own reference is shared with the queue, and counted there.
        match &self.stage {
            Stage::Waiting { steps, .. } => visit.call(steps),
            Stage::Fresh | Stage::Finished => Ok(()),
        }
    }

    /// Breaks cycles through the future; what is owed to others is still settled.
    fn __clear__(&mut self, py: Python<'_>) {
        self.give_up(py);
    }
}

impl Drop for Acquisition {
    /// A task that was forgotten while it waited neither keeps its place nor its permit.
    fn drop(&mut self) {
        if matches!(self.stage, Stage::Waiting { .. }) {
            Python::attach(|py| {
                // Objects also die while an exception is on its way, which must not see our calls.
                let passing = PyErr::take(py);
                self.give_up(py);
                if let Some(passing) = passing {
                    passing.restore(py);
                }
            });
        }
    }
}

/// An awaitable that has nothing to wait for.
#[pyclass(frozen, module = "gatewayx._native")]
pub(super) struct Finished;

#[pymethods]
impl Finished {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self) -> Option<()> {
        None
    }
}
