//! `cargo +nightly fuzz run --features libfuzzer config`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatewayx_fuzz::config(data));
