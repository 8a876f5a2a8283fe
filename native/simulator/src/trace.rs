//! How `--verbose` writes what happens: time in milliseconds, worker, connection, and what.

use std::fmt::Arguments;

use gatewayx_engine::ConnId;

/// Bytes that are shown of any piece.
const SHOWN_MAX_BYTES: usize = 160;

pub(crate) fn line(now_ns: u64, slot: u32, what: Arguments<'_>) -> String {
    format!("{:>12.3} w{slot} {what}", now_ns as f64 / 1e6)
}

/// `caller 3.1` is the second connection whose key has the index 3.
pub(crate) fn name(conn: ConnId) -> String {
    let (side, key) = match conn {
        ConnId::Downstream(key) => ("caller", key),
        ConnId::Upstream(key) => ("target", key),
    };
    format!("{side} {}.{:<3}", key.index(), key.to_bits() >> 32)
}

/// The beginning of some bytes, and how many they are.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN_MAX_BYTES)];
    format!("{:>5} \"{}\"", bytes.len(), shown.escape_ascii())
}
