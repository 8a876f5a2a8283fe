//! The gateway's end of a connection, as a kernel shows it: a window that takes so many bytes, and what the
//! driver keeps because the window is full.

use std::collections::VecDeque;

use gatewayx_engine::CloseMode;

/// One connection.
#[derive(Debug)]
pub struct Socket {
    /// Bytes that the kernel has taken and the network has not fetched.
    pub taken: Vec<u8>,
    /// How many more the kernel would take.
    pub window_bytes: usize,
    /// What the driver keeps.
    pub unsent: VecDeque<u8>,
    /// Whether the engine wants to read.
    pub reads: bool,
    /// No more is sent behind what is unsent.
    pub shut_down: bool,
    /// Sending fails: the peer has reset the connection.
    pub broken: bool,
    /// How the engine has closed it.
    pub closed: Option<CloseMode>,
}

impl Socket {
    /// An open connection whose kernel takes `window_bytes`.
    pub fn new(window_bytes: usize) -> Self {
        Self {
            taken: Vec::new(),
            window_bytes,
            unsent: VecDeque::new(),
            reads: true,
            shut_down: false,
            broken: false,
            closed: None,
        }
    }

    /// Sends as the driver does: straight to the kernel while nothing is kept, else behind what is kept.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let direct = if self.unsent.is_empty() {
            bytes.len().min(self.window_bytes)
        } else {
            0
        };
        self.taken.extend_from_slice(&bytes[..direct]);
        self.window_bytes -= direct;
        self.unsent.extend(&bytes[direct..]);
    }

    /// Moves what is kept into the window; tells whether anything moved.
    pub(crate) fn flush(&mut self) -> bool {
        let count = self.unsent.len().min(self.window_bytes);
        self.taken.extend(self.unsent.drain(..count));
        self.window_bytes -= count;
        count > 0
    }
}
