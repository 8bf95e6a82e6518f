//! Runs [`fuzz::scores_csv`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::bounded(bytes, fuzz::scores_csv));
