//! `cargo +nightly fuzz run --features libfuzzer operations`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatewayx_fuzz::operations(data));
