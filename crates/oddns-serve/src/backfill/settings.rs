//! What may be chosen about the history that a watch begins with.

use std::time::Duration;

use oddns_collect::{HistoryConfig, HttpConfig, PrometheusUrl, SeriesChoice, format_duration};

const DAY: Duration = Duration::from_secs(86_400);
/// How far back it goes where the history is kept: as far as learning looks.
const KEPT_LOOK_BACK: Duration = Duration::from_secs(14 * 86_400);
/// And where it is held in memory: what calibrates a server is over in a day or two.
const HELD_LOOK_BACK: Duration = Duration::from_secs(2 * 86_400);
/// Bytes of one answer: what is fetched in the background shares the memory of the watch.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Samples asked for at once, for the same reason; 40 bytes of memory each.
const MAX_SAMPLES: usize = 250_000;

/// Where history comes from, and how much of it.
#[derive(Debug, Clone, PartialEq)]
pub struct BackfillSettings {
    /// A Prometheus, or what speaks its HTTP API.
    pub server: PrometheusUrl,
    /// Who we are there, and whom we trust.
    pub http: HttpConfig,
    /// Which servers; those of every job that has CoreDNS when the list of jobs is empty.
    pub series: SeriesChoice,
    /// How far back; `None` is 14 days where the history is kept, and 2 days where it is not.
    pub look_back: Option<Duration>,
    /// Requests in a second at most; above 0.
    pub max_requests_per_second: f64,
    /// For one answer.
    pub timeout: Duration,
}

impl BackfillSettings {
    /// All CoreDNS servers that `server` knows, asked gently and without credentials.
    pub fn of(server: PrometheusUrl) -> Self {
        Self {
            server,
            http: HttpConfig::default(),
            series: SeriesChoice::Jobs(Vec::new()),
            look_back: None,
            max_requests_per_second: 5.0,
            timeout: Duration::from_secs(60),
        }
    }

    /// How far back it goes.
    pub(super) fn look_back(&self, is_kept: bool) -> Duration {
        self.look_back.unwrap_or(if is_kept { KEPT_LOOK_BACK } else { HELD_LOOK_BACK })
    }

    pub(super) fn reader(&self) -> HistoryConfig {
        let gap = Duration::try_from_secs_f64(1.0 / self.max_requests_per_second);
        HistoryConfig {
            http: self.http.clone(),
            timeout: self.timeout,
            min_gap: gap.unwrap_or(DAY).min(DAY),
            max_answer_bytes: MAX_ANSWER_BYTES,
            max_samples: MAX_SAMPLES,
            ..HistoryConfig::default()
        }
    }

    /// What is asked for, in words that hold no credentials: what was fetched for one question is not
    /// fetched again for the same. `interval` is that of the watch.
    pub(super) fn question(&self, is_kept: bool, interval: Duration) -> String {
        let series = match &self.series {
            SeriesChoice::Jobs(jobs) if jobs.is_empty() => "CoreDNS of every job".to_owned(),
            SeriesChoice::Jobs(jobs) => format!("CoreDNS of {}", jobs.join(", ")),
            SeriesChoice::Selector(selector) => selector.clone(),
        };
        let (server, back) = (&self.server, format_duration(self.look_back(is_kept)));
        format!("{series}, {back} back, every {}, from {server}", format_duration(interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_shows_no_credentials() {
        let mut settings = BackfillSettings::of("http://u:hunter2@prom:9090".parse().unwrap());
        let every = Duration::from_secs(15);
        let words = "CoreDNS of every job, 2w back, every 15s, from http://***@prom:9090/";
        assert_eq!(settings.question(true, every), words);
        settings.series = SeriesChoice::Jobs(vec!["dns".to_owned(), "kube-dns".to_owned()]);
        let words = "CoreDNS of dns, kube-dns, 2d back, every 15s, from http://***@prom:9090/";
        assert_eq!(settings.question(false, every), words);
        assert_eq!(settings.look_back(true), 14 * DAY);
        assert_eq!(settings.look_back(false), 2 * DAY);
    }

    #[test]
    fn a_rate_of_next_to_nothing_is_a_day() {
        let server: PrometheusUrl = "prom:9090".parse().unwrap();
        let rate = |max_requests_per_second| {
            let settings = BackfillSettings::of(server.clone());
            BackfillSettings { max_requests_per_second, ..settings }.reader().min_gap
        };
        assert_eq!(rate(5.0), Duration::from_millis(200));
        assert_eq!(rate(f64::MIN_POSITIVE), DAY);
        assert_eq!(rate(f64::NAN), DAY);
    }
}
