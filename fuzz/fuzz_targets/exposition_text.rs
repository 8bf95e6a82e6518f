//! Runs [`fuzz::exposition_text`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::bounded(bytes, fuzz::exposition_text));
