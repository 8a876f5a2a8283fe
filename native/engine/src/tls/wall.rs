//! The time of day, as rustls asks for it: when certificates and tickets are valid.
//!
//! rustls calls for the time from within its own calls. The engine has no clock, so it leaves the time of the
//! present input here before it calls; a thread's engine finds its own.

use std::cell::Cell;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

thread_local! {
    static UNIX_SECONDS: Cell<u64> = const { Cell::new(0) };
}

/// Tells what time it is.
pub(super) fn set(unix_ns: u64) {
    UNIX_SECONDS.set(unix_ns / 1_000_000_000);
}

/// What `set` said last.
#[derive(Debug)]
pub(super) struct Told;

impl TimeProvider for Told {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(
            UNIX_SECONDS.get(),
        )))
    }
}
