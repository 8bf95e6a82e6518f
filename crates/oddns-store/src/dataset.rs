//! `dataset.json`: where a metric history comes from.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use oddns_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{StoreError, write_atomically};

/// What is known of a metric history. Every field may be missing; keys not listed here are kept.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dataset {
    /// Short name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What was recorded, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// First scrape.
    #[serde(with = "unix_seconds", skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// Last scrape.
    #[serde(with = "unix_seconds", skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// From here on nothing is known to be wrong, until `normal_until`.
    #[serde(with = "unix_seconds", skip_serializing_if = "Option::is_none")]
    pub normal_from: Option<Timestamp>,
    /// End of the stretch that `normal_from` begins.
    #[serde(with = "unix_seconds", skip_serializing_if = "Option::is_none")]
    pub normal_until: Option<Timestamp>,
    /// Such as `1.15.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coredns_version: Option<String>,
    /// Text of the Corefile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corefile: Option<String>,
    /// Seed of what was random in making it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Seconds between scrapes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_interval_seconds: Option<f64>,
    /// Which servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<String>,
    /// SPDX name of the licence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// What is missing of what was planned; `None` where nothing is, or nothing was planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<Unfinished>,
    /// Everything else that the file says.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// That a data set was not recorded, or not simulated, to the end that was planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unfinished {
    /// What ended it, such as `interrupted`; `None` while it goes on, and when it was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
    /// Seconds that were planned.
    pub planned_seconds: f64,
    /// Seconds that are there; `None` while it goes on, and when it was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_seconds: Option<f64>,
}

impl Unfinished {
    /// Of what has begun.
    pub fn begun(planned_seconds: f64) -> Self {
        Self { ended_by: None, planned_seconds, done_seconds: None }
    }
}

impl fmt::Display for Unfinished {
    /// What follows the name of the data set in a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let planned = self.planned_seconds;
        match (&self.ended_by, self.done_seconds) {
            (Some(by), Some(done)) => {
                write!(f, "is unfinished: {by} after {done:.0} of {planned:.0} seconds")
            }
            (Some(by), None) => write!(f, "is unfinished: {by}, {planned:.0} seconds were planned"),
            (None, _) => write!(
                f,
                "is unfinished: it goes on, or was killed before its {planned:.0} seconds were over"
            ),
        }
    }
}

impl Dataset {
    /// Says of what has begun and not ended that it was `ended_by` something, with the seconds that
    /// are there. No effect on what is finished, or has said what ended it.
    pub fn end(&mut self, ended_by: &str) {
        let done = self.start.zip(self.end).map(|(start, end)| end.seconds_since(start));
        if let Some(unfinished) = self.unfinished.as_mut().filter(|of| of.ended_by.is_none()) {
            unfinished.ended_by = Some(ended_by.to_owned());
            unfinished.done_seconds = done;
        }
    }

    /// Reads the description in the data set folder `root`; `None` when it has none.
    pub fn read(root: &Path) -> Result<Option<Self>, StoreError> {
        let path = root.join("dataset.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| StoreError::Json { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Read { path, source }),
        }
    }

    /// Writes the description into the folder `root`.
    pub fn write(&self, root: &Path) -> Result<(), StoreError> {
        let path = root.join("dataset.json");
        let mut text = match serde_json::to_vec_pretty(self) {
            Ok(text) => text,
            Err(source) => return Err(StoreError::Json { path, source }),
        };
        text.push(b'\n');
        write_atomically(&path, &text)
    }
}

/// What several descriptions agree on: the keys that all of them have, with the same value. Times and
/// instances are left out, as those of data that is brought together are others; none agree on nothing.
pub fn agreed(descriptions: &[Dataset]) -> Dataset {
    let mut objects = descriptions.iter().map(|one| match serde_json::to_value(one) {
        Ok(serde_json::Value::Object(keys)) => keys,
        _ => serde_json::Map::default(),
    });
    let mut keys = objects.next().unwrap_or_default();
    for other in objects {
        keys.retain(|key, value| other.get(key) == Some(value));
    }
    let known: Dataset = serde_json::from_value(keys.into()).unwrap_or_default();
    Dataset { start: None, end: None, instances: Vec::new(), ..known }
}

mod unix_seconds {
    use oddns_core::Timestamp;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_f64(time.unix_seconds()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let Some(seconds) = Option::<f64>::deserialize(deserializer)? else { return Ok(None) };
        match Timestamp::from_unix_seconds(seconds) {
            Some(time) => Ok(Some(time)),
            None => Err(Error::custom(format!("`{seconds}` is no time in Unix seconds"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_it_does_not_know() {
        let folder = tempfile::tempdir().unwrap();
        let text =
            r#"{"name":"a","normal_from":1795331551.0009446,"instances":["sut0"],"speed":72}"#;
        fs::write(folder.path().join("dataset.json"), text).unwrap();
        let dataset = Dataset::read(folder.path()).unwrap().unwrap();
        assert_eq!(dataset.normal_from, Some(Timestamp::from_millis(1_795_331_551_001)));
        assert_eq!(dataset.other["speed"], 72);
        dataset.write(folder.path()).unwrap();
        assert_eq!(Dataset::read(folder.path()).unwrap(), Some(dataset));
    }

    #[test]
    fn what_two_agree_on_is_what_both_say() {
        let parse = |text: &str| serde_json::from_str::<Dataset>(text).unwrap();
        let one = parse(
            r#"{"name":"a","start":5,"licence":"MIT","scrape_interval_seconds":1,"speed":[7],"of":1}"#,
        );
        let other = parse(
            r#"{"name":"b","start":5,"licence":"MIT","scrape_interval_seconds":1,"speed":[7]}"#,
        );
        let both = parse(r#"{"licence":"MIT","scrape_interval_seconds":1,"speed":[7]}"#);
        assert_eq!(agreed(&[one.clone(), other.clone()]), both);
        assert_eq!(agreed(std::slice::from_ref(&one)), Dataset { start: None, ..one.clone() });
        assert_eq!(agreed(&[one, other, Dataset::default()]), Dataset::default());
        assert_eq!(agreed(&[]), Dataset::default());
    }

    #[test]
    fn what_has_begun_is_ended_once() {
        let (start, end) = (Timestamp::from_millis(1000), Timestamp::from_millis(53_500));
        let unfinished = Some(Unfinished::begun(3600.0));
        let mut dataset =
            Dataset { start: Some(start), end: Some(end), unfinished, ..Dataset::default() };
        let shown = |dataset: &Dataset| dataset.unfinished.as_ref().map(ToString::to_string);
        assert!(
            shown(&dataset).unwrap().contains("goes on, or was killed before its 3600 seconds")
        );
        for by in ["interrupted", "killed"] {
            dataset.end(by);
            let told = "is unfinished: interrupted after 52 of 3600 seconds";
            assert_eq!(shown(&dataset).unwrap(), told);
        }
        let text = serde_json::to_string(&dataset).unwrap();
        assert_eq!(serde_json::from_str::<Dataset>(&text).unwrap(), dataset);
        let mut finished = Dataset::default();
        finished.end("killed");
        assert_eq!(finished, Dataset::default());
    }

    #[test]
    fn tells_bad_json_from_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Dataset::read(folder.path()).unwrap(), None);
        for text in ["", "[]", "{\"seed\": -1}", "{\"start\": \"now\"}", "{\"end\": 1e300}"] {
            fs::write(folder.path().join("dataset.json"), text).unwrap();
            assert!(matches!(Dataset::read(folder.path()), Err(StoreError::Json { .. })), "{text}");
        }
    }
}
