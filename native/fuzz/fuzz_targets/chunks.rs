//! `cargo +nightly fuzz run --features libfuzzer chunks`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatewayx_fuzz::chunks(data));
