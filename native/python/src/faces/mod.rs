//! The native parts as Python objects of their own, for use without a gateway.
//!
//! Every object here may be used from any thread, with or without a global interpreter lock. Their
//! locks are held for a few instructions, never while Python runs, and no Python object is dropped
//! under them; so a thread that waits for one never waits for the interpreter.

mod access;
mod acquisition;
mod breaker;
mod buffer_pool;
mod codec;
mod counters;
mod limiter;
mod seconds;
mod shared_region;
mod waiter;

use pyo3::prelude::*;

/// Adds the classes to the extension module.
pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(access::check_access_rule, m)?)?;
    m.add_function(wrap_pyfunction!(access::is_public_rule, m)?)?;
    m.add_function(wrap_pyfunction!(access::check_verifying_key, m)?)?;
    m.add_function(wrap_pyfunction!(access::explain_access_rule, m)?)?;
    m.add_function(wrap_pyfunction!(codec::parse_request, m)?)?;
    m.add_class::<buffer_pool::PyBufferPool>()?;
    m.add_class::<buffer_pool::PyBuffer>()?;
    m.add_class::<limiter::ConcurrencyLimiter>()?;
    m.add_class::<acquisition::Acquisition>()?;
    m.add_class::<acquisition::Finished>()?;
    m.add_class::<breaker::CircuitBreaker>()?;
    m.add_class::<shared_region::SharedRegion>()?;
    m.add_class::<counters::Counter>()?;
    m.add_class::<counters::Histogram>()?;
    m.add_class::<counters::HistogramSnapshot>()
}
