//! Numbers that all worker threads share, in Envoy's shared data.

use proxy_wasm::hostcalls::{get_shared_data, set_shared_data};
use proxy_wasm::types::Status;

/// A version that no entry has: with it an entry is made but never overwritten.
const NO_VERSION: u32 = u32::MAX;

/// Changes a number, which begins at 0, atomically. Returns what it was; `None` when `change` would not
/// change it, or when Envoy refuses.
pub(super) fn update(key: &str, change: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    loop {
        let (data, version) = get_shared_data(key).ok()?;
        let old = data
            .and_then(|data| Some(u64::from_le_bytes(data.try_into().ok()?)))
            .unwrap_or(0);
        let new = change(old)?.to_le_bytes();
        match set_shared_data(key, Some(&new), Some(version.unwrap_or(NO_VERSION))) {
            Ok(()) => return Some(old),
            Err(Status::CasMismatch) => {}
            Err(_) => return None,
        }
    }
}

/// Counts up; the first is 0.
pub(super) fn next(key: &str) -> u64 {
    update(key, |n| Some(n.wrapping_add(1))).unwrap_or(0)
}
