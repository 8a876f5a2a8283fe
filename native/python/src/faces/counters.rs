//! `Counter` and `Histogram`: cells with a meaning, alone or in a `SharedRegion`.
//!
//! Lock-free: any number of threads and processes add at the same time, and none waits.

use gatewayx_telemetry::{Cells, Histogram as HistogramView, LATENCY_BOUNDS_NS};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::seconds::{ns_from_seconds, seconds_from_ns};
use super::shared_region::{SharedRegion, private_cells};

/// Bounds of a histogram, at most; each costs a cell and a comparison.
const BOUNDS_MAX: usize = 256;

/// `count` cells from `first` on: of the region, or of nobody else.
fn cells_in(region: Option<&SharedRegion>, first: u32, count: u32) -> PyResult<Cells> {
    match region {
        Some(region) => region.cells_from(first, count),
        None if first == 0 => Ok(private_cells(count)),
        None => Err(PyValueError::new_err(
            "cell names a place in a region; there is none",
        )),
    }
}

/// A number that only grows.
#[pyclass(frozen, module = "gatewayx._native")]
pub(super) struct Counter {
    cells: Cells,
    cell: u32,
}

#[pymethods]
impl Counter {
    #[new]
    #[pyo3(signature = (*, region = None, cell = 0))]
    fn new(region: Option<&SharedRegion>, cell: u32) -> PyResult<Self> {
        Ok(Self {
            cells: cells_in(region, cell, 1)?,
            cell,
        })
    }

    #[pyo3(signature = (n = 1))]
    fn inc(&self, n: u64) {
        self.cells.add_shared(self.cell, n);
    }

    #[getter]
    fn value(&self) -> u64 {
        self.cells.load(self.cell)
    }
}

/// Observations of a duration, counted by upper bound.
#[pyclass(frozen, module = "gatewayx._native")]
pub(super) struct Histogram {
    cells: Cells,
    cell: u32,
    bounds_ns: Box<[u64]>,
    /// As the caller gave them, so that they read back unchanged.
    bounds: Box<[f64]>,
}

impl Histogram {
    #[inline]
    fn view(&self) -> HistogramView<'_> {
        self.cells.histogram(self.cell, &self.bounds_ns)
    }
}

#[pymethods]
impl Histogram {
    #[new]
    #[pyo3(signature = (bounds = None, *, region = None, cell = 0))]
    fn new(bounds: Option<Vec<f64>>, region: Option<&SharedRegion>, cell: u32) -> PyResult<Self> {
        let bounds: Box<[f64]> = match bounds {
            Some(bounds) => bounds.into(),
            None => LATENCY_BOUNDS_NS.map(seconds_from_ns).into(),
        };
        if bounds.len() > BOUNDS_MAX {
            return Err(PyValueError::new_err(format!(
                "more than {BOUNDS_MAX} bounds"
            )));
        }
        let bounds_ns: Box<[u64]> = bounds
            .iter()
            .map(|&bound| ns_from_seconds(bound))
            .collect::<PyResult<_>>()?;
        if !bounds_ns.is_sorted_by(|below, above| below < above) {
            return Err(PyValueError::new_err(
                "bounds are ascending, a nanosecond apart or more",
            ));
        }
        let count = HistogramView::cells_count(bounds.len());
        Ok(Self {
            cells: cells_in(region, cell, count)?,
            cell,
            bounds_ns,
            bounds,
        })
    }

    fn observe(&self, seconds: f64) -> PyResult<()> {
        self.view().observe_ns_shared(ns_from_seconds(seconds)?);
        Ok(())
    }

    fn snapshot(&self) -> HistogramSnapshot {
        let snapshot = self.view().snapshot();
        HistogramSnapshot {
            bounds: self.bounds.clone(),
            cumulative: snapshot.cumulative,
            sum: seconds_from_ns(snapshot.sum_ns),
        }
    }

    /// Cells that it takes in a region.
    #[getter]
    fn cells(&self) -> u32 {
        HistogramView::cells_count(self.bounds.len())
    }

    #[getter]
    fn bounds<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.bounds)
    }
}

/// What a histogram held at one moment.
#[pyclass(frozen, module = "gatewayx._native")]
pub(super) struct HistogramSnapshot {
    bounds: Box<[f64]>,
    cumulative: Vec<u64>,
    /// Seconds.
    #[pyo3(get)]
    sum: f64,
}

#[pymethods]
impl HistogramSnapshot {
    /// `(upper bound, observations up to it)`, the last with an infinite bound.
    #[getter]
    fn buckets<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        PyTuple::new(
            py,
            bounds
                .zip(self.cumulative.iter().copied())
                .collect::<Vec<_>>(),
        )
    }

    #[getter]
    fn count(&self) -> u64 {
        self.cumulative.last().copied().unwrap_or_default()
    }

    fn __repr__(&self) -> String {
        format!(
            "HistogramSnapshot(count={}, sum={})",
            self.count(),
            self.sum
        )
    }
}
