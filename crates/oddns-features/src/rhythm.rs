//! How long it has been quiet, for events that come again and again.

use oddns_core::Timestamp;

/// Half-life, in events, of the memory of the usual time between two.
const GAP_HALF_LIFE: f64 = 16.0;

/// Remembers the usual time between two events. Scrapes with several events count as one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rhythm {
    last: Option<Timestamp>,
    usual_seconds: Option<f64>,
}

impl Rhythm {
    /// Time since the last event against the usual time between two, at `time`, when there was or
    /// was not one; NaN until there were two.
    pub(crate) fn push(&mut self, time: Timestamp, happened: bool) -> f64 {
        let since = self.last.map(|last| time.seconds_since(last).max(0.0));
        if happened {
            self.last = Some(time);
            self.usual_seconds = match (self.usual_seconds, since) {
                (Some(usual), Some(gap)) => {
                    Some(usual + (gap - usual) * (1.0 - 0.5_f64.powf(1.0 / GAP_HALF_LIFE)))
                }
                (None, gap) => gap,
                (usual, None) => usual,
            };
        }
        match (self.usual_seconds, since) {
            (Some(usual), Some(since)) if usual > 0.0 && !happened => since / usual,
            (Some(_), _) if happened => 0.0,
            _ => f64::NAN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_in_usual_gaps() {
        let mut rhythm = Rhythm::default();
        let mut told =
            |second: i64, happened| rhythm.push(Timestamp::from_millis(1000 * second), happened);
        assert!(told(0, false).is_nan());
        assert!(told(10, true).is_nan());
        assert!(told(20, false).is_nan());
        assert_eq!(told(30, true), 0.0);
        assert_eq!(told(40, false), 0.5);
        assert_eq!(told(130, false), 5.0);
        assert_eq!(told(131, true), 0.0);
    }
}
