//! `oddns dataset`.

mod carried;
mod checksums;
mod collection;
mod splits;

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use anyhow::Context;
use oddns_collect::{ReplayOptions, replay_file};
use oddns_core::Frame;
use oddns_store::{
    Anonymiser, AtomicFile, Clash, DataKind, Dataset, HistoryFilter, HistoryStore, Imported,
    InstanceDescription, LabelledInterval, Mistake, StoreError, StoreSettings, Validation, clashes,
    read_labels, sniff, validate, write_atomically, write_frame, write_history, write_openmetrics,
};
use serde_json::{Value, json};

use crate::args::{
    Anonymise, DatasetCommand, DatasetExport, DatasetImport, Describe, ExportFormat, Output,
    OutputArgs, Selection, Validate,
};
use crate::exit::BadInput;
use crate::{data, output};
use carried::Carried;

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
        DatasetCommand::Make(args) => collection::make(args),
    }
}

fn filter(selection: &Selection) -> anyhow::Result<HistoryFilter> {
    selection.check()?;
    let Selection { since, until, instance } = selection.clone();
    Ok(HistoryFilter { since, until, instance })
}

fn tell(args: &OutputArgs, text: String, value: &Value) {
    match args.output {
        Output::Text => output::line(text),
        Output::Json => output::json(value),
    }
}

fn import(args: &DatasetImport) -> anyhow::Result<()> {
    let kinds = args.paths.iter().map(|path| Ok((path.as_path(), importable(path)?)));
    let kinds: Vec<_> = kinds.collect::<anyhow::Result<_>>()?;
    let filter = filter(&args.selection)?;
    let settings = StoreSettings { max_ahead: None, ..StoreSettings::default() };
    let is_new = is_nothing(&args.out);
    let sources: Vec<&Path> = kinds.iter().map(|(path, _)| *path).collect();
    let there = (!is_new && matches!(sniff(&args.out), Ok(DataKind::HistoryFolder)))
        .then_some((args.out.as_path(), true));
    let compared: Vec<_> = there.into_iter().chain(kinds.iter().copied()).collect();
    refuse_strangers(&compared, &filter, args.skip_damaged)?;
    let carried = Carried::of(&sources, (!is_new).then_some(&args.out), &filter)?;
    let store = HistoryStore::open(&args.out, settings)?;
    let imported = import_all(store, args, &kinds, &filter)
        .and_then(|imported| Ok(carried.write(&args.out).map(|()| imported)?));
    let imported = undone_unless_well(&args.out, is_new, imported);
    let imported = imported.map_err(|error| {
        if is_new {
            return error;
        }
        let kept = "keeps what was imported before the failure: run the same again to go on";
        error.context(format!("`{}` {kept}", args.out.display()))
    })?;
    tell_import(args, &imported);
    Ok(())
}

/// Refuses sources (path, whether a history) that have servers of one name which are not one server:
/// their samples would become those of one.
fn refuse_strangers(
    sources: &[(&Path, bool)],
    filter: &HistoryFilter,
    skip_damaged: bool,
) -> anyhow::Result<()> {
    if sources.len() < 2 {
        return Ok(());
    }
    let texts = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut histories = Vec::new();
    for (at, (path, is_history)) in sources.iter().enumerate() {
        let mut history = path.to_path_buf();
        if !is_history {
            history = texts.path().join(at.to_string());
            // What is wrong with it is told when it is imported.
            let read = replay_file(path, &ReplayOptions::default());
            let Ok(recordings) = read else { continue };
            write_history(&history, &Dataset::default(), &recordings)?;
        }
        histories.push((path.display(), history));
    }
    for (at, (other, theirs)) in histories.iter().enumerate() {
        for (one, ours) in &histories[..at] {
            let clashes = clashes(ours, theirs, filter, skip_damaged)?;
            let Some(Clash { instance, from, until }) = clashes.first() else { continue };
            let more = match clashes.len() - 1 {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            return Err(BadInput(format!(
                "`{one}` and `{other}` both have the server `{instance}`{more}, with other samples \
                 from {from} to {until}: they are of different fleets, and would become one; import \
                 each into a folder of its own, or say by `--since`, `--until` and `--instance` what \
                 of them is one server's"
            ))
            .into());
        }
    }
    Ok(())
}

/// Removes the folder `out`, when nothing was there before, after a failure.
fn undone_unless_well<T>(out: &Path, is_new: bool, done: anyhow::Result<T>) -> anyhow::Result<T> {
    if done.is_err() && is_new {
        // A failure to remove it would hide why there is something to remove.
        let _ = fs::remove_dir_all(out);
    }
    done
}

/// Whether there is nothing at `path`, or an empty folder.
fn is_nothing(path: &Path) -> bool {
    fs::read_dir(path).map_or_else(
        |error| error.kind() == std::io::ErrorKind::NotFound,
        |mut entries| entries.next().is_none(),
    )
}

fn import_all(
    store: HistoryStore,
    args: &DatasetImport,
    kinds: &[(&Path, bool)],
    filter: &HistoryFilter,
) -> anyhow::Result<Imported> {
    let (mut all, mut known) = (Imported::default(), BTreeSet::new());
    for (path, is_history) in kinds {
        let imported = match (is_history, args.skip_damaged) {
            (false, _) => import_recordings(&store, path, filter, &mut known)?,
            (true, false) => store.import_history(path, filter)?,
            (true, true) => store.import_sound(path, filter)?,
        };
        all.samples += imported.samples;
        all.duplicates += imported.duplicates;
        all.conflicts += imported.conflicts;
        all.damage.extend(imported.damage);
    }
    if all.samples == 0 && !all.damage.is_empty() {
        let damage: Vec<String> = all.damage.iter().map(mistake_text).collect();
        let reason = format!("nothing is left without what is damaged: {}", damage.join("; "));
        return Err(BadInput(reason).into());
    }
    if all.samples == 0 {
        for (path, _) in kinds.iter().filter(|(_, is_history)| *is_history) {
            known.extend(oddns_store::instances(path).unwrap_or_default());
        }
        let known = known.iter().map(String::as_str);
        data::check_instance(kinds[0].0, filter.instance.as_deref(), known)?;
        return Err(data::nothing_within(kinds[0].0, &args.selection));
    }
    let statistics = store.finish()?;
    all.samples -= statistics.repeated.min(all.samples);
    all.duplicates += statistics.duplicates + statistics.repeated;
    all.conflicts += statistics.conflicts;
    Ok(all)
}

fn tell_import(args: &DatasetImport, imported: &Imported) {
    let damage: Vec<String> = imported.damage.iter().map(mistake_text).collect();
    let out = args.out.display().to_string();
    let Imported { samples, duplicates, conflicts, .. } = imported;
    if args.output.output == Output::Json {
        return output::json(&json!({
            "samples": samples, "duplicates": duplicates, "conflicts": conflicts,
            "damage": damage, "out": out,
        }));
    }
    for damage in damage {
        output::line(format!("left out {damage}"));
    }
    output::line(format!("imported {samples} samples into `{out}`"));
    let n_same = duplicates.saturating_sub(*conflicts);
    if n_same > 0 {
        output::line(format!("left out {n_same} that were there already"));
    }
    if *conflicts > 0 {
        output::line(format!(
            "left out {conflicts} sample{}: the series has another value at that time",
            plural(usize::try_from(*conflicts).unwrap_or(usize::MAX))
        ));
    }
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

fn import_recordings(
    store: &HistoryStore,
    path: &Path,
    filter: &HistoryFilter,
    known: &mut BTreeSet<String>,
) -> anyhow::Result<Imported> {
    let recordings = replay_file(path, &ReplayOptions::default())?;
    known.extend(recordings.iter().map(|recording| recording.instance.clone()));
    let taken = recordings.iter().map(|recording| store.import_recording(recording, filter));
    let samples = taken.sum::<Result<u64, StoreError>>()?;
    Ok(Imported { samples, ..Imported::default() })
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
    let written = write_openmetrics(&args.data, &filter(&args.selection)?, &mut file);
    let n_samples = written.map_err(|error| match error {
        // It knows what is read alone.
        StoreError::Write { source, .. } => StoreError::Write { path: args.out.clone(), source },
        error => error,
    })?;
    if n_samples == 0 {
        return Err(data::nothing_within(&args.data, &args.selection));
    }
    let unwritable = || format!("cannot write `{}`", args.out.display());
    file.flush().with_context(unwritable)?;
    file.into_inner().map_err(|error| error.into_error()).with_context(unwritable)?.commit()?;
    Ok(n_samples)
}

/// One CSV a server, with a label for each row.
fn export_frames(args: &DatasetExport) -> anyhow::Result<u64> {
    let out = args.out.display();
    if args.out.as_os_str() == "-" {
        return Err(StoreError::Dash.into());
    }
    let labels = args.data.join("labels.csv");
    let labels = if labels.is_file() { read_labels(&labels)? } else { Vec::new() };
    let instances = data::read(&args.data, &args.selection)?;
    if fs::read_dir(&args.out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(StoreError::Exists { path: args.out.clone() }.into());
    }
    fs::create_dir_all(&args.out).with_context(|| format!("cannot write `{out}`"))?;
    undone_unless_well(&args.out, true, write_frames(&args.out, &instances, &labels))
}

fn write_frames(
    out: &Path,
    instances: &[data::Instance],
    labels: &[LabelledInterval],
) -> anyhow::Result<u64> {
    let mut n_rows = 0;
    let mut taken = HashSet::new();
    for instance in instances {
        let flags = flags(&instance.name, &instance.frame, labels);
        let path = out.join(format!("{}.csv", file_name(&instance.name, &mut taken)));
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

/// A name of a server as the name of a file, another one than those that are `taken`: of several names
/// that become the same, the later ones get a number. Case alone tells no two files apart.
fn file_name(instance: &str, taken: &mut HashSet<String>) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = instance.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let name = name.trim_start_matches('.');
    let name = if name.is_empty() { "frame" } else { name };
    let numbered = (2..).map(|n| format!("{name}-{n}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    let free = names.find(|name| taken.insert(name.to_ascii_lowercase()));
    free.unwrap_or_else(|| name.to_owned())
}

fn check(args: &Validate) -> anyhow::Result<()> {
    if collection::is_one(&args.data) {
        return collection::check(args);
    }
    let found = looked_through(&args.data)?;
    tell_unfinished(&args.data, &found);
    let mistakes: Vec<String> = found.mistakes.iter().map(mistake_text).collect();
    if args.output.output == Output::Json {
        let mistakes = found.mistakes.iter().zip(&mistakes).map(|(mistake, text)| {
            let place = mistake.place.map(|place| place.to_string());
            json!({ "path": mistake.path.display().to_string(), "place": place, "message": text })
        });
        output::json(&json!({
            "files": found.files, "rows": found.rows, "unfinished": found.unfinished,
            "mistakes": mistakes.collect::<Vec<_>>(),
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
        let log = if found.segments > 0 { " and a log" } else { "" };
        let files = found.files;
        output::line(format!("`{path}` is sound: {} rows in {files} files{log}", found.rows));
    }
    Ok(())
}

/// What [`validate`] finds in a data set, and, where the program has made it, labels of kinds that are not
/// in the table of faults: others may call what happened as they like.
fn looked_through(root: &Path) -> Result<Validation, StoreError> {
    let mut found = validate(root)?;
    let about = Dataset::read(root).ok().flatten().unwrap_or_default();
    if !about.other.contains_key("scenario") {
        return Ok(found);
    }
    let path = root.join("labels.csv");
    let unknown = found.labels.iter().filter_map(|(place, label)| {
        let unknown = oddns_sim::fault(&label.kind).err()?;
        let place = Some(*place);
        Some(Mistake { path: path.clone(), place, reason: unknown.to_string() })
    });
    found.mistakes.extend(unknown.take(MAX_SHOWN).collect::<Vec<_>>());
    Ok(found)
}

/// Tells that a data set is not all that was planned, and what to do.
fn tell_unfinished(path: &Path, found: &Validation) {
    let Some(unfinished) = &found.unfinished else { return };
    let path = path.display();
    let repair = match found.segments {
        0 => String::new(),
        _ => format!(
            "; once it has ended, `oddns dataset import {path} --out NEW` makes it whole files"
        ),
    };
    output::warning(format!("`{path}` {unfinished}{repair}"));
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

pub(super) fn mistake_text(mistake: &Mistake) -> String {
    let place = mistake.place.map(|place| format!(", {place}")).unwrap_or_default();
    format!("`{}`{place}: {}", mistake.path.display(), mistake.reason)
}

fn describe(args: &Describe) -> anyhow::Result<()> {
    let found = oddns_store::describe(&args.data, &filter(&args.selection)?)?;
    if found.instances.is_empty() {
        return Err(data::nothing_within(&args.data, &args.selection));
    }
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
    let is_new = is_nothing(&args.out);
    let copied = oddns_store::anonymise(&args.data, &args.out, &names);
    // What another process is writing is not ours to remove.
    let is_ours = is_new && !matches!(copied, Err(StoreError::Locked { .. }));
    let n_samples = undone_unless_well(&args.out, is_ours, copied.map_err(Into::into))?;
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
        let mut taken = HashSet::new();
        let mut named = |instance: &str| file_name(instance, &mut taken);
        assert_eq!(named("10.0.0.1:9153"), "10.0.0.1_9153");
        assert_eq!(named("../x"), "_x");
        assert_eq!([named(""), named(".."), named("frame")], ["frame", "frame-2", "frame-3"]);
        assert_eq!([named("a/b"), named("a:b"), named("A_b")], ["a_b", "a_b-2", "A_b-3"]);
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
