//! What people say about alarms: data that an update is made with, never a change by itself.

use std::fmt;
use std::str::FromStr;

use oddns_core::Timestamp;

use crate::detector::DetectorError;

/// What was said of a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeedbackVerdict {
    /// It was normal: nothing like it shall raise an alarm.
    Normal,
    /// It was an incident, and found out: never to be learned.
    Right,
    /// It was an incident, and not found out: what is like it shall raise an alarm.
    Missed,
}

/// A word that is no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no verdict `{word}`: write `normal`, `right` or `missed`")]
pub struct UnknownVerdict {
    /// The word.
    pub word: String,
}

impl FeedbackVerdict {
    /// Every verdict.
    pub const ALL: [Self; 3] = [Self::Normal, Self::Right, Self::Missed];

    /// The word in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Right => "right",
            Self::Missed => "missed",
        }
    }
}

impl fmt::Display for FeedbackVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FeedbackVerdict {
    type Err = UnknownVerdict;

    fn from_str(word: &str) -> Result<Self, UnknownVerdict> {
        let unknown = || UnknownVerdict { word: word.chars().take(60).collect() };
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == word).ok_or_else(unknown)
    }
}

/// One thing that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// From when.
    pub start: Timestamp,
    /// Until when, this instant included; not before `start`.
    pub end: Timestamp,
    /// On which server; `None` (`*` in files) for all.
    pub instance: Option<String>,
    /// What it was.
    pub verdict: FeedbackVerdict,
}

impl Feedback {
    /// Whether it speaks of this server.
    pub fn is_about(&self, instance: &str) -> bool {
        self.instance.as_deref().is_none_or(|own| own == instance)
    }

    /// Whether it speaks of this instant.
    pub fn covers(&self, time: Timestamp) -> bool {
        self.start <= time && time <= self.end
    }

    /// Whether both speak of some instant of some server.
    fn meets(&self, other: &Self) -> bool {
        let same_server = match (&self.instance, &other.instance) {
            (Some(own), Some(theirs)) => own == theirs,
            _ => true,
        };
        same_server && self.start <= other.end && other.start <= self.end
    }

    fn contradicts(&self, other: &Self) -> bool {
        let normal = |feedback: &Self| feedback.verdict == FeedbackVerdict::Normal;
        normal(self) != normal(other) && self.meets(other)
    }
}

impl fmt::Display for Feedback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, end, verdict, .. } = self;
        let instance = self.instance.as_deref().unwrap_or("*");
        write!(f, "`{verdict}` of `{instance}` from {start} to {end}")
    }
}

/// Refuses two that call the same instant of the same server normal and not.
pub(crate) fn check(feedback: &[Feedback]) -> Result<(), DetectorError> {
    for (at, one) in feedback.iter().enumerate() {
        if let Some(other) = feedback[..at].iter().find(|other| one.contradicts(other)) {
            return Err(DetectorError::Contradiction {
                one: other.to_string(),
                other: one.to_string(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feedback(start: i64, end: i64, instance: Option<&str>, verdict: &str) -> Feedback {
        let at = |seconds: i64| Timestamp::from_millis(1000 * seconds);
        let verdict = verdict.parse().unwrap();
        Feedback { start: at(start), end: at(end), instance: instance.map(str::to_owned), verdict }
    }

    #[test]
    fn a_contradiction_is_refused_with_both_sides() {
        let good = [
            feedback(0, 10, None, "right"),
            feedback(5, 20, Some("a"), "missed"),
            feedback(11, 30, Some("b"), "normal"),
        ];
        assert!(check(&good).is_ok());
        let mut bad = good.to_vec();
        bad.push(feedback(20, 20, None, "normal"));
        let message = check(&bad).unwrap_err().to_string();
        assert!(
            message.contains("`missed` of `a`") && message.contains("`normal` of `*`"),
            "{message}"
        );
    }

    #[test]
    fn words_are_verdicts() {
        for verdict in FeedbackVerdict::ALL {
            assert_eq!(verdict.as_str().parse(), Ok(verdict));
        }
        let error = "fine".parse::<FeedbackVerdict>().unwrap_err().to_string();
        assert!(error.contains("`fine`") && error.contains("`missed`"), "{error}");
    }
}
