//! Everything that is wrong with a configuration in one go: what is wrong is taken out of the text,
//! and the rest is checked again.

use std::path::Path;

use super::keys::UNUSED;
use super::mistake::{ConfigError, unknown_field};
use super::outline::Outline;
use super::{Config, MAX_CONFIG_BYTES, Written, resolve};
use crate::config::mistake::parse_error;

/// More mistakes of one file are not told.
const MAX_TOLD: usize = 50;
/// So many entries are taken out of a file at most; the largest `prometheus.yml` has fewer that we
/// do not use.
const MAX_ROUNDS: usize = 200;

/// Checks the text of a configuration file and fills in the defaults. Files that it names are
/// relative to `folder`, and are not looked at. An empty text is valid: it watches nothing.
///
/// Gives every mistake, in the order of the file and at most 50; at least one.
pub fn review_config(text: &str, folder: &Path) -> Result<Config, Vec<ConfigError>> {
    if text.len() > MAX_CONFIG_BYTES {
        let message = format!(
            "the file has {} bytes, a configuration has at most {MAX_CONFIG_BYTES}: is it the right file?",
            text.len()
        );
        return Err(vec![ConfigError { line: 1, column: 1, message }]);
    }
    let mut review = Review::default();
    let mut text = text.to_owned();
    for _ in 0..MAX_ROUNDS {
        match attempt(&text, folder) {
            Ok(config) => return review.end(config),
            Err(trouble) => match review.note(trouble, &text) {
                Some(rest) => text = rest,
                None => break,
            },
        }
    }
    Err(review.mistakes())
}

/// Checks the text of a configuration file; see [`review_config`]. Gives the first mistake of it.
pub fn check_config(text: &str, folder: &Path) -> Result<Config, ConfigError> {
    review_config(text, folder).map_err(|mut mistakes| mistakes.swap_remove(0))
}

/// What one look at the text came upon.
struct Trouble {
    error: ConfigError,
    /// A key that is not known here.
    unknown: Option<String>,
}

fn attempt(text: &str, folder: &Path) -> Result<Config, Trouble> {
    let written: Option<Written> = serde_saphyr::from_str(text)
        .map_err(|error| Trouble { error: parse_error(&error), unknown: unknown_field(&error) })?;
    let resolved = resolve(written.unwrap_or_default(), folder);
    resolved.map_err(|error| Trouble { error, unknown: None })
}

/// What has been found so far.
#[derive(Default)]
struct Review {
    mistakes: Vec<ConfigError>,
    unused: Vec<ConfigError>,
    /// Of the file as it is; `None` before the first mistake.
    outline: Option<Outline>,
    /// Entries that were taken out.
    removed: Vec<usize>,
}

impl Review {
    /// Notes what is wrong; gives the text without it, when there may be more to find.
    fn note(&mut self, trouble: Trouble, text: &str) -> Option<String> {
        let is_first = self.outline.is_none();
        let Some(mut outline) = self.outline.take().or_else(|| Outline::of(text)) else {
            self.mistakes.push(trouble.error);
            return None;
        };
        let is_whole = is_first || Outline::of(text).is_some();
        let at = outline.at(trouble.error.line, trouble.error.column).filter(|_| is_whole);
        let entry = match at.and_then(|at| outline.entry_at(at)) {
            Some(entry) => self.note_at(trouble, &outline, entry)?,
            None if is_first => {
                self.mistakes.push(trouble.error);
                return None;
            }
            // After something was taken out, what is left around it may not hold together.
            None => self.around_last(&outline)?,
        };
        if outline.key(entry) == "job_name" {
            // A job without a name would be a mistake, and hide what else is wrong with it.
            outline.rename(entry, self.mistakes.len());
        } else {
            outline.take_out(entry);
            self.removed.push(entry);
        }
        let rest = outline.text();
        self.outline = Some(outline);
        (self.mistakes.len() < MAX_TOLD).then_some(rest)
    }

    /// The innermost entry that is left around what was taken out last.
    fn around_last(&self, outline: &Outline) -> Option<usize> {
        let mut at = outline.parent(*self.removed.last()?);
        while let Some(entry) = at.filter(|entry| self.removed.contains(entry)) {
            at = outline.parent(entry);
        }
        at
    }

    /// Notes what is wrong at `entry`, unless it comes of what was taken out; gives what to take
    /// out next.
    fn note_at(&mut self, trouble: Trouble, outline: &Outline, entry: usize) -> Option<usize> {
        let Trouble { error, unknown } = trouble;
        if unknown.is_some_and(|key| is_unused(outline.table(entry), &key)) {
            let message = format!("`{}` is not used by oddns", outline.key(entry));
            self.unused.push(ConfigError { message, ..error });
            return Some(entry);
        }
        let mut innermost = entry;
        while self.removed.contains(&innermost) {
            innermost = outline.parent(innermost)?;
        }
        if let Some(wounded) = self.wounded(outline, innermost, &error) {
            return Some(wounded);
        }
        self.mistakes.push(error);
        Some(innermost)
    }

    /// The entry that lacks what was taken out of it, if the error at `innermost` comes of that. Of
    /// what is wounded only its parts are still looked at.
    fn wounded(&self, outline: &Outline, innermost: usize, error: &ConfigError) -> Option<usize> {
        // What is missing is told at whatever is left of the table. Any other mistake may be made twice.
        let is_told = error.message.ends_with(" is missing")
            && self.mistakes.iter().any(|told| told.message == error.message);
        let table = outline.parent(innermost);
        let mut at = Some(innermost);
        while let Some(entry) = at {
            let lacks = |gone: &usize| {
                let is_within = outline.range(entry).contains(&outline.range(*gone).start);
                let is_key =
                    error.message.starts_with(&format!("the key `{}`", outline.key(*gone)));
                let is_same = is_told && table == Some(entry);
                is_within && (entry == innermost || is_same || is_key)
            };
            if self.removed.iter().any(lacks) {
                return Some(entry);
            }
            at = outline.parent(entry);
        }
        None
    }

    fn end(self, config: Config) -> Result<Config, Vec<ConfigError>> {
        if self.mistakes.is_empty() {
            return Ok(Config { unused: self.unused, ..config });
        }
        Err(self.mistakes())
    }

    fn mistakes(mut self) -> Vec<ConfigError> {
        self.mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        self.mistakes.dedup();
        if self.mistakes.is_empty() {
            let message = "too many keys are not used by oddns: is it the right file?".to_owned();
            self.mistakes.push(ConfigError { line: 1, column: 1, message });
        }
        self.mistakes
    }
}

/// Whether `key` under `table` is one of Prometheus's that do not concern us.
fn is_unused(table: &str, key: &str) -> bool {
    UNUSED.iter().any(|unused| unused.table == table && unused.names.contains(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let mistakes = review_config(text, Path::new("")).unwrap_err();
        mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_is_told_and_none_that_comes_of_another() {
        let text = "\
global:
  scrape_interval: 1y
  scrap_timeout: 5s
scrape_configs:
  - job_name: ''
    honor_labels: perhaps
    static_configs: [{targets: ['a:1', 'http://b'], label: {x: y}}]
  - job_name: dns
    scheme: gopher
    relabel_configs:
      - {action: jump}
      - target_label: x
  - job_name: dns
    static_configs:
      - targets: ['c:1']
model: [1]
";
        let told = told(text);
        let starts: Vec<&str> = told.iter().map(|line| line.split_once(": ").unwrap().0).collect();
        assert_eq!(
            starts,
            [
                "line 2, column 20",
                "line 3, column 3",
                "line 5, column 15",
                "line 6, column 19",
                "line 7, column 40",
                "line 7, column 53",
                "line 9, column 13",
                "line 11, column 18",
                "line 13, column 15",
                "line 16, column 8",
            ],
            "{told:#?}"
        );
    }

    #[test]
    fn a_mistake_that_is_made_twice_hides_no_other() {
        let text = "\
scrape_configs:
  - job_name: a
    sample_limit: many
    honor_labels: perhaps
    honor_timestamps: perhaps
    static_configs: [{targets: ['http://x', 'http://x', 'http://y']}]
  - job_name: b
    sample_limit: many
    scheme: gopher
  - job_name: c
    static_configs: five
    relabel_configs: {action: jump}
  - job_name: d
    static_configs: five
    scheme: gopher
";
        let told = told(text);
        let place = |line: &String| line.split_once(": ").map(|(place, _)| place.to_owned());
        let lines: Vec<String> = told.iter().filter_map(place).collect();
        assert_eq!(
            lines,
            [
                "line 3, column 19",
                "line 4, column 19",
                "line 5, column 23",
                "line 6, column 33",
                "line 6, column 45",
                "line 6, column 57",
                "line 8, column 19",
                "line 9, column 13",
                "line 11, column 21",
                "line 12, column 22",
                "line 14, column 21",
                "line 15, column 13",
            ],
            "{told:#?}"
        );
    }

    #[test]
    fn what_is_missing_is_told_once() {
        for text in [
            "scrape_configs:\n  - metrics_path: /m\n    scheme: http\n",
            "scrape_configs: [{scheme: http}]",
        ] {
            let told = told(text);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].ends_with("the key `job_name` is missing"), "{told:?}");
        }
    }

    #[test]
    fn text_that_is_no_yaml_is_one_mistake() {
        assert_eq!(told("a: [b").len(), 1);
        assert_eq!(told("just words").len(), 1);
    }

    #[test]
    fn keys_of_prometheus_that_do_not_concern_us_are_passed_over() {
        let text = "\
global: {evaluation_interval: 5s, external_labels: {site: a}}
rule_files: ['*.rules']
remote_read: [{url: http://x}]
remote_write:
  - url: http://x
    queue_config: {max_shards: 3}
scrape_configs:
  - job_name: dns
    scrape_classic_histograms: true
    static_configs: [{targets: ['a:1']}]
";
        let config = review_config(text, Path::new("")).unwrap();
        let lines: Vec<u64> = config.unused().iter().map(|unused| unused.line).collect();
        assert_eq!(lines, [1, 2, 3, 6, 9]);
        assert_eq!(config.remote_write[0].name, "x/");
        assert_eq!(config.unused()[0].message, "`evaluation_interval` is not used by oddns");
        assert_eq!(config.n_targets(), 1);
        // In its own place only.
        let wrong = told("scrape_configs: [{job_name: a, rule_files: []}]");
        assert!(wrong[0].contains("`rule_files` of Prometheus is not supported"), "{wrong:?}");
    }
}
