//! `oddns dataset`.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use anyhow::Context;
use oddns_collect::{ReplayOptions, replay_file};
use oddns_core::Frame;
use oddns_store::{
    Anonymiser, AtomicFile, DataKind, HistoryFilter, HistoryStore, InstanceDescription,
    LabelledInterval, StoreError, StoreSettings, read_labels, sniff, validate, write_atomically,
    write_frame, write_openmetrics,
};
use serde_json::{Value, json};

use crate::args::{
    Anonymise, DatasetCommand, DatasetExport, DatasetImport, Describe, ExportFormat, Output,
    OutputArgs, Selection, Validate,
};
use crate::exit::BadInput;
use crate::{data, output};

/// Bytes of a salt: nobody tries them all.
const SALT_BYTES: usize = 32;
/// Gaps and restarts of a server shown to people.
const MAX_SHOWN: usize = 5;

pub(crate) fn run(command: &DatasetCommand) -> anyhow::Result<()> {
    match command {
        DatasetCommand::Import(args) => import(args),
        DatasetCommand::Export(args) => export(args),
        DatasetCommand::Validate(args) => check(args),
        DatasetCommand::Describe(args) => describe(args),
        DatasetCommand::Anonymise(args) => anonymise(args),
    }
}

fn filter(selection: &Selection) -> HistoryFilter {
    let Selection { since, until, instance } = selection.clone();
    HistoryFilter { since, until, instance }
}

fn tell(args: &OutputArgs, text: String, value: &Value) {
    match args.output {
        Output::Text => output::line(text),
        Output::Json => output::json(value),
    }
}

fn import(args: &DatasetImport) -> anyhow::Result<()> {
    let kinds = args.paths.iter().map(|path| Ok((path, importable(path)?)));
    let kinds: Vec<_> = kinds.collect::<anyhow::Result<_>>()?;
    let settings = StoreSettings { max_ahead: None, ..StoreSettings::default() };
    let store = HistoryStore::open(&args.out, settings)?;
    let mut n_samples = 0;
    for (path, is_history) in kinds {
        n_samples += import_path(&store, path, is_history, &filter(&args.selection))?;
    }
    store.finish()?;
    if n_samples == 0 {
        let reason = "nothing was imported: check `--since`, `--until` and `--instance`";
        return Err(BadInput(reason.to_owned()).into());
    }
    let text = format!("imported {n_samples} samples into `{}`", args.out.display());
    let out = args.out.display().to_string();
    tell(&args.output, text, &json!({ "samples": n_samples, "out": out }));
    Ok(())
}

/// Whether `path` is a history; otherwise it is text with samples. A table is an error.
fn importable(path: &Path) -> anyhow::Result<bool> {
    match sniff(path)? {
        DataKind::HistoryFolder | DataKind::HistoryParquet => Ok(true),
        DataKind::Exposition | DataKind::PrometheusJson => Ok(false),
        DataKind::FrameCsv | DataKind::FrameParquet => {
            let path = path.display();
            let reason = format!(
                "`{path}` is a table of features, which is no metric history: give it to `oddns \
                 train` and `oddns score` as it is"
            );
            Err(BadInput(reason).into())
        }
    }
}

fn import_path(
    store: &HistoryStore,
    path: &Path,
    is_history: bool,
    filter: &HistoryFilter,
) -> anyhow::Result<u64> {
    if is_history {
        return Ok(store.import_history(path, filter)?);
    }
    let recordings = replay_file(path, &ReplayOptions::default())?;
    let imported = recordings.iter().map(|recording| store.import_recording(recording, filter));
    Ok(imported.sum::<Result<u64, StoreError>>()?)
}

fn export(args: &DatasetExport) -> anyhow::Result<()> {
    let (n, what) = match args.format {
        ExportFormat::Openmetrics => (export_openmetrics(args)?, "samples"),
        ExportFormat::TsbAd => (export_frames(args)?, "rows"),
    };
    let text = format!("exported {n} {what} to `{}`", args.out.display());
    let value = json!({ what: n, "out": args.out.display().to_string() });
    tell(&args.output, text, &value);
    Ok(())
}

fn export_openmetrics(args: &DatasetExport) -> anyhow::Result<u64> {
    if !importable(&args.data)? {
        let reason = format!(
            "`{}` is no data set: make one of it with `oddns dataset import`",
            args.data.display()
        );
        return Err(BadInput(reason).into());
    }
    let mut file = BufWriter::new(AtomicFile::create(&args.out)?);
    let n_samples = write_openmetrics(&args.data, &filter(&args.selection), &mut file)?;
    let unwritable = || format!("cannot write `{}`", args.out.display());
    file.flush().with_context(unwritable)?;
    file.into_inner().map_err(|error| error.into_error()).with_context(unwritable)?.commit()?;
    Ok(n_samples)
}

/// One CSV a server, with a label for each row.
fn export_frames(args: &DatasetExport) -> anyhow::Result<u64> {
    let labels = args.data.join("labels.csv");
    let labels = if labels.is_file() { read_labels(&labels)? } else { Vec::new() };
    let instances = data::read(&args.data, &args.selection)?;
    if fs::read_dir(&args.out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(StoreError::Exists { path: args.out.clone() }.into());
    }
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot write `{}`", args.out.display()))?;
    let mut n_rows = 0;
    for instance in &instances {
        let flags = flags(&instance.name, &instance.frame, &labels);
        let path = args.out.join(format!("{}.csv", file_name(&instance.name)));
        write_frame(&path, &instance.frame, Some(&flags))?;
        n_rows += instance.frame.len() as u64;
    }
    Ok(n_rows)
}

/// Whether each row lies in an interval that is labelled as anomalous.
fn flags(instance: &str, frame: &Frame, labels: &[LabelledInterval]) -> Vec<bool> {
    let about = |label: &&LabelledInterval| {
        label.anomalous && label.instance.as_deref().is_none_or(|named| named == instance)
    };
    let labels: Vec<&LabelledInterval> = labels.iter().filter(about).collect();
    let times = frame.timestamps().iter();
    let is_within = |label: &&LabelledInterval, time| label.start <= time && time <= label.end;
    times.map(|time| labels.iter().any(|label| is_within(label, *time))).collect()
}

/// A name of a server as the name of a file.
fn file_name(instance: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = instance.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if name.trim_matches('.').is_empty() { "frame".to_owned() } else { name }
}

fn check(args: &Validate) -> anyhow::Result<()> {
    let found = validate(&args.data)?;
    let mistakes: Vec<String> = found.mistakes.iter().map(mistake_text).collect();
    if args.output.output == Output::Json {
        let mistakes = found.mistakes.iter().zip(&mistakes).map(|(mistake, text)| {
            let place = mistake.place.map(|place| place.to_string());
            json!({ "path": mistake.path.display().to_string(), "place": place, "message": text })
        });
        output::json(&json!({
            "files": found.files, "rows": found.rows, "mistakes": mistakes.collect::<Vec<_>>(),
        }));
    } else {
        mistakes.iter().for_each(output::line);
    }
    if !mistakes.is_empty() {
        let n = mistakes.len();
        let reason = format!("`{}` has {n} mistake{}", args.data.display(), plural(n));
        return Err(BadInput(reason).into());
    }
    if args.output.output == Output::Text {
        let path = args.data.display();
        output::line(format!("`{path}` is sound: {} rows in {} files", found.rows, found.files));
    }
    Ok(())
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

fn mistake_text(mistake: &oddns_store::Mistake) -> String {
    let place = mistake.place.map(|place| format!(", {place}")).unwrap_or_default();
    format!("`{}`{place}: {}", mistake.path.display(), mistake.reason)
}

fn describe(args: &Describe) -> anyhow::Result<()> {
    let found = oddns_store::describe(&args.data, &filter(&args.selection))?;
    if args.output.output == Output::Json {
        let instances: Vec<Value> = found.instances.iter().map(instance_json).collect();
        output::json(&json!({
            "samples": found.samples, "bytes": found.bytes, "instances": instances,
        }));
        return Ok(());
    }
    let n = found.instances.len();
    output::line(format!(
        "{} samples of {n} server{} in {} bytes",
        found.samples,
        plural(n),
        found.bytes
    ));
    found.instances.iter().for_each(print_instance);
    Ok(())
}

fn instance_json(found: &InstanceDescription) -> Value {
    let gaps = found.gaps.iter().map(|(from, to)| json!([from.to_string(), to.to_string()]));
    json!({
        "instance": found.instance,
        "series": found.series,
        "samples": found.samples,
        "first": found.first.to_string(),
        "last": found.last.to_string(),
        "scrapes": found.scrapes,
        "interval_seconds": found.interval_seconds.is_finite().then_some(found.interval_seconds),
        "gaps": gaps.collect::<Vec<_>>(),
        "resets": found.resets.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "versions": found.versions,
    })
}

fn print_instance(found: &InstanceDescription) {
    let versions = match &found.versions[..] {
        [] => "no CoreDNS version".to_owned(),
        versions => format!("CoreDNS {}", versions.join(", ")),
    };
    output::line(format!("\n{}: {versions}", found.instance));
    output::line(format!("  {} to {}", found.first, found.last));
    let interval = if found.interval_seconds.is_finite() {
        format!(" every {} s", found.interval_seconds)
    } else {
        String::new()
    };
    output::line(format!("  {} series, {} scrapes{interval}", found.series, found.scrapes));
    let gaps = found.gaps.iter().map(|(from, to)| format!("{} to {}", from.clock(), to.clock()));
    print_some("gap", gaps.collect());
    print_some("counter reset", found.resets.iter().map(|time| time.clock()).collect());
}

fn print_some(what: &str, found: Vec<String>) {
    let n = found.len();
    if n == 0 {
        return output::line(format!("  no {what}s"));
    }
    let shown = found[..n.min(MAX_SHOWN)].join(", ");
    let more = if n > MAX_SHOWN { ", …" } else { "" };
    output::line(format!("  {n} {what}{}: {shown}{more}", plural(n)));
}

fn anonymise(args: &Anonymise) -> anyhow::Result<()> {
    if !importable(&args.data)? {
        let reason = format!(
            "`{}` is no data set: make one of it with `oddns dataset import`",
            args.data.display()
        );
        return Err(BadInput(reason).into());
    }
    let names = Anonymiser::new(&salt(&args.salt_file)?);
    let n_samples = oddns_store::anonymise(&args.data, &args.out, &names)?;
    let text = format!(
        "{n_samples} samples with new names in `{}`; keep `{}` to yourself",
        args.out.display(),
        args.salt_file.display()
    );
    let value = json!({ "samples": n_samples, "out": args.out.display().to_string() });
    tell(&args.output, text, &value);
    Ok(())
}

/// The salt in `path`; a new one when it is not there.
fn salt(path: &Path) -> anyhow::Result<Vec<u8>> {
    match fs::read(path) {
        Ok(salt) if salt.len() >= SALT_BYTES / 2 => Ok(salt),
        Ok(_) => {
            let path = path.display();
            let reason = format!("`{path}` is too short to be a salt: remove it, or name another");
            Err(BadInput(reason).into())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut salt = vec![0; SALT_BYTES];
            let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut salt));
            random.context("cannot read random bytes from `/dev/urandom`")?;
            write_atomically(path, &salt)?;
            Ok(salt)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_servers_become_names_of_files() {
        assert_eq!(file_name("10.0.0.1:9153"), "10.0.0.1_9153");
        assert_eq!(file_name("../x"), ".._x");
        assert_eq!((file_name(""), file_name("..")), ("frame".into(), "frame".into()));
    }

    #[test]
    fn a_salt_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("salt");
        let made = salt(&path).unwrap();
        assert_eq!((made.len(), salt(&path).unwrap()), (SALT_BYTES, made));
        fs::write(&path, "x").unwrap();
        assert!(salt(&path).unwrap_err().to_string().contains("too short"));
    }
}
