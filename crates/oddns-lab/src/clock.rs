//! The system's time, to label what happened by; before 1970 it is 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oddns_core::Timestamp;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(i64::try_from(since_1970().as_millis()).unwrap_or(i64::MAX))
}

/// Whole seconds since 1970.
pub(crate) fn unix_second() -> i64 {
    i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
