//! `BufferPool` and `Buffer`: pooled memory with Python's buffer protocol.
//!
//! Memory goes back to the pool only when nobody can reach it any more: a buffer with an open
//! `memoryview` cannot be released, and a released buffer gives out no view.

use std::ffi::c_int;
use std::sync::{Mutex, MutexGuard};

use pyo3::exceptions::{PyBufferError, PyRuntimeWarning, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::buffer_pool::{Buffer, BufferPool, BufferPoolStats, Origin};

/// A pool of equal buffers.
#[pyclass(frozen, name = "BufferPool", module = "gatewayx._native")]
pub(super) struct PyBufferPool {
    pool: BufferPool,
}

#[pymethods]
impl PyBufferPool {
    #[new]
    #[pyo3(signature = (buffer_size = 32768, max_buffers = 1024))]
    fn new(buffer_size: usize, max_buffers: usize) -> PyResult<Self> {
        if !(1..=isize::MAX as usize).contains(&buffer_size) {
            return Err(PyValueError::new_err("buffer_size is at least 1 byte"));
        }
        Ok(Self {
            pool: BufferPool::new(buffer_size, max_buffers),
        })
    }

    /// Hands out a buffer. The first time that the pool is exhausted, warns: the program can avoid
    /// it with a larger `max_buffers`, which is what a warning, other than a log line, is for.
    fn acquire(&self, py: Python<'_>) -> PyResult<PyBuffer> {
        let buffer = self.pool.take();
        if buffer.origin() == (Origin::Plain { is_first: true }) {
            let category = py.get_type::<PyRuntimeWarning>();
            PyErr::warn(
                py,
                &category,
                c"the buffer pool is exhausted: allocating plainly (raise max_buffers)",
                1,
            )?;
        }
        Ok(PyBuffer {
            lease: Mutex::new(Lease {
                buffer: Some(buffer),
                exports_count: 0,
            }),
        })
    }

    /// Takes a buffer of this pool back.
    fn release(&self, buffer: &PyBuffer) -> PyResult<()> {
        buffer.release_to(Some(&self.pool))
    }

    /// The counters by name.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let BufferPoolStats {
            in_use,
            free,
            hits,
            exhausted_total,
        } = self.pool.stats();
        let stats = PyDict::new(py);
        stats.set_item("in_use", in_use)?;
        stats.set_item("free", free)?;
        stats.set_item("hits", hits)?;
        stats.set_item("exhausted_total", exhausted_total)?;
        Ok(stats)
    }

    #[getter]
    fn buffer_size(&self) -> usize {
        self.pool.buffer_bytes()
    }

    #[getter]
    fn max_buffers(&self) -> usize {
        self.pool.buffers_max()
    }
}

/// A buffer on loan; goes back by `release`, at the end of a `with` block, or with the object.
#[pyclass(frozen, name = "Buffer", module = "gatewayx._native")]
pub(super) struct PyBuffer {
    lease: Mutex<Lease>,
}

struct Lease {
    /// `None` once released.
    buffer: Option<Buffer>,
    /// Views that point into the memory. Invariant: 0 when `buffer` is `None`.
    exports_count: usize,
}

impl PyBuffer {
    fn lock(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().expect("nothing panics under this lock")
    }

    /// Gives the memory back, to `pool` if one is named.
    fn release_to(&self, pool: Option<&BufferPool>) -> PyResult<()> {
        let mut lease = self.lock();
        let Some(buffer) = &lease.buffer else {
            return Err(already_released());
        };
        if pool.is_some_and(|pool| !pool.is(buffer.pool())) {
            return Err(PyValueError::new_err("the buffer belongs to another pool"));
        }
        if lease.exports_count > 0 {
            return Err(PyBufferError::new_err(
                "a memoryview of the buffer is still open",
            ));
        }
        lease.buffer = None;
        Ok(())
    }
}

#[pymethods]
impl PyBuffer {
    /// Gives the memory back to its pool.
    fn release(&self) -> PyResult<()> {
        self.release_to(None)
    }

    #[getter]
    fn released(&self) -> bool {
        self.lock().buffer.is_none()
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        if slf.released() {
            Err(already_released())
        } else {
            Ok(slf)
        }
    }

    /// Releases, unless that has been done inside the block.
    #[pyo3(signature = (*_exc))]
    fn __exit__(&self, _exc: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.released() {
            Ok(())
        } else {
            self.release()
        }
    }

    fn __len__(&self) -> usize {
        self.lock()
            .buffer
            .as_ref()
            .map_or(0, |buffer| buffer.memory().len())
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let memory = {
            let mut lease = slf.get().lock();
            let memory = lease.buffer.as_ref().ok_or_else(already_released)?.memory();
            lease.exports_count += 1;
            memory
        };
        let len_bytes = memory.len() as ffi::Py_ssize_t;
        // SAFETY: `view` comes from the interpreter. The memory is valid until it is released,
        // which waits for `exports_count`, and the view holds a reference to `slf`.
        let status = unsafe {
            let start = memory.as_ptr().cast();
            ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, len_bytes, 0, flags)
        };
        if status == 0 {
            return Ok(());
        }
        slf.get().lock().exports_count -= 1;
        Err(PyErr::fetch(slf.py()))
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.lock().exports_count -= 1;
    }
}

fn already_released() -> PyErr {
    PyValueError::new_err("the buffer has been released")
}
