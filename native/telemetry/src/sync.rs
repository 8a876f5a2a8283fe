//! The atomics of this crate: the processor's, or loom's under `--cfg loom`, where every
//! interleaving is explored.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
