//! `SharedRegion`: cells that several processes count in.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use gatewayx_telemetry::{Cells, Geometry, Region, RegionError};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::memory::{Mapping, anonymous_file, sealed_len_bytes};

/// A region of one shared block: every process and thread adds with a locked instruction.
fn geometry(cells_count: u32) -> Geometry {
    Geometry {
        slots_count: 1,
        blocks_count: 1,
        cells_per_block: 0,
        shared_cells_per_block: cells_count,
        entries_count: 0,
    }
}

/// Cells of this process alone.
pub(super) fn private_cells(cells_count: u32) -> Cells {
    Region::private(geometry(cells_count)).shared(0)
}

/// Cells in an anonymous file, which other processes map by its descriptor.
#[pyclass(frozen, module = "gatewayx._native")]
pub(super) struct SharedRegion {
    cells: Cells,
    file: OwnedFd,
}

impl SharedRegion {
    /// The cells, when `count` of them from `first` on are there.
    pub(super) fn cells_from(&self, first: u32, count: u32) -> PyResult<Cells> {
        match first.checked_add(count) {
            Some(end) if end <= self.cells.count() => Ok(self.cells.clone()),
            _ => Err(PyValueError::new_err(format!(
                "{count} cells from {first} on do not fit into {}",
                self.cells.count()
            ))),
        }
    }
}

#[pymethods]
impl SharedRegion {
    /// A new region of `cells` zeroes.
    #[staticmethod]
    fn create(cells: u32) -> PyResult<Self> {
        let geometry = geometry(cells);
        let file = anonymous_file(geometry.bytes())?;
        let mapping = Mapping::new(file.as_raw_fd(), geometry.bytes())?;
        let start = mapping.start();
        // SAFETY: the file is new and zeroed, cannot shrink, and stays mapped as long as its owner.
        let region =
            unsafe { Region::attach(start, geometry.bytes(), geometry, Arc::new(mapping)) };
        Ok(Self {
            cells: region.map_err(refused)?.shared(0),
            file,
        })
    }

    /// The region that another process, or this one, has created; `fd` stays the caller's.
    #[staticmethod]
    fn attach(fd: RawFd) -> PyResult<Self> {
        if fd < 0 {
            return Err(PyValueError::new_err("not a descriptor"));
        }
        // SAFETY: borrowed for this call only; one that is not open gives an error.
        let file = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
        let len_bytes = sealed_len_bytes(&file)
            .ok_or_else(|| PyValueError::new_err("the descriptor is not one of a region"))?;
        let mapping = Mapping::new(file.as_raw_fd(), len_bytes)?;
        let start = mapping.start();
        // SAFETY: the mapping covers the whole file, which is sealed against shrinking, and stays
        // as long as its owner. What lies in it is only believed after its header was checked.
        let region = unsafe { Region::open(start, len_bytes, Arc::new(mapping)) };
        let region = region.map_err(refused)?;
        if region.geometry() != geometry(region.geometry().shared_cells_per_block) {
            return Err(refused(RegionError::WrongGeometry));
        }
        Ok(Self {
            cells: region.shared(0),
            file,
        })
    }

    /// The descriptor to hand to another process; open as long as this object.
    #[getter]
    fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// How many cells there are.
    #[getter]
    fn cells(&self) -> u32 {
        self.cells.count()
    }
}

fn refused(error: RegionError) -> PyErr {
    PyValueError::new_err(error.to_string())
}
