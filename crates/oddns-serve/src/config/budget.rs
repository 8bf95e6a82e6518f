//! The alert budget: how many false alerts a fleet may have.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::mistake::{ConfigError, wrong};
use crate::budget::AlertBudget;

/// Weeks in each unit that may be written behind the slash.
const UNITS: [(&str, f64); 4] =
    [("hour", 1.0 / 168.0), ("day", 1.0 / 7.0), ("week", 1.0), ("month", 30.0 / 7.0)];
/// More would be an alert a minute, less nobody can tell from none.
const ALERTS_PER_WEEK: std::ops::RangeInclusive<f64> = 0.001..=10_000.0;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenBudget {
    tickets: Option<Spanned<String>>,
    pages: Option<Spanned<String>>,
}

impl WrittenBudget {
    /// `None` when nothing is written.
    pub(super) fn resolve(&self) -> Result<Option<AlertBudget>, ConfigError> {
        let (tickets, pages) = (self.tickets.as_ref(), self.pages.as_ref());
        let Some(first) = tickets.or(pages) else { return Ok(None) };
        let tickets_per_week = rate(first)?;
        let pages_per_week = pages.map_or(Ok(tickets_per_week), rate)?;
        match pages.filter(|_| pages_per_week > tickets_per_week) {
            Some(pages) => {
                Err(wrong(pages, "`pages` are above `tickets`: every page is a ticket too"))
            }
            None => Ok(Some(AlertBudget { tickets_per_week, pages_per_week })),
        }
    }
}

/// `1/week`, `0.5/day`.
fn rate(written: &Spanned<String>) -> Result<f64, ConfigError> {
    let parts = written.value.split_once('/');
    let rate = parts.and_then(|(number, unit)| {
        let (_, weeks) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        Some(number.trim().parse::<f64>().ok()? / weeks)
    });
    rate.filter(|rate| ALERTS_PER_WEEK.contains(rate)).ok_or_else(|| {
        let message = format!(
            "`{}` is no budget: write a number for each hour, day, week or month, such as `1/week`",
            written.value
        );
        wrong(written, message)
    })
}
