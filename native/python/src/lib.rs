//! The extension module `gatewayx._native`: the only crate that names pyo3.
//!
//! `driver.rs` and `protocol.rs` put the engine on an asyncio loop; `metrics.rs` shows what it counts;
//! `faces/` are the native parts for use on their own. Threads, clocks, descriptors and shared memory are
//! this crate's business and no other's.

mod access_log;
mod buffer_pool;
mod clock;
mod driver;
mod faces;
mod memory;
mod metrics;
mod protocol;
mod receive_buffer;
mod socket;
mod sockets;

use pyo3::prelude::*;

#[pymodule]
fn _native(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add_class::<driver::Driver>()?;
    m.add_class::<metrics::Metrics>()?;
    m.add_class::<protocol::Connection>()?;
    m.add_class::<receive_buffer::ReceiveBuffer>()?;
    faces::register(m)
}
