//! What data sets say beside their samples, when these are imported: `dataset.json`,
//! `labels.csv` and `client_stats.csv`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oddns_core::Timestamp;
use oddns_store::{
    CLIENT_STATS, ClientRow, Dataset, HistoryFilter, LabelledInterval, StoreError, agreed,
    read_client_stats, read_labels, write_client_stats, write_labels,
};

use crate::output;

/// Description, labels and what clients felt of what is brought together in one folder.
pub(super) struct Carried {
    descriptions: Vec<Dataset>,
    labels: Vec<LabelledInterval>,
    /// By second; of several sources that know a second the first one counts.
    clients: BTreeMap<i64, ClientRow>,
}

impl Carried {
    /// Of the sources, as far as they pass the `filter`, and of the folder `out` itself when
    /// something is there already. What is no folder of a data set says nothing.
    pub(super) fn of(
        sources: &[&Path],
        out: Option<&Path>,
        filter: &HistoryFilter,
    ) -> Result<Self, StoreError> {
        let mut carried =
            Self { descriptions: Vec::new(), labels: Vec::new(), clients: BTreeMap::new() };
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
        let path = source.join(CLIENT_STATS);
        if path.is_file() {
            self.take_clients(&path, filter);
        }
        Ok(())
    }

    /// Others may note in another form what clients felt; that is told, and left behind.
    fn take_clients(&mut self, path: &Path, filter: &HistoryFilter) {
        let rows = read_client_stats(path).unwrap_or_else(|error| {
            output::warning(format!("{error}; what clients felt is not taken along"));
            Vec::new()
        });
        // Clients ask all servers: no server is theirs.
        for row in rows.into_iter().filter(|row| is_second_within(row.second, filter)) {
            self.clients.entry(row.second).or_insert(row);
        }
    }

    /// Adds to the folder `out`, whose samples are all there, what the sources agree on, and the
    /// labels and client seconds of them all.
    pub(super) fn write(self, out: &Path) -> Result<(), StoreError> {
        let own = Dataset::read(out)?.unwrap_or_default();
        let known = agreed(&self.descriptions);
        let Dataset { start, end, instances, .. } = own;
        let mut about = Dataset { start, end, instances, ..known };
        // A recording that goes on writes its end itself; the copy has none to come.
        about.end("killed, or copied while it went on,");
        about.write(out)?;
        if !self.clients.is_empty() {
            let rows: Vec<ClientRow> = self.clients.into_values().collect();
            write_client_stats(&out.join(CLIENT_STATS), &rows)?;
        }
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

fn is_second_within(second: i64, filter: &HistoryFilter) -> bool {
    let at = Timestamp::from_millis(second.saturating_mul(1000));
    let end = Timestamp::from_millis(second.saturating_add(1).saturating_mul(1000));
    filter.since.is_none_or(|since| end > since) && filter.until.is_none_or(|until| at < until)
}
