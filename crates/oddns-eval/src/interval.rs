//! Stretches of time of which the truth is known.

use oddns_core::Timestamp;

/// A labelled stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// What happened.
    pub kind: String,
    /// First instant.
    pub start: Timestamp,
    /// Last instant; not before `start`.
    pub end: Timestamp,
    /// Which server; `None` means all.
    pub instance: Option<String>,
    /// False for a benign change that should raise no alarm.
    pub anomalous: bool,
}

impl Interval {
    /// The runs of true in `flags`, one flag for each of `times` (rising), as anomalous intervals of
    /// every instance. Surplus elements of the longer slice are ignored.
    pub fn from_flags(times: &[Timestamp], flags: &[bool]) -> Vec<Self> {
        let mut intervals: Vec<Self> = Vec::new();
        let mut before = false;
        for (time, flag) in times.iter().zip(flags) {
            match intervals.last_mut() {
                Some(open) if *flag && before => open.end = *time,
                _ if *flag => intervals.push(Self::labelled(*time)),
                _ => {}
            }
            before = *flag;
        }
        intervals
    }

    fn labelled(time: Timestamp) -> Self {
        let kind = "labelled".to_owned();
        Self { kind, start: time, end: time, instance: None, anomalous: true }
    }

    /// Whether this is about `instance`.
    pub fn applies_to(&self, instance: &str) -> bool {
        self.instance.as_deref().is_none_or(|own| own == instance)
    }

    /// Whether `time` is within the interval widened by `before` and `after` milliseconds.
    pub(crate) fn holds(&self, time: Timestamp, before: i64, after: i64) -> bool {
        let millis = time.millis();
        self.start.millis().saturating_sub(before) <= millis
            && millis <= self.end.millis().saturating_add(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_runs() {
        let times: Vec<_> = (0..6).map(Timestamp::from_millis).collect();
        let flags = [true, false, true, true, false, true];
        let runs = Interval::from_flags(&times, &flags);
        let runs: Vec<_> = runs.iter().map(|r| (r.start.millis(), r.end.millis())).collect();
        assert_eq!(runs, [(0, 0), (2, 3), (5, 5)]);
        assert!(Interval::from_flags(&[], &[true]).is_empty());
    }
}
