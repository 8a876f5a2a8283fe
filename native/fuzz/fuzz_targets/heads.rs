//! `cargo +nightly fuzz run --features libfuzzer heads`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatewayx_fuzz::heads(data));
