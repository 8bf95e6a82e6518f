//! Data of any kind, as commands ask for it.

use std::path::Path;

use anyhow::Context;
use oddns::Detector;
use oddns_data::DataError;
pub(crate) use oddns_data::{Instance, of_one_fleet};

use crate::args::Selection;
use crate::exit::BadInput;
use crate::output;

/// Reads `path`, whatever kind of data it is. At least one instance comes back with rows. What is no
/// CoreDNS is left out, and told, where there is a CoreDNS.
pub(crate) fn read(path: &Path, selection: &Selection) -> anyhow::Result<Vec<Instance>> {
    read_by(oddns_data::read, path, selection)
}

/// Reads what to learn of `path`: what was asked for, or the part that the data set itself calls
/// normal; of very much of it stretches over the whole time.
pub(crate) fn read_to_learn(path: &Path, asked: &Selection) -> anyhow::Result<Vec<Instance>> {
    let instances = read_by(oddns_data::read_to_learn, path, &normal_part(path, asked)?)?;
    let left_out: usize = instances.iter().map(|instance| instance.n_left_out).sum();
    if left_out > 0 {
        let learned: usize = instances.iter().map(|instance| instance.frame.len()).sum();
        output::warning(format!(
            "`{}` has {} rows, more than are needed: {learned} of them are learned, stretches \
             spread evenly over the whole time",
            path.display(),
            learned + left_out,
        ));
    }
    Ok(instances)
}

fn read_by(
    read: impl Fn(&Path, &oddns_data::Selection) -> Result<oddns_data::Data, DataError>,
    path: &Path,
    selection: &Selection,
) -> anyhow::Result<Vec<Instance>> {
    selection.check()?;
    let data = read(path, &selection.of_data()).map_err(told)?;
    if selection.instance.is_none() {
        data.silent.iter().for_each(|instance| leave_out(instance));
    }
    Ok(data.instances)
}

/// What to learn of `path`: what was asked for, or the part that the data set itself calls normal.
pub(crate) fn normal_part(path: &Path, asked: &Selection) -> anyhow::Result<Selection> {
    let oddns_data::Selection { since, until, instance } =
        asked.of_data().normal_part_of(path).map_err(told)?;
    Ok(Selection { since, until, instance })
}

/// By the names of the options where it is about these.
fn told(error: DataError) -> anyhow::Error {
    match error {
        DataError::Store(error) => error.into(),
        DataError::Replay(error) => error.into(),
        DataError::NoInstances { path, instance } => BadInput(format!(
            "`{}` is a table without instances: leave out `--instance {instance}`",
            path.display()
        ))
        .into(),
        DataError::NothingLeft { path } => BadInput(format!(
            "`{}` has nothing within `--since`, `--until` and `--instance`: check them against the \
             data",
            path.display()
        ))
        .into(),
        error => BadInput(error.to_string()).into(),
    }
}

/// Refuses an instance that the data do not have.
pub(crate) fn check_instance<'a>(
    path: &Path,
    wanted: Option<&str>,
    known: impl Iterator<Item = &'a str>,
) -> anyhow::Result<()> {
    oddns_data::check_instance(path, wanted, known).map_err(told)
}

/// Says why nothing of a data set or other metrics passes the selection.
pub(crate) fn nothing_within(path: &Path, selection: &Selection) -> anyhow::Error {
    told(oddns_data::nothing_within(path, &selection.of_data()))
}

#[expect(clippy::print_stderr, reason = "a note beside the result")]
fn leave_out(instance: &str) {
    eprintln!(
        "note: instance `{instance}` is left out: it has no metric that begins with `coredns_`"
    );
}

/// Refuses data of another schema, and data too short for a single score.
pub(crate) fn check_against(
    path: &Path,
    instances: &[Instance],
    detector: &Detector,
) -> anyhow::Result<()> {
    for instance in instances {
        let schema = oddns_core::Schema::new(instance.frame.columns().to_vec());
        detector.check_schema(&schema).with_context(|| format!("`{}`", path.display()))?;
    }
    let longest = instances.iter().map(|instance| instance.frame.len()).max().unwrap_or(0);
    let needed = detector.warm_up_rows() + 1;
    if longest < needed {
        return Err(BadInput(format!(
            "`{}` has {longest} rows, a first score needs {needed}: record longer",
            path.display()
        ))
        .into());
    }
    Ok(())
}
