//! `parse_request`: the gateway's strict reading of a request head, as a function.

use gatewayx_http::{HeadLimits, HeadScan, RequestHead, Version, parse_request as parse};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

/// Reads a request head at the start of `data`.
///
/// `None`: it is not whole yet. Else `(method, target, minor_version, fields, length)`. Raises `ValueError`
/// for bytes that break a rule.
#[pyfunction]
pub(crate) fn parse_request<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyBytes>,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let bytes = data.as_bytes();
    let mut head = RequestHead::default();
    let whole = parse(
        bytes,
        &mut HeadScan::default(),
        &HeadLimits::default(),
        &mut head,
    )
    .map_err(|error| PyValueError::new_err(error.as_str()))?;
    if !whole {
        return Ok(None);
    }
    let method = PyBytes::new(py, head.method_span.of(bytes));
    // The target as it stands in the request line: between the method and the version.
    let start = head.method_span.range().end + 1;
    let target = &bytes[start..];
    let end = target.iter().position(|&byte| byte == b' ');
    let target = &target[..end.unwrap_or(target.len())];
    let minor = match head.version {
        Version::Http10 => 0,
        Version::Http11 => 1,
    };
    let fields = head.fields.iter().map(|field| {
        let name = PyBytes::new(py, field.name.of(bytes));
        let value = PyBytes::new(py, field.value.of(bytes));
        (name, value)
    });
    let fields = PyList::new(py, fields.collect::<Vec<_>>())?;
    let target = PyBytes::new(py, target);
    Ok(Some(
        (method, target, minor, fields, head.len).into_pyobject(py)?,
    ))
}
