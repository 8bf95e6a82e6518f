//! Runs [`fuzz::history_log`].
#![no_main]

libfuzzer_sys::fuzz_target!(
    // The hook of libFuzzer would end the process before we can catch a panic of the library.
    init: drop(std::panic::take_hook()),
    |bytes: &[u8]| fuzz::bounded(bytes, fuzz::history_log)
);
