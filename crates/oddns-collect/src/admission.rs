//! Which series of an answer are taken, and under which name: `metric_relabel_configs` and the
//! limits on labels.

use std::sync::Arc;

use oddns_core::{Labels, Sample, SeriesId, SeriesKey, SeriesTable, TableTag};

use crate::job::{Job, ScrapeLimits};
use crate::relabel::{LabelMap, relabel};
use crate::scrape_target::ScrapeTarget;

const NAME: &str = "__name__";
/// Put before a label of the server that a target's label hides.
const EXPORTED: &str = "exported_";
/// A server with ever new series begins anew here, so that it does not fill the memory.
const MAX_SERIES: usize = 100_000;

/// Too much of something in an answer, by a limit of its job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// `sample_limit`.
    #[error("it has more than the {0} samples of `sample_limit`")]
    Samples(usize),
    /// `label_limit`.
    #[error("`{metric}` has {found} labels, `label_limit` is {limit}")]
    Labels {
        /// The metric's name, its start when it is long.
        metric: String,
        /// Labels with the name and those of the target.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// `label_name_length_limit` or `label_value_length_limit`.
    #[error("`{metric}` has a label of which {what} takes {found} bytes, `{key}` is {limit}")]
    Length {
        /// The metric's name, its start when it is long.
        metric: String,
        /// The name, or the value.
        what: &'static str,
        /// Which limit.
        key: &'static str,
        /// Bytes found.
        found: usize,
        /// The limit.
        limit: usize,
    },
}

impl LimitError {
    /// The key of the limit in a configuration.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Samples(_) => "sample_limit",
            Self::Labels { .. } => "label_limit",
            Self::Length { key, .. } => key,
        }
    }
}

/// Decides over the series of one target, over each once.
#[derive(Debug)]
pub(crate) struct Admission {
    job: Arc<Job>,
    target: LabelMap,
    /// The series as the server names them.
    raw: SeriesTable,
    /// The caller's table that `fates` and `seen` speak of.
    table: TableTag,
    /// By number in `raw`.
    fates: Vec<Option<Fate>>,
    /// By number in the caller's table, the answer it was last taken from.
    seen: Vec<u64>,
    generation: u64,
}

#[derive(Debug, Clone)]
enum Fate {
    Take(SeriesId),
    Drop,
    Refuse(LimitError),
}

impl Admission {
    /// `None` when every series is taken as it is.
    pub(crate) fn of(target: &ScrapeTarget) -> Option<Self> {
        let config = target.job.config();
        if config.metric_relabel_rules.is_empty() && !config.limits.concern_labels() {
            return None;
        }
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Some(Self {
            job: Arc::clone(&target.job),
            target: target.labels.iter().map(pair).collect(),
            raw: SeriesTable::default(),
            table: TableTag::default(),
            fates: Vec::new(),
            seen: Vec::new(),
            generation: 0,
        })
    }

    /// The table that the parser has filled.
    pub(crate) fn found(&self) -> &SeriesTable {
        &self.raw
    }

    /// The table that the parser is to fill.
    pub(crate) fn raw(&mut self) -> &mut SeriesTable {
        if self.raw.len() > MAX_SERIES {
            self.raw = SeriesTable::default();
            self.fates.clear();
        }
        &mut self.raw
    }

    /// Turns samples of the raw table into those of `table`. Of two that get the same name the
    /// first counts.
    pub(crate) fn admit(
        &mut self,
        raw: &[Sample],
        table: &mut SeriesTable,
        out: &mut Vec<Sample>,
    ) -> Result<(), LimitError> {
        self.generation += 1;
        if self.table != *table.tag() {
            self.table = table.tag().clone();
            self.fates.clear();
            self.seen.clear();
        }
        self.fates.resize(self.raw.len().max(self.fates.len()), None);
        for sample in raw {
            match self.fate(sample.series, table) {
                Fate::Drop => {}
                Fate::Refuse(error) => return Err(error),
                Fate::Take(id) => {
                    if self.is_first(id) {
                        out.push(Sample { series: id, value: sample.value });
                    }
                }
            }
        }
        Ok(())
    }

    fn fate(&mut self, id: SeriesId, table: &mut SeriesTable) -> Fate {
        let at = id.0 as usize;
        if let Some(fate) = self.fates.get(at).and_then(Option::as_ref) {
            return fate.clone();
        }
        let fate = self.raw.get(id).map_or(Fate::Drop, |key| self.decide(key, table));
        if let Some(slot) = self.fates.get_mut(at) {
            *slot = Some(fate.clone());
        }
        fate
    }

    fn decide(&self, key: &SeriesKey, table: &mut SeriesTable) -> Fate {
        let config = self.job.config();
        let (mut labels, hidden) = self.merged(key, config.honor_labels);
        if !relabel(&mut labels, &config.metric_relabel_rules) {
            return Fate::Drop;
        }
        if let Err(error) = check(&labels, &config.limits) {
            return Fate::Refuse(error);
        }
        let Some(key) = self.separated(labels, &hidden) else { return Fate::Drop };
        Fate::Take(table.intern(&key))
    }

    /// The labels that Prometheus would show to the rules, and which of the server's got another
    /// name.
    fn merged(&self, key: &SeriesKey, honor_labels: bool) -> (LabelMap, Vec<(String, String)>) {
        let mut labels: LabelMap = key
            .labels
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        labels.insert(NAME.to_owned(), key.name.clone());
        let mut hidden = Vec::new();
        for (name, value) in &self.target {
            let old = match labels.get(name) {
                Some(_) if honor_labels => continue,
                _ => labels.insert(name.clone(), value.clone()),
            };
            hidden.extend(old.map(|old| (name.clone(), old)));
        }
        hidden.sort_by_key(|(name, _)| name.len());
        let mut renamed = Vec::new();
        for (name, value) in hidden {
            let mut new = format!("{EXPORTED}{name}");
            while labels.contains_key(&new) {
                new = format!("{EXPORTED}{new}");
            }
            labels.insert(new.clone(), value);
            renamed.push((new, name));
        }
        (labels, renamed)
    }

    /// Takes the target's labels off again: the series of a server are told apart by its own.
    fn separated(&self, mut labels: LabelMap, hidden: &[(String, String)]) -> Option<SeriesKey> {
        let name = labels.remove(NAME).filter(|name| !name.is_empty())?;
        labels.retain(|name, value| self.target.get(name) != Some(value));
        for (shown, name) in hidden {
            if !labels.contains_key(name)
                && let Some(value) = labels.remove(shown)
            {
                labels.insert(name.clone(), value);
            }
        }
        labels.retain(|name, _| !name.starts_with("__"));
        Some(SeriesKey { name, labels: Labels::new(labels.into_iter().collect()) })
    }

    fn is_first(&mut self, id: SeriesId) -> bool {
        let at = id.0 as usize;
        if at >= self.seen.len() {
            self.seen.resize(at + 1, 0);
        }
        std::mem::replace(&mut self.seen[at], self.generation) != self.generation
    }
}

fn check(labels: &LabelMap, limits: &ScrapeLimits) -> Result<(), LimitError> {
    let metric = || labels.get(NAME).map_or(String::new(), |name| name.chars().take(50).collect());
    let (found, limit) = (labels.len(), limits.labels);
    if limit > 0 && found > limit {
        return Err(LimitError::Labels { metric: metric(), found, limit });
    }
    let length = |what, key, found, limit| match limit > 0 && found > limit {
        true => Err(LimitError::Length { metric: metric(), what, key, found, limit }),
        false => Ok(()),
    };
    for (name, value) in labels {
        length("the name", "label_name_length_limit", name.len(), limits.label_name_length)?;
        length("the value", "label_value_length_limit", value.len(), limits.label_value_length)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::Parser;
    use crate::job::JobConfig;
    use crate::relabel::{RelabelRule, RuleText};

    fn rule(action: &str, source: &str, regex: &str, target: &str) -> RelabelRule {
        RelabelRule::new(RuleText {
            action: Some(action.into()),
            source_labels: (!source.is_empty()).then(|| source.to_owned()).into_iter().collect(),
            regex: Some(regex.into()),
            target_label: (!target.is_empty()).then(|| target.into()),
            ..RuleText::default()
        })
        .unwrap()
    }

    fn admission(change: impl FnOnce(&mut JobConfig)) -> Admission {
        let mut config = JobConfig::new("dns");
        change(&mut config);
        let labels = [("__address__", "a:1"), ("zone", "eu"), ("cluster", "one")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let target = ScrapeTarget::from_labels(&Job::new(config), &labels).unwrap().unwrap();
        Admission::of(&target).unwrap()
    }

    fn admit(
        admission: &mut Admission,
        text: &str,
        table: &mut SeriesTable,
    ) -> Result<Vec<String>, LimitError> {
        let (mut raw, mut out) = (Vec::new(), Vec::new());
        Parser::default().parse(text.as_bytes(), admission.raw(), &mut raw).unwrap();
        admission.admit(&raw, table, &mut out)?;
        Ok(out.iter().map(|s| format!("{} {}", table.get(s.series).unwrap(), s.value)).collect())
    }

    const TEXT: &str =
        "coredns_a{zone=\".\",type=\"A\"} 1\ngo_x 2\ncoredns_a{zone=\".\",type=\"B\"} 3\n";

    #[test]
    fn rules_see_the_target_and_series_come_out_without_it() {
        let mut admission = admission(|config| {
            config.metric_relabel_rules = vec![
                rule("drop", "__name__", "go_.*", ""),
                rule("keep", "cluster", "one", ""),
                rule("keep", "exported_zone", r"\.", ""),
            ];
        });
        let mut table = SeriesTable::default();
        let expected = ["coredns_a{type=\"A\",zone=\".\"} 1", "coredns_a{type=\"B\",zone=\".\"} 3"];
        for _ in 0..2 {
            assert_eq!(admit(&mut admission, TEXT, &mut table).unwrap(), expected);
        }
        // Another table has other numbers.
        let mut other = SeriesTable::default();
        other.intern(&SeriesKey { name: "x".into(), labels: Labels::default() });
        assert_eq!(admit(&mut admission, TEXT, &mut other).unwrap(), expected);
    }

    #[test]
    fn series_that_become_one_count_once() {
        let mut admission = admission(|config| {
            config.metric_relabel_rules = vec![rule("labeldrop", "", "type", "")];
        });
        let found = admit(&mut admission, TEXT, &mut SeriesTable::default()).unwrap();
        assert_eq!(found, ["coredns_a{zone=\".\"} 1", "go_x 2"]);
    }

    #[test]
    fn limits_count_as_in_prometheus() {
        // Name, type, zone, exported_zone, cluster, instance and job.
        for (limit, is_fine) in [(7, true), (6, false)] {
            let mut admission = admission(|config| config.limits.labels = limit);
            assert_eq!(admit(&mut admission, TEXT, &mut SeriesTable::default()).is_ok(), is_fine);
        }
        let mut admission = admission(|config| config.limits.label_name_length = 12);
        let error = admit(&mut admission, TEXT, &mut SeriesTable::default()).unwrap_err();
        let message = "`coredns_a` has a label of which the name takes 13 bytes, `label_name_length_limit` is 12";
        assert_eq!(error.to_string(), message);
    }
}
