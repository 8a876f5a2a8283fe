//! `Metrics`: the region that workers record into and a scrape reads.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use gatewayx_engine::burial::release_slot;
use gatewayx_engine::fault_metrics::{
    PolicySeries, fault_counts, fault_families, restart_sequence,
};
use gatewayx_engine::metrics::{
    CALLERS_COUNT, Family, Samples, Series, families, geometry, set_down, write_families,
};
use gatewayx_engine::{Forced, force_breaker, forced_breaker};
use gatewayx_telemetry::{Geometry, Region};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::clock::now_ns;
use crate::memory::{Mapping, anonymous_file};

/// Shared counters, gauges and histograms of all workers.
#[pyclass(frozen, module = "gatewayx._native")]
pub(crate) struct Metrics {
    pub(crate) region: Region,
    /// Kept open so that workers can be given it.
    file: Option<OwnedFd>,
}

#[pymethods]
impl Metrics {
    /// Memory of this process alone.
    #[staticmethod]
    fn private(workers: u32, proxies: u32) -> Self {
        Self {
            region: Region::private(geometry(workers, proxies)),
            file: None,
        }
    }

    /// Memory that other processes can attach by `fd`.
    #[staticmethod]
    fn create(workers: u32, proxies: u32) -> PyResult<Self> {
        let file = anonymous_file(shared_geometry(workers, proxies).bytes())?;
        let region = map(file.as_raw_fd(), workers, proxies)?;
        Ok(Self {
            region,
            file: Some(file),
        })
    }

    /// Memory that another process created for the same numbers of workers and proxies.
    #[staticmethod]
    fn attach(fd: RawFd, workers: u32, proxies: u32) -> PyResult<Self> {
        Ok(Self {
            region: map(fd, workers, proxies)?,
            file: None,
        })
    }

    /// The descriptor to pass on; `None` for private or attached memory.
    #[getter]
    fn fd(&self) -> Option<RawFd> {
        self.file.as_ref().map(OwnedFd::as_raw_fd)
    }

    /// Gives back the permits of a worker that is gone, clears its gauges and counts what died with it:
    /// `(requests, connections, log_lines, permits)`.
    fn release_slot(&self, slot: u32) -> (u64, u64, u64, u64) {
        let losses = release_slot(&self.region, slot);
        (
            losses.requests,
            losses.connections,
            losses.log_lines,
            losses.permits,
        )
    }

    /// Forgets what a block's former proxy counted.
    fn clear_block(&self, block: u32) {
        self.region.clear_block(block);
    }

    /// Keeps the breaker of a block `open` or `closed` in all workers; `auto` has it decide again.
    fn force_breaker(&self, block: u32, state: &str) -> PyResult<()> {
        let forced = match state {
            "open" => Some(Forced::Open),
            "closed" => Some(Forced::Closed),
            "auto" => None,
            _ => return Err(PyValueError::new_err("open, closed or auto")),
        };
        force_breaker(&self.region, block, now_ns(), forced);
        Ok(())
    }

    /// What the breaker of a block is forced to: `open`, `closed`, or `auto` when it decides by itself.
    fn forced_breaker(&self, block: u32) -> &'static str {
        match forced_breaker(&self.region, block) {
            Some(Forced::Open) => "open",
            Some(Forced::Closed) => "closed",
            None => "auto",
        }
    }

    /// Which upstreams of a block's proxy are down, as bits.
    fn set_down(&self, block: u32, down: u64) {
        set_down(&self.region, block, down);
    }

    /// What is counted of injected faults, of the policies `[(name, blocks of its rules)]`; as `families`.
    fn fault_families<'py>(
        &self,
        py: Python<'py>,
        policies: Vec<(String, Vec<u32>)>,
    ) -> PyResult<Bound<'py, PyList>> {
        let series: Vec<PolicySeries> = policies
            .into_iter()
            .map(|(policy, blocks)| PolicySeries { policy, blocks })
            .collect();
        let families = py.detach(|| fault_families(&self.region, &series));
        PyList::new(
            py,
            families
                .iter()
                .map(|family| to_python(py, family))
                .collect::<PyResult<Vec<_>>>()?,
        )
    }

    /// What has happened because of some rules, by their blocks: `(matched, active, {kind: injected})`.
    #[expect(clippy::needless_pass_by_value, reason = "comes from Python")]
    fn fault_counts(&self, blocks: Vec<u32>) -> (u64, u64, BTreeMap<&'static str, u64>) {
        let counts = fault_counts(&self.region, &blocks);
        (
            counts.matched,
            counts.active,
            counts.injected.into_iter().collect(),
        )
    }

    /// Numbers the requests that a rule matches from 0 again.
    fn restart_sequence(&self, block: u32) {
        restart_sequence(&self.region, block);
    }

    /// `families` as exposition text, in OpenMetrics' form or Prometheus' own.
    fn exposition<'py>(
        &self,
        py: Python<'py>,
        proxies: Vec<SeriesRow>,
        openmetrics: bool,
    ) -> Bound<'py, PyBytes> {
        let series = read_series(proxies);
        let text = py.detach(|| {
            let mut text = Vec::new();
            let families = families(&self.region, &series, now_ns());
            write_families(&mut text, &families, openmetrics);
            text
        });
        PyBytes::new(py, &text)
    }

    /// All metrics of the proxies `[(name, block, max_concurrent, adaptive_min, recovery_timeout_ms, recovery_jitter_percent)]`,
    /// summed over the workers:
    /// `[(name, kind, help, label_names, samples, bounds)]`.
    fn families<'py>(
        &self,
        py: Python<'py>,
        proxies: Vec<SeriesRow>,
    ) -> PyResult<Bound<'py, PyList>> {
        let series = read_series(proxies);
        let families = py.detach(|| families(&self.region, &series, now_ns()));
        PyList::new(
            py,
            families
                .iter()
                .map(|family| to_python(py, family))
                .collect::<PyResult<Vec<_>>>()?,
        )
    }
}

/// `(name, block, max_concurrent, adaptive_min, recovery_timeout_ms, recovery_jitter_percent)`.
type SeriesRow = (String, u32, u32, u32, u64, u32);

fn read_series(proxies: Vec<SeriesRow>) -> Vec<Series> {
    proxies
        .into_iter()
        .map(
            |(
                proxy,
                block,
                max_concurrent,
                adaptive_min,
                recovery_timeout_ms,
                recovery_jitter_percent,
            )| {
                Series {
                    proxy,
                    block,
                    max_concurrent,
                    adaptive_min,
                    recovery_timeout_ms,
                    recovery_jitter_percent,
                }
            },
        )
        .collect()
}

/// Room for more callers than memory of one process has: pages that none uses take no memory.
fn shared_geometry(workers: u32, proxies: u32) -> Geometry {
    Geometry {
        entries_count: CALLERS_COUNT,
        ..geometry(workers, proxies)
    }
}

fn map(fd: RawFd, workers: u32, proxies: u32) -> PyResult<Region> {
    let geometry = shared_geometry(workers, proxies);
    let len_bytes = geometry.bytes();
    let mapping = Mapping::new(fd, len_bytes).map_err(|error| {
        PyOSError::new_err(format!(
            "cannot map {len_bytes} bytes of shared memory: {error}"
        ))
    })?;
    let start = mapping.start();
    // SAFETY: the mapping is `len_bytes` long, page-aligned, zeroed by the kernel or initialised by a peer,
    // and lives as long as the region because the region owns it.
    unsafe { Region::attach(start, len_bytes, geometry, Arc::new(mapping)) }
        .map_err(|error| PyValueError::new_err(format!("not this program's metrics: {error}")))
}

fn to_python<'py>(py: Python<'py>, family: &Family) -> PyResult<Bound<'py, PyAny>> {
    let label_names = PyTuple::new(py, family.labels)?;
    let unit_ns = family.unit_ns();
    let in_unit = |value_ns: u64| value_ns as f64 / unit_ns;
    let (samples, bounds) = match &family.samples {
        Samples::Numbers(samples) => {
            let samples = samples
                .iter()
                .map(|sample| Ok((PyTuple::new(py, &sample.labels)?, sample.value)))
                .collect::<PyResult<Vec<_>>>()?;
            (PyList::new(py, samples)?, PyTuple::empty(py))
        }
        Samples::Histograms(bounds_ns, samples) => {
            let samples = samples
                .iter()
                .map(|sample| {
                    let labels = PyTuple::new(py, &sample.labels)?;
                    Ok((
                        labels,
                        sample.cumulative_counts.clone(),
                        in_unit(sample.sum_ns),
                    ))
                })
                .collect::<PyResult<Vec<_>>>()?;
            let bounds = bounds_ns.iter().map(|&bound_ns| in_unit(bound_ns));
            (
                PyList::new(py, samples)?,
                PyTuple::new(py, bounds.collect::<Vec<_>>())?,
            )
        }
    };
    let kind = family.kind.as_str();
    Ok(
        (family.name, kind, family.help, label_names, samples, bounds)
            .into_pyobject(py)?
            .into_any(),
    )
}
