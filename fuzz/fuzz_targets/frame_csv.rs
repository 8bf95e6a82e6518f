//! Runs [`fuzz::frame_csv`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::bounded(bytes, fuzz::frame_csv));
