//! Runs [`fuzz::keras_weights`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::bounded(bytes, fuzz::keras_weights));
