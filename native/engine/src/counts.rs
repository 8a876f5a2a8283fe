//! What an engine holds, for whoever wants to know that nothing is left over.

use crate::engine::Engine;

/// How many of each thing the engine holds: zero after the last exchange but for the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Callers' connections.
    pub downstreams: usize,
    /// Connections to targets, idle ones included.
    pub upstreams: usize,
    /// Idle ones.
    pub idle_upstreams: usize,
    /// Sessions of secured connections.
    pub tls_sessions: usize,
    /// Exchanges under way.
    pub exchanges: usize,
    /// Entries of the timer heap.
    pub timers: usize,
    /// Bytes that were received and are kept.
    pub buffered_bytes: usize,
}

impl Engine {
    /// What is alive.
    pub fn counts(&self) -> Counts {
        Counts {
            downstreams: self.downstreams.len(),
            upstreams: self.upstreams.len(),
            idle_upstreams: self.pool.len(),
            tls_sessions: self.sessions.len(),
            exchanges: self
                .downstreams
                .keys()
                .filter(|&key| self.downstreams[key].exchange.active)
                .count(),
            timers: self.timers.len(),
            buffered_bytes: self
                .downstreams
                .keys()
                .map(|key| &self.downstreams[key])
                .map(|downstream| {
                    let exchange = &downstream.exchange;
                    let replay_bytes = exchange.replay.as_ref().map_or(0, Vec::len);
                    downstream.inbuf.len() + exchange.request_head.bytes.len() + replay_bytes
                })
                .chain(
                    self.upstreams
                        .keys()
                        .map(|key| self.upstreams[key].inbuf.len()),
                )
                .sum(),
        }
    }
}
