//! What is forgiven of a row: movements that hurt nobody, and those of a server that was just changed.
//!
//! A deploy, a busier hour or another client moves dozens of features, and so does a fault. What
//! tells them apart is that those who ask are served as well as before. The catalogue says of each
//! feature which way it has to go to concern them; what goes the other way counts in part, and more
//! failures count a little more than in full. After a restart or a reload the cache is cold and nothing
//! is as it was: everything counts in part for as long as the catalogue tells of it, some scrapes, and
//! for about as long as answers are cached. A process that starts again and again explains nothing.

use oddns_features::Concern;

use crate::column::Column;
use crate::members::StandardRow;

/// Part of what a movement says that counts the other way than the one that hurts: it may come of a
/// fault all the same, and many of them together are an alarm.
const HARMLESS_PART: f32 = 0.15;
/// The same of what hurts neither way. More of it: five times the traffic shows in little else.
const ASIDE_PART: f32 = 0.5;
/// The same of more failures than usual. A reload that fails shows in nothing else, and hurts nobody
/// before the next restart.
const FAILURE_PART: f32 = 1.2;
/// Part of what any movement but a failure says that counts right after a restart or a reload.
const EXPLAINED_PART: f32 = 0.25;

/// Half-life of what a restart or a reload explains, in seconds: as long as CoreDNS's stock
/// configuration lets answers be cached, by when a cold cache is warm again.
const EXPLAINED_SECONDS: f32 = 30.0;
/// So many events at once still explain what moves: of more, each lets go less, …
pub(crate) const MOST_EVENTS: f32 = 1.25;
/// … and from here on nothing.
pub(crate) const TOO_MANY_EVENTS: f32 = 2.0;

/// How much of the evidence of each feature is let go.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Leniency {
    /// Share that is let go one standard deviation above what is usual and further, at most 1 and below
    /// 0 for what counts more than others; in between as much less.
    pub(crate) rising: Vec<f32>,
    /// The same below.
    pub(crate) falling: Vec<f32>,
    /// By how much each feature explains the others: share that is let go of all of them where its
    /// value, on the modelled scale, is 1; in between, and where it is too many, as much less.
    pub(crate) explains: Vec<f32>,
    /// Part of what is let go beside it that the next row still lets go, 0 to 1.
    pub(crate) lasting: f32,
    /// Of each feature, 1 where what explains the others explains it too, and 0 for failures.
    pub(crate) explained: Vec<f32>,
}

impl Leniency {
    /// Towards columns of the catalogue, with a row each `interval_seconds`, above zero. Of any other
    /// table nothing is known to be harmless.
    pub(crate) fn of(columns: &[Column], interval_seconds: f32) -> Self {
        let each = |of: fn(Concern) -> f32| columns.iter().map(|c| of(c.concern)).collect();
        Self {
            rising: each(rising),
            falling: each(falling),
            explains: each(explains),
            lasting: 0.5_f32.powf(interval_seconds / EXPLAINED_SECONDS),
            explained: each(|concern| if concern == Concern::Failure { 0.0 } else { 1.0 }),
        }
    }

    /// Whether anything is ever let go.
    pub(crate) fn is_any(&self) -> bool {
        self.rising.iter().chain(&self.falling).any(|share| *share > 0.0)
    }

    /// The share of the evidence that is let go beside what explains it, after a row that let go of
    /// `before`.
    pub(crate) fn let_go_beside(&self, before: f32, modelled: &[f32]) -> f32 {
        let explained = self.explains.iter().zip(modelled).filter(|(share, _)| **share > 0.0);
        let explained = explained.map(|(share, n)| share * explaining(*n));
        // `max` ignores NaN, what is missing.
        explained.fold(before * self.lasting, f32::max)
    }

    /// The part of the evidence of feature `at` that counts while its standardised value is this; all
    /// of it where the value is missing.
    pub(crate) fn counted(&self, at: usize, value: f32) -> f32 {
        let value = if value.is_nan() { 0.0 } else { value.clamp(-1.0, 1.0) };
        1.0 - self.rising[at] * value.max(0.0) - self.falling[at] * (-value).max(0.0)
    }

    /// The parts of all features that count in a row that lets go of so much `beside`.
    pub(crate) fn parts(&self, beside: f32, standard: &StandardRow) -> Vec<f32> {
        let part = |(at, value): (usize, &f32)| {
            (1.0 - beside * self.explained[at]) * self.counted(at, *value)
        };
        standard.values.iter().enumerate().map(part).collect()
    }
}

/// How much of what it can explain a count of events explains, 0 to 1.
fn explaining(n: f32) -> f32 {
    let too_many = (TOO_MANY_EVENTS - n) / (TOO_MANY_EVENTS - MOST_EVENTS);
    n.clamp(0.0, 1.0) * too_many.clamp(0.0, 1.0)
}

fn rising(concern: Concern) -> f32 {
    match concern {
        Concern::Either | Concern::Rise => 0.0,
        Concern::Failure => 1.0 - FAILURE_PART,
        Concern::Fall => 1.0 - HARMLESS_PART,
        Concern::Neither | Concern::Explains => 1.0 - ASIDE_PART,
    }
}

fn falling(concern: Concern) -> f32 {
    match concern {
        Concern::Either | Concern::Fall => 0.0,
        Concern::Rise | Concern::Failure => 1.0 - HARMLESS_PART,
        Concern::Neither | Concern::Explains => 1.0 - ASIDE_PART,
    }
}

fn explains(concern: Concern) -> f32 {
    let let_go = 1.0 - EXPLAINED_PART;
    if concern == Concern::Explains { let_go } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::columns_of;
    use oddns_core::Frame;
    use oddns_features::schema;

    #[test]
    fn what_hurts_counts_in_full_and_what_does_not_in_part() {
        let frame = Frame::new(schema().columns().to_vec());
        let columns = columns_of(&[&frame]);
        let leniency = Leniency::of(&columns, 1.0);
        let at = |name: &str| columns.iter().position(|column| column.name == name).unwrap();
        let counted = |name: &str, value: f32| leniency.counted(at(name), value);
        for (name, value, expected) in [
            ("servfail_ratio", 9.0, FAILURE_PART),
            ("servfail_ratio", -9.0, HARMLESS_PART),
            ("cache_hit_ratio", 9.0, HARMLESS_PART),
            ("cache_hit_ratio", -9.0, 1.0),
            ("request_rate", 9.0, ASIDE_PART),
            ("request_rate", 0.0, 1.0),
            ("request_rate", f32::NAN, 1.0),
            ("type_srv_ratio", -9.0, 1.0),
        ] {
            let found = counted(name, value);
            assert!((found - expected).abs() < 1e-6, "{name} at {value}: {found}");
        }
    }

    #[test]
    fn a_restart_explains_what_moves_beside_it_but_failures() {
        let frame = Frame::new(schema().columns().to_vec());
        let columns = columns_of(&[&frame]);
        let leniency = Leniency::of(&columns, 1.0);
        let at = |name: &str| columns.iter().position(|column| column.name == name).unwrap();
        let standard =
            StandardRow { values: vec![9.0; columns.len()], deviation: vec![9.0; columns.len()] };
        let part = |n_restarts: f32, name: &str| {
            let mut modelled = vec![f32::NAN; columns.len()];
            modelled[at("recent_restarts")] = n_restarts;
            let beside = leniency.let_go_beside(0.0, &modelled);
            leniency.parts(beside, &standard)[at(name)]
        };
        assert_eq!(part(f32::NAN, "request_latency_mean_seconds"), 1.0);
        assert_eq!(part(0.0, "request_latency_mean_seconds"), 1.0);
        assert_eq!(part(1.0, "request_latency_mean_seconds"), EXPLAINED_PART);
        assert_eq!(part(1.0, "servfail_ratio"), FAILURE_PART);
        assert_eq!(part(2.0, "request_latency_mean_seconds"), 1.0, "again and again");
    }

    #[test]
    fn what_is_explained_is_forgotten_within_minutes() {
        let frame = Frame::new(schema().columns().to_vec());
        let leniency = Leniency::of(&columns_of(&[&frame]), 15.0);
        let quiet = vec![f32::NAN; frame.columns().len()];
        let later = (0..4).fold(0.75, |before, _| leniency.let_go_beside(before, &quiet));
        assert!((later - 0.1875).abs() < 1e-6, "a minute is two half-lives: {later}");
    }

    #[test]
    fn of_another_table_nothing_is_let_go() {
        let frame = Frame::new(vec!["request_rate".to_owned(), "b".to_owned()]);
        assert!(!Leniency::of(&columns_of(&[&frame]), 1.0).is_any());
    }
}
