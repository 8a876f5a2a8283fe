//! Python's seconds as the core's nanoseconds, and back.

use pyo3::PyResult;
use pyo3::exceptions::PyValueError;

const NS_PER_SECOND: f64 = 1e9;

/// Longest time that fits: 584 years.
const SECONDS_MAX: f64 = u64::MAX as f64 / NS_PER_SECOND;

/// Nanoseconds, rounded, so that 0.01 is exactly 10 ms. Refuses what is no time: negative, infinite
/// or not a number.
#[inline]
pub(super) fn ns_from_seconds(seconds: f64) -> PyResult<u64> {
    if (0.0..SECONDS_MAX).contains(&seconds) {
        Ok((seconds * NS_PER_SECOND).round() as u64)
    } else {
        Err(PyValueError::new_err(format!(
            "not a number of seconds from 0 up: {seconds}"
        )))
    }
}

/// Seconds.
pub(super) fn seconds_from_ns(ns: u64) -> f64 {
    ns as f64 / NS_PER_SECOND
}
