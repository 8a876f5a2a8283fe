//! The plugin's two kinds of context, and what it asks of Envoy.

mod metrics;
mod request;
mod root;
mod shared;
mod worker;

use proxy_wasm::types::LogLevel;

use root::Root;

proxy_wasm::main! {{
    // Envoy filters by its own level.
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|id| Box::new(Root::new(id)));
}}

/// Nanoseconds since 1970; 0 should Envoy have no clock.
fn clock_ns() -> u64 {
    let since = proxy_wasm::hostcalls::get_current_time()
        .ok()
        .and_then(|now| now.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}
