//! The driver's side of open connections, by the keys of the engine.

use std::os::fd::RawFd;

use gatewayx_engine::Key;
use pyo3::prelude::*;

/// When most of so many connections have gone, the memory that they took is given back.
const FLOOD_MIN_COUNT: usize = 512;

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
pub(crate) struct Sockets {
    entries: Vec<Option<Socket>>,
    open_count: usize,
    /// The most that were open since memory was last given back.
    peak_count: usize,
    has_ebbed: bool,
}

impl Sockets {
    pub(crate) fn insert(&mut self, socket: Socket) {
        let index = socket.key.index();
        if index >= self.entries.len() {
            self.entries.resize_with(index + 1, || None);
        }
        self.entries[index] = Some(socket);
        self.open_count += 1;
        self.peak_count = self.peak_count.max(self.open_count);
    }

    #[inline]
    pub(crate) fn find(&mut self, key: Key) -> Option<&mut Socket> {
        self.entries
            .get_mut(key.index())?
            .as_mut()
            .filter(|socket| socket.key == key)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Socket> {
        self.find(key)?;
        let socket = self.entries[key.index()].take();
        self.open_count -= 1;
        if self.peak_count >= FLOOD_MIN_COUNT && self.open_count <= self.peak_count / 8 {
            self.peak_count = self.open_count;
            self.has_ebbed = true;
        }
        socket
    }

    /// Whether most of many connections have gone; told once.
    #[inline]
    pub(crate) fn take_ebb(&mut self) -> bool {
        std::mem::take(&mut self.has_ebbed)
    }
}
