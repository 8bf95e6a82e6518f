//! The entry `backfill`.

use std::path::PathBuf;
use std::time::Duration;

use oddns_collect::{PrometheusUrl, SeriesChoice};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::files::Files;
use super::http::with_http;
use super::mistake::{ConfigError, wrong};
use super::scrape;
use crate::backfill::BackfillSettings;

/// Bounds of how far back history is fetched.
const LOOK_BACK: (Duration, Duration) =
    (Duration::from_secs(600), Duration::from_secs(90 * 86_400));
/// Bounds of the time for one answer.
const TIMEOUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));
/// Bounds of requests in a second.
const RATE: (f64, f64) = (0.01, 100.0);

with_http! {
    struct WrittenBackfill {
        url: Spanned<String>,
        look_back: Option<Spanned<String>>,
        jobs: Option<Vec<String>>,
        series_selector: Option<Spanned<String>>,
        max_requests_per_second: Option<Spanned<f64>>,
        timeout: Option<Spanned<String>>,
    }
}

impl WrittenBackfill {
    pub(super) fn resolve(mut self, files: &mut Files) -> Result<BackfillSettings, ConfigError> {
        let server = self.url.value.parse::<PrometheusUrl>();
        let server = server.map_err(|error| wrong(&self.url, error))?;
        let http = self.take_http().resolve(files)?;
        let usual = BackfillSettings::of(server);
        let time = |name, written: &Option<Spanned<String>>, bounds| {
            written
                .as_ref()
                .map(|written| scrape::duration_within(name, written, bounds))
                .transpose()
        };
        Ok(BackfillSettings {
            http,
            look_back: time("look_back", &self.look_back, LOOK_BACK)?,
            timeout: time("timeout", &self.timeout, TIMEOUT)?.unwrap_or(usual.timeout),
            max_requests_per_second: self.rate()?.unwrap_or(usual.max_requests_per_second),
            series: self.series()?,
            ..usual
        })
    }

    fn rate(&self) -> Result<Option<f64>, ConfigError> {
        let (least, most) = RATE;
        match &self.max_requests_per_second {
            Some(written) if !(least..=most).contains(&written.value) => {
                let message = format!("`max_requests_per_second` must be from {least} to {most}");
                Err(wrong(written, message))
            }
            written => Ok(written.as_ref().map(|written| written.value)),
        }
    }

    fn series(&self) -> Result<SeriesChoice, ConfigError> {
        match (&self.series_selector, &self.jobs) {
            (Some(written), Some(_)) => {
                Err(wrong(written, "both `jobs` and `series_selector`: keep one"))
            }
            (Some(written), None) => Ok(SeriesChoice::Selector(written.value.clone())),
            (None, jobs) => Ok(SeriesChoice::Jobs(jobs.clone().unwrap_or_default())),
        }
    }
}
