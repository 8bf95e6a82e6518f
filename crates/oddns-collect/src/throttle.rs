//! How often the same trouble is told.

use std::collections::HashMap;

use oddns_core::Timestamp;

/// Time between two events of one cause.
const GAP_MILLIS: i64 = 60_000;

/// Lets one event a minute through of each cause in each job. It remembers a job and a cause for
/// ever; both are few.
#[derive(Debug, Default)]
pub struct Throttle {
    told: HashMap<(String, &'static str), Timestamp>,
}

impl Throttle {
    /// Whether trouble of `cause` may be told at `now`. A clock that was set back lets it through.
    pub fn allows(&mut self, job: &str, cause: &'static str, now: Timestamp) -> bool {
        let last = self.told.get(&(job.to_owned(), cause));
        let since = last.map(|last| now.millis().saturating_sub(last.millis()));
        if since.is_some_and(|since| (0..GAP_MILLIS).contains(&since)) {
            return false;
        }
        self.told.insert((job.to_owned(), cause), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_minute_of_each_cause() {
        let mut throttle = Throttle::default();
        let mut allows = |job, cause, seconds: i64| {
            throttle.allows(job, cause, Timestamp::from_millis(seconds * 1000))
        };
        assert!(allows("dns", "timeout", 100));
        assert!(!allows("dns", "timeout", 159));
        assert!(allows("dns", "refused", 101) && allows("other", "timeout", 101));
        assert!(allows("dns", "timeout", 160));
        assert!(allows("dns", "timeout", 10));
    }
}
