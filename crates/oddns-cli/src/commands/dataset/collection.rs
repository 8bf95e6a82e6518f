//! `oddns dataset make`: the data set `oddns-metrics`, of real and simulated fleets.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use futures_util::future::join_all;
use oddns_collect::wall_clock;
use oddns_core::Timestamp;
use oddns_lab::{HELD_OUT, LabConfig, Part, phases, real, simulated};
use oddns_sim::{Simulation, Span};
use oddns_store::{Dataset, StoreError, write_atomically};
use serde_json::{Value, json};

use super::splits::{self, Spans};
use super::{checksums, looked_through, mistake_text, plural};
use crate::args::{CoreDnsBinaries, DatasetMake, Half, Output, Validate};
use crate::commands::lab::{Binaries, Play, runtime};
use crate::commands::simulate;
use crate::exit::{BadInput, BadUse};
use crate::output;

/// What says of a folder that it is the whole data set.
const ABOUT: &str = "collection.json";
/// Where recordings go that ended too early: they are kept, and are no part of the data set.
const UNFINISHED: &str = "unfinished";
/// Where the twins of real fleets go.
const TWINS: &str = "twins";
/// Says in the description of a part that it is all there.
const FINISHED: &str = "finished";
/// Says of the whole that it is not finished, and which flags finish it.
const FLAGS: &str = "unfinished";
const DATASHEET: &str = include_str!("datasheet.md");
const LEAST_REAL_SECONDS: f64 = 240.0;

pub(super) fn make(args: &DatasetMake) -> anyhow::Result<()> {
    if args.real_length.as_seconds() < LEAST_REAL_SECONDS {
        return Err(BadUse("`--real.for` must be at least 4m".to_owned()).into());
    }
    refuse_foreign(&args.out)?;
    refuse_other(args)?;
    if args.only == Some(Half::Twins) {
        return make_twins(args);
    }
    let (real, simulated) = parts(args, args.only)?;
    let real: Vec<Part> = real.into_iter().filter(|part| !is_finished(args, part)).collect();
    // Before hours are spent: what cannot be played is told first.
    let plays = real.iter().map(|part| play_of(args, part)).collect::<anyhow::Result<Vec<_>>>()?;
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make `{}`", args.out.display()))?;
    begin(args)?;
    for part in simulated.iter().filter(|part| !is_finished(args, part)) {
        simulate_part(args, part)?;
    }
    for part in &real {
        put_away(args, part)?;
    }
    play_all(args, &real, plays)?;
    finish(args)
}

/// Says in the folder what is being made there, and what goes on with it.
fn begin(args: &DatasetMake) -> anyhow::Result<()> {
    let mut about = about(args, &[]);
    let mut flags = String::new();
    match args.only {
        Some(Half::Real) => flags += "--only real ",
        Some(Half::Simulated) => flags += "--only simulated ",
        Some(Half::Twins) | None => {}
    }
    flags +=
        &format!("--hours {} --real.for {} --seed {}", args.hours, args.real_length, args.seed);
    if let Some(folder) = &args.coredns_folder {
        flags += &format!(" --coredns.folder {}", folder.display());
    }
    about[FLAGS] = json!(flags);
    Ok(write_atomically(&args.out.join(ABOUT), format!("{about:#}\n").as_bytes())?)
}

/// What the folder says of itself.
fn about(args: &DatasetMake, parts: &[&Part]) -> Value {
    json!({
        "name": "oddns-metrics",
        "version": 1,
        "seed": args.seed,
        "licence": "CC-BY-4.0",
        "held_out": HELD_OUT,
        "parts": parts.iter().map(|part| &part.name).collect::<Vec<_>>(),
    })
}

/// Refuses a folder with what is no part of the data set: files of it would be written over.
fn refuse_foreign(out: &Path) -> Result<(), StoreError> {
    let ours = [ABOUT, "real", "simulated", TWINS, UNFINISHED];
    let is_ours = ours.iter().any(|name| out.join(name).exists());
    let mut entries = fs::read_dir(out).into_iter().flatten();
    if is_ours || entries.next().is_none() {
        return Ok(());
    }
    Err(StoreError::Exists { path: out.to_owned() })
}

/// Refuses a folder with finished parts that are others than those asked for: they would be replaced,
/// or no longer belong to the whole.
fn refuse_other(args: &DatasetMake) -> anyhow::Result<()> {
    let (real, simulated) = parts(args, None)?;
    for part in real.iter().chain(&simulated) {
        let about = Dataset::read(&folder(args, part)).ok().flatten().unwrap_or_default();
        let (wanted, length) =
            (finished(part), if is_real(part) { "--real.for" } else { "--hours" });
        let Some(found) = about.other.get(FINISHED).filter(|found| **found != wanted) else {
            continue;
        };
        let words = |of: &Value| {
            let length = Span::seconds(of["seconds"].as_f64().unwrap_or_default());
            format!("{length} of seed {}", of["seed"])
        };
        return Err(BadUse(format!(
            "`{}` is finished with {}, and {} are asked for: name another folder, or what it was made \
             with by `{length}` and `--seed`",
            folder(args, part).display(),
            words(found),
            words(&wanted),
        ))
        .into());
    }
    Ok(())
}

fn is_real(part: &Part) -> bool {
    part.name.starts_with("real/")
}

/// What the simulator makes of the scenarios that are played with real servers.
fn make_twins(args: &DatasetMake) -> anyhow::Result<()> {
    let mut n_twins = 0;
    for part in real(args.seed, args.real_length)? {
        if part.scenario.corefile.is_simulated() {
            let name = part.name.replacen("real", TWINS, 1);
            simulate_part(args, &Part { name, ..part })?;
            n_twins += 1;
        }
    }
    let out = args.out.join(TWINS).display().to_string();
    match args.output.output {
        Output::Text => output::line(format!("`{out}` has {n_twins} fleets")),
        Output::Json => output::json(&json!({ "out": out, "parts": n_twins })),
    }
    Ok(())
}

/// The parts, real and simulated ones, all or `only` those of one half.
fn parts(args: &DatasetMake, only: Option<Half>) -> anyhow::Result<(Vec<Part>, Vec<Part>)> {
    let wanted = |half: Half| only.is_none_or(|only| only == half);
    let all = |wanted: bool, parts: Vec<Part>| if wanted { parts } else { Vec::new() };
    let length = Span::seconds(3600.0 * f64::from(args.hours));
    Ok((
        all(wanted(Half::Real), real(args.seed, args.real_length)?),
        all(wanted(Half::Simulated), simulated(args.seed, length)?),
    ))
}

fn folder(args: &DatasetMake, part: &Part) -> PathBuf {
    args.out.join(&part.name)
}

/// Whether a part is there as it is asked for.
fn is_finished(args: &DatasetMake, part: &Part) -> bool {
    let about = Dataset::read(&folder(args, part)).ok().flatten().unwrap_or_default();
    about.other.get(FINISHED) == Some(&finished(part))
}

/// What a part that is finished says of itself.
fn finished(part: &Part) -> Value {
    json!({ "seed": part.scenario.seed, "seconds": part.scenario.length.as_seconds() })
}

/// What was begun and not finished is no part; a recording is kept all the same.
fn put_away(args: &DatasetMake, part: &Part) -> anyhow::Result<()> {
    let from = folder(args, part);
    if !from.exists() {
        return Ok(());
    }
    let since = wall_clock().millis() / 1000;
    let to = args.out.join(UNFINISHED).join(format!("{}-{since}", part.name.replace('/', "-")));
    let unmovable = || format!("cannot move `{}` to `{}`", from.display(), to.display());
    fs::create_dir_all(args.out.join(UNFINISHED)).with_context(unmovable)?;
    fs::rename(&from, &to).with_context(unmovable)?;
    output::warning(format!("`{}` was not finished: it is kept as `{}`", part.name, to.display()));
    Ok(())
}

fn simulate_part(args: &DatasetMake, part: &Part) -> anyhow::Result<()> {
    let out = folder(args, part);
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| format!("cannot remove `{}`", out.display()))?;
    }
    let simulation = Simulation::new(part.scenario.clone());
    simulate::write(&out, simulation)?;
    mark(args, part)
}

fn play_of(args: &DatasetMake, part: &Part) -> anyhow::Result<LabConfig> {
    let Some(folder) = args.coredns_folder.clone() else {
        let reason = "the real half needs `--coredns.folder`, with every release of CoreDNS: give \
                      it, or make `--only simulated`";
        return Err(BadUse(reason.to_owned()).into());
    };
    let binaries = CoreDnsBinaries { binary: None, folder: Some(folder), release: None };
    let Binaries { usual, other } = Binaries::find(&binaries, part.scenario.coredns)?;
    let config = LabConfig::from_scenario(usual, &part.scenario)?;
    Ok(LabConfig { other_coredns: other, ..config })
}

/// Plays all fleets side by side: one that fails does not end the others.
fn play_all(args: &DatasetMake, parts: &[Part], configs: Vec<LabConfig>) -> anyhow::Result<()> {
    if parts.is_empty() {
        return Ok(());
    }
    let runtime = runtime()?;
    let folders: Vec<PathBuf> = parts.iter().map(|part| folder(args, part)).collect();
    let mut plays = Vec::new();
    for ((part, config), out) in parts.iter().zip(configs).zip(&folders) {
        let (scenario, phases) = (&part.scenario, phases(&part.scenario, &config)?);
        plays.push(Play { out, scenario, config, phases, by: "oddns dataset make" });
    }
    let played = runtime.block_on(async { join_all(plays.into_iter().map(Play::run)).await });
    let mut failed = None;
    for (part, played) in parts.iter().zip(played) {
        match played.and_then(|_| is_whole(args, part)) {
            Ok(true) => mark(args, part)?,
            Ok(false) => {
                let reason = format!("`{}` ended too early: run the same again", part.name);
                failed.get_or_insert(anyhow::anyhow!(reason));
            }
            Err(error) => {
                failed.get_or_insert(error.context(format!("`{}` was not finished", part.name)));
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Whether a recording has the length that was planned, but for a scrape or two.
fn is_whole(args: &DatasetMake, part: &Part) -> anyhow::Result<bool> {
    let about = Dataset::read(&folder(args, part))?.unwrap_or_default();
    let (Some(start), Some(end)) = (about.start, about.end) else { return Ok(false) };
    let planned = part.scenario.length.as_seconds() - 3.0 * part.scenario.every.as_seconds();
    Ok(end.seconds_since(start) >= planned)
}

fn mark(args: &DatasetMake, part: &Part) -> anyhow::Result<()> {
    let out = folder(args, part);
    let mut about = Dataset::read(&out)?.unwrap_or_default();
    about.name = format!("oddns-metrics/{}", part.name);
    about.licence = Some("CC-BY-4.0".to_owned());
    about.other.insert("split".to_owned(), json!(part.split.to_string()));
    about.other.insert("corefile_name".to_owned(), json!(part.scenario.corefile.as_str()));
    if let Some(start) = about.start {
        let at = |millis: i64| Timestamp::from_millis(start.millis() + millis).unix_seconds();
        let [train, validation] = part.bounds();
        about.other.insert("train_until".to_owned(), json!(at(train)));
        about.other.insert("validation_until".to_owned(), json!(at(validation)));
    }
    about.other.insert(FINISHED.to_owned(), finished(part));
    Ok(about.write(&out)?)
}

/// Writes what is about the whole: the splits, the datasheet, the checksums.
fn finish(args: &DatasetMake) -> anyhow::Result<()> {
    let (real, simulated) = parts(args, None)?;
    let there: Vec<&Part> =
        real.iter().chain(&simulated).filter(|part| is_finished(args, part)).collect();
    let mut rows =
        "part,split,coredns,corefile,train_until,validation_until,end,faults\n".to_owned();
    for part in &there {
        rows += &split_row(&folder(args, part), part)?;
    }
    write_atomically(&args.out.join(splits::FILE), rows.as_bytes())?;
    write_atomically(&args.out.join("README.md"), DATASHEET.as_bytes())?;
    let about = about(args, &there);
    write_atomically(&args.out.join(ABOUT), format!("{about:#}\n").as_bytes())?;
    let n_files = checksums::write(&args.out, &[UNFINISHED, TWINS])?;
    tell(args, there.len(), n_files);
    Ok(())
}

fn split_row(folder: &Path, part: &Part) -> anyhow::Result<String> {
    let about = Dataset::read(folder)?.unwrap_or_default();
    let number = |name: &str| about.other.get(name).map_or(String::new(), Value::to_string);
    let end = about.end.map_or(String::new(), |end| end.unix_seconds().to_string());
    let (scenario, split) = (&part.scenario, part.split);
    Ok(format!(
        "{},{split},{},{},{},{},{end},{}\n",
        part.name,
        scenario.coredns,
        scenario.corefile,
        number("train_until"),
        number("validation_until"),
        scenario.faults.len()
    ))
}

fn tell(args: &DatasetMake, n_parts: usize, n_files: usize) {
    let out = args.out.display().to_string();
    if args.output.output == Output::Json {
        return output::json(&json!({ "out": out, "parts": n_parts, "files": n_files }));
    }
    output::line(format!("`{out}` has {n_parts} fleets in {n_files} files"));
}

/// Whether a folder is the whole data set, and no part of it.
pub(super) fn is_one(path: &Path) -> bool {
    path.join(ABOUT).exists() || path.join(checksums::FILE).exists()
}

/// The parts that a data set says it has.
fn part_names(root: &Path) -> anyhow::Result<Vec<String>> {
    let path = root.join(ABOUT);
    let text = fs::read(&path).map_err(|source| StoreError::Read { path: path.clone(), source })?;
    let about: Value = serde_json::from_slice(&text).unwrap_or_default();
    if let Some(flags) = about[FLAGS].as_str() {
        let (root, n) = (root.display(), n_finished(root)?);
        return Err(BadInput(format!(
            "`{root}` is a collection that `oddns dataset make` has not finished, with {n} \
             fleet{} so far: `oddns dataset make --all {root} {flags}` goes on with it",
            plural(n)
        ))
        .into());
    }
    let names = about["parts"].as_array().map(|names| names.iter().map(Value::as_str));
    let names: Option<Option<Vec<&str>>> = names.map(Iterator::collect);
    let names = names.flatten().filter(|names| !names.is_empty()).ok_or_else(|| {
        BadInput(format!("`{}` names no parts: copy the data set again", path.display()))
    })?;
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// How many parts are finished in a folder that is not.
fn n_finished(root: &Path) -> anyhow::Result<usize> {
    let mut n = 0;
    for half in ["real", "simulated"].map(|half| root.join(half)).iter().filter(|it| it.is_dir()) {
        for part in
            fs::read_dir(half).map_err(|source| StoreError::Read { path: half.clone(), source })?
        {
            let about = part.ok().and_then(|part| Dataset::read(&part.path()).ok().flatten());
            n += usize::from(about.is_some_and(|about| about.other.contains_key(FINISHED)));
        }
    }
    Ok(n)
}

/// Checks every file against its checksum, and every part against the format.
pub(super) fn check(args: &Validate) -> anyhow::Result<()> {
    let names = part_names(&args.data)?;
    let (n_right, mut mistakes) = checksums::check(&args.data, &names)?;
    let (mut n_parts, mut n_rows, mut spans) = (0, 0, Spans::new());
    for name in names {
        match looked_through(&args.data.join(&name)) {
            Ok(found) => {
                (n_parts, n_rows) = (n_parts + 1, n_rows + found.rows);
                mistakes.extend(found.mistakes.iter().map(mistake_text));
                let (first, last) = found.servers.values().copied().unzip::<_, _, Vec<_>, Vec<_>>();
                let span = first.into_iter().min().zip(last.into_iter().max());
                spans.insert(name, span);
            }
            Err(error) => {
                mistakes.push(format!("{:#}", anyhow::Error::from(error)));
                spans.insert(name, None);
            }
        }
    }
    mistakes.extend(splits::check(&args.data, &spans).iter().map(mistake_text));
    let n = mistakes.len();
    match args.output.output {
        Output::Json => output::json(&json!({
            "files": n_right, "parts": n_parts, "rows": n_rows, "mistakes": mistakes,
        })),
        Output::Text => mistakes.iter().for_each(output::line),
    }
    let path = args.data.display();
    if n > 0 {
        return Err(BadInput(format!("`{path}` has {n} mistake{}", plural(n))).into());
    }
    if args.output.output == Output::Text {
        output::line(format!("`{path}` is sound: {n_rows} rows of {n_parts} fleets"));
    }
    Ok(())
}
