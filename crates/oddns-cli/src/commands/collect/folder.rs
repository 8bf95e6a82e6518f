//! The folder that is recorded into: a new one, or one whose recording goes on.

use std::path::Path;
use std::time::Duration;

use oddns_collect::format_duration;
use oddns_store::{Dataset, HistoryStore, Recovery, StoreError, StoreSettings, damaged_parts};

use super::{chain, progress_note};
use crate::exit::BadUse;
use crate::output;

/// A folder that may be recorded into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Folder {
    /// It is not there yet, or empty.
    New,
    /// It holds a recording, which goes on.
    Begun,
}

impl Folder {
    /// Looks what `out` is to a recording with a scrape `every` so often. Damaged files in it are
    /// told, for they stay as they are while recording goes on.
    ///
    /// Refuses what is no recording, what `oddns simulate` made or was fetched from a Prometheus, and a
    /// recording of another interval.
    pub(super) fn look(out: &Path, every: Duration) -> anyhow::Result<Self> {
        let dataset = Dataset::read(out)?;
        if dataset.is_none() && !HistoryStore::has_log(out) {
            return Ok(Self::New);
        }
        let dataset = dataset.unwrap_or_default();
        if dataset.seed.is_some() {
            let reason = format!(
                "`{}` holds metrics that `oddns simulate` made, or `oddns lab`: record into another folder",
                out.display()
            );
            return Err(BadUse(reason).into());
        }
        if progress_note::is_of(out) {
            let reason = format!(
                "`{}` was fetched from a Prometheus: record into another folder",
                out.display()
            );
            return Err(BadUse(reason).into());
        }
        check_interval(out, &dataset, every)?;
        tell_damaged(out)?;
        Ok(Self::Begun)
    }

    /// The store of `out`, newly described by `dataset` or as it is.
    pub(super) fn open(
        self,
        out: &Path,
        dataset: &Dataset,
        settings: StoreSettings,
    ) -> Result<HistoryStore, StoreError> {
        if self == Self::New {
            return HistoryStore::create(out, dataset, settings);
        }
        let was_interrupted = HistoryStore::has_log(out);
        let store = HistoryStore::open(out, settings)?;
        describe(out, dataset)?;
        match was_interrupted {
            true => tell_recovery(out, store.recovery()),
            false => note(format!("going on with the recording `{}`", out.display())),
        }
        Ok(store)
    }
}

/// One model needs one interval.
fn check_interval(out: &Path, dataset: &Dataset, every: Duration) -> Result<(), BadUse> {
    let known = dataset.scrape_interval_seconds;
    let known = known.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match known {
        Some(known) if known.abs_diff(every) > Duration::from_millis(1) => Err(BadUse(format!(
            "`{}` was recorded every {}, not every {}: go on at that interval, or record into \
             another folder",
            out.display(),
            format_duration(known),
            format_duration(every)
        ))),
        _ => Ok(()),
    }
}

pub(crate) fn tell_damaged(out: &Path) -> Result<(), StoreError> {
    for error in damaged_parts(out)? {
        output::warning(format!("{}; it is left as it is", chain(&error)));
    }
    Ok(())
}

/// Says of a history that another program began, such as `oddns watch`, what it does not say yet.
fn describe(out: &Path, dataset: &Dataset) -> Result<(), StoreError> {
    let known = Dataset::read(out)?.unwrap_or_default();
    if known.scrape_interval_seconds.is_some() {
        return Ok(());
    }
    let scrape_interval_seconds = dataset.scrape_interval_seconds;
    let start = known.start.or(dataset.start);
    Dataset { scrape_interval_seconds, start, ..known }.write(out)
}

fn tell_recovery(out: &Path, recovery: &Recovery) {
    let lost = if recovery.was_closed {
        ""
    } else {
        ", at most the last second before the end is missing"
    };
    output::warning(format!(
        "going on with the interrupted recording `{}`: {} samples found in its log{lost}",
        out.display(),
        recovery.samples
    ));
    for damage in recovery.damage.iter().filter(|damage| !damage.is_torn_end) {
        output::warning(damage.to_string());
    }
    if recovery.unknown_samples > 0 {
        let n = recovery.unknown_samples;
        output::warning(format!(
            "{n} more samples are lost: damage has taken the names of their series"
        ));
    }
}

#[expect(clippy::print_stderr, reason = "told before recording begins")]
fn note(text: String) {
    eprintln!("{text}");
}
