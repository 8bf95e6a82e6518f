//! What data sets say beside their samples, when these are imported: `dataset.json` and `labels.csv`.

use std::path::{Path, PathBuf};

use oddns_store::{
    Dataset, HistoryFilter, LabelledInterval, StoreError, agreed, read_labels, write_labels,
};

/// Description and labels of what is brought together in one folder.
pub(super) struct Carried {
    descriptions: Vec<Dataset>,
    labels: Vec<LabelledInterval>,
}

impl Carried {
    /// Of the sources, as far as they pass the `filter`, and of the folder `out` itself when
    /// something is there already. What is no folder of a data set says nothing.
    pub(super) fn of(
        sources: &[&Path],
        out: Option<&Path>,
        filter: &HistoryFilter,
    ) -> Result<Self, StoreError> {
        let mut carried = Self { descriptions: Vec::new(), labels: Vec::new() };
        if let Some(out) = out {
            carried.take(out, &HistoryFilter::default())?;
        }
        for source in sources {
            carried.take(source, filter)?;
        }
        let order = |one: &LabelledInterval| {
            (one.start, one.end, one.kind.clone(), one.instance.clone(), one.anomalous)
        };
        carried.labels.sort_by_key(order);
        carried.labels.dedup();
        Ok(carried)
    }

    fn take(&mut self, source: &Path, filter: &HistoryFilter) -> Result<(), StoreError> {
        let description = if source.is_dir() { Dataset::read(source)? } else { None };
        self.descriptions.push(description.unwrap_or_default());
        let path = labels_of(source);
        if path.is_file() {
            let labels = read_labels(&path)?;
            self.labels.extend(labels.into_iter().filter(|label| passes(label, filter)));
        }
        Ok(())
    }

    /// Adds to the folder `out`, whose samples are all there, what the sources agree on, and the
    /// labels of them all.
    pub(super) fn write(self, out: &Path) -> Result<(), StoreError> {
        let own = Dataset::read(out)?.unwrap_or_default();
        let known = agreed(&self.descriptions);
        let Dataset { start, end, instances, .. } = own;
        let mut about = Dataset { start, end, instances, ..known };
        // A recording that goes on writes its end itself; the copy has none to come.
        about.end("killed, or copied while it went on,");
        about.write(out)?;
        if self.labels.is_empty() {
            return Ok(());
        }
        write_labels(&labels_of(out), &self.labels)
    }
}

fn labels_of(root: &Path) -> PathBuf {
    root.join("labels.csv")
}

fn passes(label: &LabelledInterval, filter: &HistoryFilter) -> bool {
    let HistoryFilter { since, until, instance } = filter;
    since.is_none_or(|since| label.end >= since)
        && until.is_none_or(|until| label.start < until)
        && (instance.is_none() || label.instance.is_none() || label.instance == *instance)
}
