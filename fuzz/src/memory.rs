//! The bound on what one input may take.

use std::alloc::System;

use cap::Cap;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// What an input of at most 1 MiB, the longest that is tried, may take.
const MAX_BYTES: usize = 64 << 20;

/// Calls `target` with `bytes`; wanting more than 64 MiB on top of what the process has ends it.
pub fn bounded(bytes: &[u8], target: impl FnOnce(&[u8])) {
    // A limit that cannot be set is one that is passed already.
    assert!(MEMORY.set_limit(MEMORY.allocated() + MAX_BYTES).is_ok());
    target(bytes);
    assert!(MEMORY.set_limit(usize::MAX).is_ok());
}
