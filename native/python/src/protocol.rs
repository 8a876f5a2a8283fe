//! `Connection`: what asyncio calls a protocol, natively.
//!
//! A subclass of `asyncio.BufferedProtocol` adds nothing but its base (`server/driver.py`); every method
//! stands here. Within a drain a transport may call `pause_writing`, which does nothing: the driver asks the
//! transport how much it holds. All other methods are called by the loop, outside of drains.

use std::cell::Cell;
use std::os::fd::RawFd;

use gatewayx_engine::{ConnId, Key};
use pyo3::intern;
use pyo3::prelude::*;

use crate::driver::Driver;
use crate::receive_buffer::ReceiveBuffer;

/// One connection of a [`Driver`]: of a caller, or to a target when made with the `token` of a dial.
#[pyclass(subclass, frozen, unsendable, module = "gatewayx._native")]
pub(crate) struct Connection {
    driver: Py<Driver>,
    /// Known from the start for a target's connection, from its acceptance for a caller's.
    conn: Cell<Option<ConnId>>,
    /// Where a caller was accepted.
    listener: u32,
}

#[pymethods]
impl Connection {
    #[new]
    #[pyo3(signature = (driver, token=None, *, listener=0))]
    fn new(driver: Py<Driver>, token: Option<u64>, listener: u32) -> Self {
        let conn = token.map(|token| ConnId::Upstream(Key::from_bits(token)));
        Self {
            driver,
            conn: Cell::new(conn),
            listener,
        }
    }

    fn connection_made(&self, py: Python<'_>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        // The driver does its own accounting and wants to hear of every byte that waits and of its going.
        transport.call_method1(intern!(py, "set_write_buffer_limits"), (0,))?;
        let info = intern!(py, "get_extra_info");
        let socket = transport.call_method1(info, (intern!(py, "socket"),))?;
        let fd: RawFd = socket.call_method0(intern!(py, "fileno"))?.extract()?;
        let driver = self.driver.bind(py).borrow();
        match self.conn.get() {
            Some(ConnId::Upstream(key)) => {
                if !driver.on_connected(py, transport, fd, key)? {
                    self.conn.set(None);
                    transport.call_method0(intern!(py, "abort"))?;
                }
            }
            _ => {
                let peer = transport.call_method1(info, (intern!(py, "peername"),))?;
                let host = peer.get_item(0).and_then(|host| host.extract::<String>());
                let peer = host.unwrap_or_default();
                let key = driver.on_accepted(py, transport, fd, &peer, self.listener)?;
                self.conn.set(Some(ConnId::Downstream(key)));
            }
        }
        Ok(())
    }

    fn get_buffer(&self, py: Python<'_>, _size_hint: &Bound<'_, PyAny>) -> Py<ReceiveBuffer> {
        self.driver.bind(py).borrow().receive_buffer().clone_ref(py)
    }

    fn buffer_updated(&self, py: Python<'_>, len_bytes: usize) -> PyResult<()> {
        match self.conn.get() {
            Some(conn) => self
                .driver
                .bind(py)
                .borrow()
                .on_received(py, conn, len_bytes),
            None => Ok(()),
        }
    }

    /// Keeps the transport open: the engine decides when the other half ends.
    fn eof_received(&self, py: Python<'_>) -> PyResult<bool> {
        if let Some(conn) = self.conn.get() {
            self.driver.bind(py).borrow().on_eof(py, conn)?;
        }
        Ok(true)
    }

    fn connection_lost(&self, py: Python<'_>, _error: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.conn.take() {
            Some(conn) => self.driver.bind(py).borrow().on_lost(py, conn),
            None => Ok(()),
        }
    }

    fn pause_writing(&self) {}

    fn resume_writing(&self, py: Python<'_>) -> PyResult<()> {
        match self.conn.get() {
            Some(conn) => self.driver.bind(py).borrow().on_writable(py, conn),
            None => Ok(()),
        }
    }
}
