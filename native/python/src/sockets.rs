//! The driver's side of open connections, by the keys of the engine.

use std::os::fd::RawFd;

use gatewayx_engine::Key;
use pyo3::prelude::*;

/// The driver's side of an open connection.
pub(crate) struct Socket {
    pub(crate) key: Key,
    pub(crate) fd: RawFd,
    pub(crate) transport: Py<PyAny>,
    /// The transport holds bytes, so whatever comes next must go through it too.
    pub(crate) buffers: bool,
}

/// Open connections by the index of their key.
#[derive(Default)]
pub(crate) struct Sockets(Vec<Option<Socket>>);

impl Sockets {
    pub(crate) fn insert(&mut self, socket: Socket) {
        let index = socket.key.index();
        if index >= self.0.len() {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(socket);
    }

    #[inline]
    pub(crate) fn find(&mut self, key: Key) -> Option<&mut Socket> {
        self.0
            .get_mut(key.index())?
            .as_mut()
            .filter(|socket| socket.key == key)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Socket> {
        self.find(key)?;
        self.0[key.index()].take()
    }
}
