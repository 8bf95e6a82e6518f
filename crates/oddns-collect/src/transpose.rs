//! From history as Prometheus keeps it, series by series, to recordings, scrape by scrape.

use std::collections::{BTreeMap, HashMap};

use oddns_core::{Labels, Recording, Sample, Scrape, SeriesId, SeriesKey, SeriesTable, Timestamp};

/// The series that Prometheus makes of whether a scrape went well.
const UP: &str = "up";
/// The series that Prometheus makes of how long a scrape took.
const DURATION: &str = "scrape_duration_seconds";

/// Gathers samples, in any order, into one recording for each `instance` label.
#[derive(Debug)]
pub(crate) struct Transpose {
    /// Instance of series without that label.
    default_instance: String,
    /// By instance and job. An instance may have several jobs, say a node's DNS and its exporter.
    groups: Vec<Group>,
    places: HashMap<(String, String), usize>,
    n_rows: usize,
}

/// The series of one instance and job.
#[derive(Debug)]
struct Group {
    instance: String,
    series: SeriesTable,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    millis: i64,
    role: Role,
    value: f64,
}

/// What a series becomes. Samples come first, so that whether they count is known at their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Sample(SeriesId),
    Up,
    Duration,
}

/// A series, for [`Transpose::push`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    group: usize,
    role: Role,
}

impl Transpose {
    pub(crate) fn new(default_instance: &str) -> Self {
        Self {
            default_instance: default_instance.to_owned(),
            groups: Vec::new(),
            places: HashMap::new(),
            n_rows: 0,
        }
    }

    /// How many samples were taken.
    pub(crate) fn len(&self) -> usize {
        self.n_rows
    }

    /// Where the samples of a series go; `key` still has its `instance` and `job`.
    pub(crate) fn place(&mut self, key: SeriesKey) -> Place {
        let label = |name| key.labels.get(name).unwrap_or_default().to_owned();
        let (mut instance, job) = (label("instance"), label("job"));
        if instance.is_empty() {
            instance = self.default_instance.clone();
        }
        let n_groups = self.groups.len();
        let group = *self.places.entry((instance.clone(), job)).or_insert(n_groups);
        if group == n_groups {
            let (series, rows) = (SeriesTable::default(), Vec::new());
            self.groups.push(Group { instance, series, rows });
        }
        let role = match key.name.as_str() {
            UP => Role::Up,
            DURATION => Role::Duration,
            _ => Role::Sample(self.groups[group].series.intern(&without_target(key))),
        };
        Place { group, role }
    }

    /// Takes one sample.
    pub(crate) fn push(&mut self, place: Place, millis: i64, value: f64) {
        self.groups[place.group].rows.push(Row { millis, role: place.role, value });
        self.n_rows += 1;
    }

    /// Divides all times, for a text that tells the unit of its times at its end.
    pub(crate) fn divide_times(&mut self, divisor: i64) {
        for row in self.groups.iter_mut().flat_map(|group| &mut group.rows) {
            row.millis = row.millis.div_euclid(divisor);
        }
    }

    /// One recording for each instance that has scrapes, sorted by instance.
    ///
    /// Samples of one instant are one scrape. It is up when `up` says so or is missing; when it is
    /// not it has no samples, and an instant at which `up` is stale is none. Of several values of a
    /// series at one instant the first stays. Of several jobs of an instance only those with a
    /// `coredns_` series count, if there is one.
    pub(crate) fn finish(self) -> Vec<Recording> {
        let mut by_instance: BTreeMap<String, Vec<Recording>> = BTreeMap::new();
        for group in self.groups {
            let recording = group.recording();
            if !recording.scrapes.is_empty() {
                by_instance.entry(recording.instance.clone()).or_default().push(recording);
            }
        }
        by_instance.into_values().filter_map(only_dns).collect()
    }
}

/// The key as the server itself names the series.
fn without_target(key: SeriesKey) -> SeriesKey {
    let is_own = |name: &str| name != "instance" && name != "job";
    let pairs = key.labels.iter().filter(|(name, _)| is_own(name));
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    SeriesKey { labels: Labels::new(pairs.collect()), name: key.name }
}

impl Group {
    fn recording(mut self) -> Recording {
        // Stable, so that of equal rows the first one taken stays first.
        self.rows.sort_by_key(|row| (row.millis, row.role));
        let instants = self.rows.chunk_by(|a, b| a.millis == b.millis);
        let scrapes = instants.filter_map(scrape).collect();
        Recording { instance: self.instance, series: self.series, scrapes }
    }
}

/// The scrape of one instant; `None` when the target was no target any more.
fn scrape(rows: &[Row]) -> Option<Scrape> {
    let value = |role| rows.iter().find(|row| row.role == role).map(|row| row.value);
    let up = value(Role::Up).unwrap_or(1.0);
    let mut samples: Vec<Sample> = Vec::new();
    for row in rows {
        if let Role::Sample(series) = row.role
            && samples.last().is_none_or(|last| last.series != series)
        {
            samples.push(Sample { series, value: row.value });
        }
    }
    // Without samples only `up` can tell that there was a scrape.
    if up.is_nan() || (samples.is_empty() && value(Role::Up).is_none()) {
        return None;
    }
    let is_up = up != 0.0;
    if !is_up {
        samples.clear();
    }
    Some(Scrape {
        time: Timestamp::from_millis(rows.first()?.millis),
        up: is_up,
        duration_seconds: value(Role::Duration).unwrap_or(f64::NAN),
        samples,
    })
}

/// One recording of the jobs of one instance.
fn only_dns(mut jobs: Vec<Recording>) -> Option<Recording> {
    let has_dns = jobs.iter().any(|job| job.series.has_coredns());
    jobs.retain(|job| !has_dns || job.series.has_coredns());
    let mut jobs = jobs.into_iter();
    let mut merged = jobs.next()?;
    for job in jobs {
        merge(&mut merged, job);
    }
    Some(merged)
}

fn merge(into: &mut Recording, other: Recording) {
    for mut scrape in other.scrapes {
        scrape.samples.retain_mut(|sample| match other.series.get(sample.series) {
            Some(key) => {
                sample.series = into.series.intern(key);
                true
            }
            None => false,
        });
        into.scrapes.push(scrape);
    }
    into.scrapes.sort_by_key(|scrape| scrape.time);
    into.scrapes.dedup_by_key(|scrape| scrape.time);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transposed(rows: &[(&str, &str, i64, f64)]) -> Vec<String> {
        let mut transpose = Transpose::new("unknown");
        for (name, labels, millis, value) in rows {
            let key = SeriesKey { name: (*name).to_owned(), labels: labels.parse().unwrap() };
            let place = transpose.place(key);
            transpose.push(place, *millis, *value);
        }
        transpose.finish().iter().map(outline).collect()
    }

    fn outline(recording: &Recording) -> String {
        let sample = |sample: &Sample| {
            format!("{}={}", recording.series.get(sample.series).unwrap(), sample.value)
        };
        let scrape = |scrape: &Scrape| {
            let samples: Vec<_> = scrape.samples.iter().map(sample).collect();
            let (millis, up) = (scrape.time.millis(), if scrape.up { "up" } else { "down" });
            format!("{millis} {up} {} {}", scrape.duration_seconds, samples.join(" "))
        };
        let scrapes: Vec<_> = recording.scrapes.iter().map(scrape).collect();
        format!("{}: {}", recording.instance, scrapes.join("; "))
    }

    #[test]
    fn series_become_scrapes() {
        let ns1 = "{instance=\"ns1\",job=\"dns\"}";
        assert_eq!(
            transposed(&[
                ("a", "{instance=\"ns1\",job=\"dns\",zone=\".\"}", 2, 20.0),
                ("a", "{instance=\"ns1\",job=\"dns\",zone=\".\"}", 1, 10.0),
                ("up", ns1, 1, 1.0),
                ("up", ns1, 2, 1.0),
                ("up", ns1, 3, 0.0),
                ("up", ns1, 4, f64::NAN),
                ("b", ns1, 2, 5.0),
                ("b", ns1, 2, 6.0),
                ("b", ns1, 3, f64::NAN),
                ("b", ns1, 4, f64::NAN),
                ("scrape_duration_seconds", ns1, 1, 0.5),
                ("scrape_duration_seconds", ns1, 9, 0.5),
                ("c", "", 7, 1.0),
            ]),
            [
                "ns1: 1 up 0.5 a{zone=\".\"}=10; 2 up NaN a{zone=\".\"}=20 b=5; 3 down NaN ",
                "unknown: 7 up NaN c=1",
            ]
        );
    }

    #[test]
    fn of_several_jobs_those_with_dns_count() {
        assert_eq!(
            transposed(&[
                ("node_load1", "{instance=\"n\",job=\"node\"}", 1, 1.0),
                ("coredns_x", "{instance=\"n\",job=\"dns\"}", 2, 1.0),
                ("coredns_y", "{instance=\"n\",job=\"dns2\"}", 3, 1.0),
                ("a", "{instance=\"m\",job=\"x\"}", 2, 1.0),
                ("b", "{instance=\"m\",job=\"y\"}", 1, 1.0),
            ]),
            ["m: 1 up NaN b=1; 2 up NaN a=1", "n: 2 up NaN coredns_x=1; 3 up NaN coredns_y=1"]
        );
    }
}
