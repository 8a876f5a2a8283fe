//! The clocks of a worker. Only drivers read clocks; the engine is told the time.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds of the monotonic clock, the one that asyncio's loops count by.
#[inline]
pub(crate) fn now_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the result; the call does not fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What to add to `now_ns` to get nanoseconds since 1970.
pub(crate) fn wall_offset_ns() -> u64 {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(wall.as_nanos())
        .unwrap_or(u64::MAX)
        .saturating_sub(now_ns())
}
