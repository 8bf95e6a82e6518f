//! Runs [`fuzz::remote_write_v1`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::bounded(bytes, fuzz::remote_write_v1));
