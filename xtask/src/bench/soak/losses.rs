//! Which answers are not in the history, and which of these nobody need look for.

use std::collections::VecDeque;
use std::time::Duration;

use super::kept::Known;

/// A server that was given up may answer all the same, so long after it was asked.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// From when to when, since 1970.
pub(super) type Span = (Duration, Duration);

/// What became of answers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Losses {
    pub(super) n_answers: usize,
    pub(super) twice: usize,
    /// Of those that are not there: the history says of the scrape that it took too long.
    pub(super) late: usize,
    /// They were under way when the service ended, or whoever sends to it.
    pub(super) under_way: usize,
    /// All others.
    pub(super) lost: usize,
}

impl Losses {
    /// Looks for each of the `answers` of a server, by number and time, in what is `known` of it. A
    /// scrape that took `too_long` and failed stands for one answer that came afterwards; what was
    /// answered within one of `spans` may be lost.
    pub(super) fn of_server(
        answers: &[(u64, Duration)],
        known: &Known,
        too_long: Duration,
        spans: &[Span],
    ) -> Self {
        let mut losses = Self { n_answers: answers.len(), ..Self::default() };
        let mut late = VecDeque::from(known.late(too_long));
        for (number, at) in answers {
            match known.numbers.get(number).copied().unwrap_or(0) {
                0 if is_told(&mut late, *at) => losses.late += 1,
                0 if spans.iter().any(|(from, to)| (*from..=*to).contains(at)) => {
                    losses.under_way += 1;
                }
                0 => losses.lost += 1,
                1 => {}
                _ => losses.twice += 1,
            }
        }
        losses
    }

    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            n_answers: self.n_answers + other.n_answers,
            twice: self.twice + other.twice,
            late: self.late + other.late,
            under_way: self.under_way + other.under_way,
            lost: self.lost + other.lost,
        }
    }
}

/// Whether one of the scrapes that took too long is that of an answer at this time, which uses it up.
fn is_told(late: &mut VecDeque<Duration>, at: Duration) -> bool {
    while late.front().is_some_and(|began| *began + AFTERWARDS < at) {
        late.pop_front();
    }
    let is_told = late.front().is_some_and(|began| *began <= at);
    if is_told {
        late.pop_front();
    }
    is_told
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOO_LONG: Duration = Duration::from_millis(100);

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_late_scrape_stands_for_one_answer_that_came_afterwards() {
        let mut known = Known::failed_at(&[at(10.0)], TOO_LONG);
        known.numbers.insert(1, 1);
        known.numbers.insert(4, 2);
        let answers = [(1, at(9.9)), (2, at(10.1)), (3, at(10.2)), (4, at(10.3))];
        let losses = Losses::of_server(&answers, &known, TOO_LONG, &[]);
        assert_eq!(losses, Losses { n_answers: 4, twice: 1, late: 1, under_way: 0, lost: 1 });
        let long_ago = Losses::of_server(&[(2, at(16.0))], &known, TOO_LONG, &[]);
        assert_eq!((long_ago.late, long_ago.lost), (0, 1));
        let before = Losses::of_server(&[(2, at(9.0))], &known, TOO_LONG, &[]);
        assert_eq!((before.late, before.lost), (0, 1));
    }

    #[test]
    fn a_scrape_that_failed_at_once_stands_for_none() {
        let known = Known::failed_at(&[at(10.0)], TOO_LONG / 2);
        let losses = Losses::of_server(&[(1, at(10.1))], &known, TOO_LONG, &[]);
        assert_eq!(losses.lost, 1);
    }

    #[test]
    fn what_is_under_way_at_an_end_is_counted_by_itself() {
        let known = Known::default();
        let spans = [(at(1.0), at(2.0))];
        let losses = Losses::of_server(&[(1, at(1.5)), (2, at(2.5))], &known, TOO_LONG, &spans);
        assert_eq!((losses.under_way, losses.lost), (1, 1));
    }
}
