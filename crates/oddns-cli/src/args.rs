//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use oddns::DetectorKind;
use oddns_collect::{PrometheusUrl, Target, parse_duration};
use oddns_core::Timestamp;
use oddns_serve::DEFAULT_LISTEN_ADDRESS;
use oddns_sim::{Corefile, Release, Span};

use crate::exit::BadUse;

/// Learns what normal looks like for CoreDNS servers from their metrics, and says what is odd, why,
/// and what to do next.
#[derive(Debug, Parser)]
#[command(name = "oddns", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the main job on a bundled recording of real CoreDNS servers.
    Demo(Demo),
    /// Watch running CoreDNS servers: score every scrape and tell incidents.
    Watch(Watch),
    /// Record the metrics of running servers as a data set.
    Collect(Collect),
    /// Learn what is normal from data and save it as one Keras file.
    Train(Train),
    /// Go on learning from newer data and from what people said of alarms, and try the result
    /// against the model as it was.
    Update(Update),
    /// The generations of a model: list, compare, promote, go back.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Score recorded data with a model and list the incidents.
    Score(Score),
    /// Say what a model makes of one instant, feature by feature.
    Explain(Explain),
    /// Compare scores with labels.
    Eval(Eval),
    /// Read a network that Keras or another program made, and write it as one that oddns trains.
    Import(Import),
    /// Write a model for other programs: ONNX, safetensors.
    Export(Export),
    /// Make the metrics of CoreDNS servers that do not exist, with faults and labels.
    Simulate(Simulate),
    /// Break real CoreDNS servers on this machine, and record them.
    #[command(subcommand)]
    Lab(LabCommand),
    /// Check a configuration file without starting anything.
    CheckConfig(CheckConfig),
    /// Bring data into the form of a data set, look into it, share it.
    #[command(subcommand)]
    Dataset(DatasetCommand),
    /// Ask a running `oddns watch` whether it is well; for probes where there is no curl.
    CheckHealth(CheckHealth),
    /// Print what makes a shell complete the words of oddns.
    Completions(Completions),
    /// Write a manual page for each command.
    Man(Man),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DatasetCommand {
    /// Make a data set of data of any form: another data set, saved scrapes, dumps of a Prometheus.
    Import(DatasetImport),
    /// Write a data set in a form that other programs take.
    Export(DatasetExport),
    /// Look whether a data set is as the format says; ends with 3 and the places when it is not.
    Validate(Validate),
    /// Say what is in a data set: servers, series, gaps, restarts, versions.
    Describe(Describe),
    /// Copy a data set with new names for servers, zones, upstreams, pods and addresses.
    Anonymise(Anonymise),
    /// Make the data set `oddns-metrics`: real servers with every fault, and simulated months.
    Make(DatasetMake),
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For machines.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// How results are printed on standard output.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

/// Which part of the data to take.
#[derive(Debug, Clone, Args)]
pub(crate) struct Selection {
    /// Leave out what is before this time (RFC 3339 or Unix seconds).
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Timestamp>,
    /// Leave out this time and what is after it.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Timestamp>,
    /// Take only this instance.
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,
}

impl Selection {
    /// As the reader of data takes it.
    pub(crate) fn of_data(&self) -> oddns_data::Selection {
        let Self { since, until, instance } = self.clone();
        oddns_data::Selection { since, until, instance }
    }

    /// Refuses times between which nothing can be.
    pub(crate) fn check(&self) -> Result<(), BadUse> {
        match (self.since, self.until) {
            (Some(since), Some(until)) if since >= until => {
                Err(BadUse(format!("`--since {since}` is not before `--until {until}`")))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oddns dataset import scrapes.prom.gz --out recording\n  oddns dataset import damaged --out rest --skip-damaged"
)]
pub(crate) struct DatasetImport {
    /// Data sets, Parquet files of one, saved scrapes, `promtool tsdb dump-openmetrics` output, or
    /// answers of `query_range`.
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Folder of the data set; what is there already is kept.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Leave out what is damaged in data sets, and say what it was, instead of failing.
    #[arg(long)]
    pub(crate) skip_damaged: bool,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// A form that other programs take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Text with timestamps, as `promtool tsdb create-blocks-from openmetrics` takes it.
    Openmetrics,
    /// A CSV of features for each server, with the labels in the last column, as TSB-AD has it.
    TsbAd,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oddns dataset export recording --format openmetrics --out recording.om\n  oddns dataset export recording --format tsb-ad --out frames"
)]
pub(crate) struct DatasetExport {
    /// The data set.
    #[arg(value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// Which form.
    #[arg(long, value_enum)]
    pub(crate) format: ExportFormat,
    /// File (`openmetrics`) or new folder (`tsb-ad`).
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oddns dataset validate recording")]
pub(crate) struct Validate {
    /// Folder of the data set.
    #[arg(value_name = "DIR")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oddns dataset make --all oddns-metrics --coredns.folder ~/.cache/oddns\n  oddns dataset make --all oddns-metrics --only simulated --hours 48\n  oddns dataset make --all oddns-metrics --only twins"
)]
pub(crate) struct DatasetMake {
    /// Folder of the whole data set. What is finished in it stays; the rest is made.
    #[arg(long = "all", value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Only this half of it, or what goes with it.
    #[arg(long, value_enum, value_name = "HALF")]
    pub(crate) only: Option<Half>,
    /// Hours of each simulated fleet, 1 to 8784; faults begin after a quarter of them.
    #[arg(long, value_name = "N", default_value_t = 720, value_parser = clap::value_parser!(u32).range(1..=8784))]
    pub(crate) hours: u32,
    /// How long the real fleets are played, side by side; at least 4m.
    #[arg(long = "real.for", value_name = "DURATION", default_value = "40m")]
    pub(crate) real_length: Span,
    /// Seed of schedules, clients and chance; the same one simulates the same bytes.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seed, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    /// Folder with `coredns-1.15.0/coredns` and the like, of every release, for the real half.
    #[arg(long = "coredns.folder", value_name = "DIR")]
    pub(crate) coredns_folder: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// A half of the data set `oddns-metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Half {
    /// Servers that ran.
    Real,
    /// Servers that did not.
    Simulated,
    /// The real fleets as the simulator has them, in `twins`, to hold it against them; no part of
    /// the data set.
    Twins,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oddns dataset describe recording --output=json")]
pub(crate) struct Describe {
    /// The data set.
    #[arg(value_name = "PATH")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  oddns dataset anonymise recording --out to-share --salt-file recording.salt"
)]
pub(crate) struct Anonymise {
    /// The data set.
    #[arg(value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// Folder of the new data set.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// What the new names are made with; written when it is not there. Keep it to yourself: with
    /// it the same names come out again, and names can be tried.
    #[arg(long, value_name = "FILE")]
    pub(crate) salt_file: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How long a history is kept.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Retention {
    /// Remove days that lie further back, such as 30d; kept for ever when left out.
    #[arg(long = "storage.retention.time", value_name = "DURATION", value_parser = duration)]
    pub(crate) time: Option<Duration>,
    /// Remove the oldest files above this size of all, such as 512MB or 2GB; no limit when left
    /// out.
    #[arg(long = "storage.retention.size", value_name = "SIZE", value_parser = size)]
    pub(crate) bytes: Option<u64>,
}

impl Retention {
    /// The first of its options that is given.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
        let time = self.time.map(|_| "--storage.retention.time");
        time.or(self.bytes.map(|_| "--storage.retention.size"))
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oddns demo --once")]
pub(crate) struct Demo {
    /// Print and end, without the page.
    #[arg(long)]
    pub(crate) once: bool,
    /// Where to serve the page.
    #[arg(long = "web.listen-address", value_name = "ADDRESS", default_value_t = DEFAULT_LISTEN_ADDRESS)]
    pub(crate) listen_address: SocketAddr,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oddns watch --target http://127.0.0.1:9153/metrics --model dns.keras\n  oddns watch --config.file=oddns.yml"
)]
pub(crate) struct Watch {
    /// Configuration file; what the command line also says counts instead of it.
    #[arg(long = "config.file", value_name = "FILE", conflicts_with = "targets")]
    pub(crate) config_file: Option<PathBuf>,
    /// A server to watch; may be repeated.
    #[arg(long = "target", value_name = "URL")]
    pub(crate) targets: Vec<Target>,
    /// The model; see `oddns train`. Without one, the base model that comes with the program is
    /// calibrated to the servers by their first scrapes.
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// Keep what is learned of each server since training in this folder, so that a restart goes on
    /// from it; without it, a restart goes on from the model.
    #[arg(long = "storage.state", value_name = "FOLDER")]
    pub(crate) state: Option<PathBuf>,
    /// Time between scrapes; the model's own interval when left out with `--target`, 1 s for the base
    /// model.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) every: Option<Duration>,
    /// Where to serve page, API and metrics.
    #[arg(long = "web.listen-address", value_name = "ADDRESS")]
    pub(crate) listen_address: Option<SocketAddr>,
    /// Where others find the page, such as behind a proxy: links in alerts begin with it.
    #[arg(long = "web.external-url", value_name = "URL")]
    pub(crate) external_url: Option<String>,
    /// TLS, client certificates and users of the page, in the format of Prometheus's own
    /// `--web.config.file`; read again when it changes.
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub(crate) web_config_file: Option<PathBuf>,
    /// Show everything to whoever reaches a listen address beyond this machine, without asking who it
    /// is.
    #[arg(long = "web.allow-anonymous")]
    pub(crate) allow_anonymous: bool,
    /// Let a POST to `/-/reload` read the configuration anew, and one to `/-/quit` end oddns.
    #[arg(long = "web.enable-lifecycle")]
    pub(crate) enable_lifecycle: bool,
    /// Look so often whether the configuration file changed, and read it anew then, as where it is a
    /// ConfigMap; a SIGHUP does so at any time.
    #[arg(long = "config.auto-reload-interval", value_name = "DURATION", value_parser = duration, requires = "config_file")]
    pub(crate) auto_reload_interval: Option<Duration>,
    /// Take what a Prometheus sends to `/api/v1/write`, and watch the CoreDNS servers in it.
    #[arg(long = "web.enable-remote-write-receiver")]
    pub(crate) enable_remote_write_receiver: bool,
    /// Keep what is scraped and received in this folder, as a data set.
    #[arg(long = "storage.path", value_name = "DIR")]
    pub(crate) storage_path: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) retention: Retention,
    #[command(flatten)]
    pub(crate) backfill: BackfillArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Whose history a watch begins with.
#[derive(Debug, Args)]
pub(crate) struct BackfillArgs {
    /// A Prometheus whose history the watch begins with: each server is calibrated by its own past, and
    /// with `--storage.path` the site's own model is trained, in the background.
    #[arg(long = "backfill.url", value_name = "URL")]
    pub(crate) url: Option<PrometheusUrl>,
    /// How far back history is fetched; 14d with `--storage.path`, else 2d.
    #[arg(long = "backfill.look-back", value_name = "DURATION", value_parser = duration, requires = "url")]
    pub(crate) look_back: Option<Duration>,
    /// Fetch the CoreDNS servers of this job of that Prometheus; may be repeated, all jobs when left
    /// out.
    #[arg(long = "backfill.job", value_name = "NAME", requires = "url")]
    pub(crate) jobs: Vec<String>,
    /// A file with a token that this Prometheus wants.
    #[arg(long = "backfill.bearer-token-file", value_name = "FILE", requires = "url")]
    pub(crate) bearer_token_file: Option<PathBuf>,
    /// A user name that this Prometheus wants.
    #[arg(
        long = "backfill.username",
        value_name = "NAME",
        requires_all = ["url", "password_file"],
        conflicts_with = "bearer_token_file"
    )]
    pub(crate) username: Option<String>,
    /// A file with the password of that user.
    #[arg(long = "backfill.password-file", value_name = "FILE", requires = "username")]
    pub(crate) password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oddns collect --target http://127.0.0.1:9153/metrics --out recording --for 1h --every 15s\n  oddns collect --prometheus http://127.0.0.1:9090 --since 2026-11-01T00:00:00Z --job kube-dns --out recording"
)]
pub(crate) struct Collect {
    /// A server to record; may be repeated.
    #[arg(long = "target", value_name = "URL", required_unless_present_any = ["prometheus", "config_file"])]
    pub(crate) targets: Vec<Target>,
    /// Record the targets of this configuration file, at its intervals.
    #[arg(long = "config.file", value_name = "FILE", conflicts_with_all = ["targets", "prometheus", "every"])]
    pub(crate) config_file: Option<PathBuf>,
    /// A Prometheus, or what speaks its HTTP API, to fetch history from instead.
    #[arg(long, value_name = "URL", requires = "since", conflicts_with_all = ["targets", "length"])]
    pub(crate) prometheus: Option<PrometheusUrl>,
    /// Fetch history from this time on (RFC 3339 or Unix seconds).
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Timestamp>,
    /// Fetch history up to this time; up to now when left out.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Timestamp>,
    /// Fetch the CoreDNS servers of this Prometheus job; may be repeated, all jobs when left out.
    #[arg(long = "job", value_name = "NAME")]
    pub(crate) jobs: Vec<String>,
    /// Fetch exactly the series of this PromQL selector.
    #[arg(long = "query-range", value_name = "SELECTOR", conflicts_with = "jobs")]
    pub(crate) selector: Option<String>,
    /// Ask Prometheus at most so often in a second.
    #[arg(long, value_name = "N", requires = "prometheus", default_value_t = 20.0, value_parser = rate)]
    pub(crate) max_requests_per_second: f64,
    /// A file with a token that Prometheus wants.
    #[arg(long = "prometheus.bearer-token-file", value_name = "FILE")]
    pub(crate) bearer_token_file: Option<PathBuf>,
    /// A user name that Prometheus wants.
    #[arg(
        long = "prometheus.username",
        value_name = "NAME",
        requires = "password_file",
        conflicts_with = "bearer_token_file"
    )]
    pub(crate) username: Option<String>,
    /// A file with the password of that user.
    #[arg(long = "prometheus.password-file", value_name = "FILE", requires = "username")]
    pub(crate) password_file: Option<PathBuf>,
    /// Folder of the data set. What was recorded or fetched into it before goes on: at the same
    /// interval, or with the same question from where it ended.
    #[arg(long, value_name = "DIR", visible_alias = "storage.path")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) retention: Retention,
    /// How long to record; until interrupted when left out.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) length: Option<Duration>,
    /// Time between scrapes, 15s when left out; with `--prometheus` the step of `query_range`, and
    /// the samples as they were scraped when left out.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) every: Option<Duration>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl Collect {
    /// Time between scrapes of targets.
    pub(crate) fn interval(&self) -> Duration {
        self.every.unwrap_or(Duration::from_secs(15))
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oddns train --data recording --out dns.keras --until 2026-11-22T12:00:00Z\n  oddns train --base elsewhere.keras --data recording --out dns.keras"
)]
pub(crate) struct Train {
    /// Data of normal operation: a data set folder, Parquet, CSV, saved scrapes, or what
    /// Prometheus dumped or answered; may be repeated.
    ///
    /// Of a data set whose `dataset.json` names `normal_from` and `normal_until` only that part is
    /// taken, unless `--since` or `--until` say otherwise.
    #[arg(long, value_name = "PATH", required = true)]
    pub(crate) data: Vec<PathBuf>,
    /// The model to write.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// A model to go on from instead of new weights: one of ours, or any autoencoder of windows that
    /// Keras saved.
    #[arg(long, value_name = "FILE", conflicts_with = "detector")]
    pub(crate) from: Option<PathBuf>,
    /// A model of elsewhere, such as of simulated servers, to calibrate to the servers of the data
    /// instead of training: a few minutes of them will do, and more are better. Its kind, its weights
    /// and its budget of alarms stay.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = [
            "from", "detector", "alarms_per_week", "strict_budget", "epochs", "batch", "window", "seed"
        ]
    )]
    pub(crate) base: Option<PathBuf>,
    /// What to train: `masked`, the product's own, or one to compare with; docs/compare-detectors.md
    /// tells them apart.
    #[arg(long, value_name = "NAME", default_value_t)]
    pub(crate) detector: DetectorKind,
    /// False alarms that a server may have in a week.
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = above_zero)]
    pub(crate) alarms_per_week: f64,
    /// Keep that budget even where it asks for less risk than the tail of a record can tell, as one
    /// alarm a week does at less than a minute between rows. Weak faults may stay below the line.
    #[arg(long)]
    pub(crate) strict_budget: bool,
    /// Passes over the data; 200 optimiser steps when left out. 0 leaves the weights of a network of
    /// one's own as they are, and learns scales and calibration alone.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) epochs: Option<u32>,
    /// Stretches in a batch.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) batch: u32,
    /// Rows in a stretch: the length of the first-in-first-out stack.
    #[arg(long, value_name = "N", default_value_t = 160, value_parser = clap::value_parser!(u32).range(32..=65_536))]
    pub(crate) window: u32,
    /// Seed of weights and batches.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seed, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oddns update --model dns.keras --data recording --feedback feedback.csv --out newer.keras\n  oddns update --registry models --data recording --feedback feedback.csv"
)]
pub(crate) struct Update {
    /// The model to go on from.
    #[arg(long, value_name = "FILE", requires = "out", required_unless_present = "registry")]
    pub(crate) model: Option<PathBuf>,
    /// Go on from the champion of this folder of generations, keep the result there, and promote it
    /// when it passes the gate; see `oddns model`.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "out"])]
    pub(crate) registry: Option<PathBuf>,
    /// What the servers did since: data of any form that `oddns train` takes, with incidents in it;
    /// may be repeated.
    #[arg(long, value_name = "PATH", required = true)]
    pub(crate) data: Vec<PathBuf>,
    /// All that was ever said of alarms: a CSV file with the header `start,end,instance,verdict`.
    #[arg(long, value_name = "FILE")]
    pub(crate) feedback: Option<PathBuf>,
    /// The model to write; nothing is written when it does not pass the gate.
    #[arg(long, value_name = "FILE", requires = "model")]
    pub(crate) out: Option<PathBuf>,
    /// Write or promote the result even if it does not pass the gate.
    #[arg(long)]
    pub(crate) anyway: bool,
    /// How long a change that harms nobody has to stay until it is normal.
    #[arg(long, value_name = "DURATION", default_value = "2d", value_parser = duration)]
    pub(crate) settles_after: Duration,
    /// Seed of the batches.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seed, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    /// Threads to train on; the result does not depend on it.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) threads: u8,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Keep a model file as a generation; the first one is promoted.
    Add(ModelAdd),
    /// List all generations.
    List(ModelList),
    /// Say all that is known of one generation.
    Show(ModelShow),
    /// Say what moved between two generations, feature by feature.
    Diff(ModelDiff),
    /// Make a generation the champion.
    Promote(ModelPromote),
    /// Go back to the champion before.
    Rollback(ModelRollback),
}

/// Which folder of generations.
#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    /// The folder of generations.
    #[arg(long, value_name = "DIR")]
    pub(crate) registry: PathBuf,
    /// The generations of this server alone, where it has a model of its own; the shared ones when left
    /// out.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) instance: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oddns model add --registry models dns.keras")]
pub(crate) struct ModelAdd {
    /// The model.
    #[arg(value_name = "FILE")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) at: RegistryArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oddns model list --registry models")]
pub(crate) struct ModelList {
    #[command(flatten)]
    pub(crate) at: RegistryArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oddns model show --registry models 3")]
pub(crate) struct ModelShow {
    /// Number of the generation; the champion when left out.
    #[arg(value_name = "N")]
    pub(crate) generation: Option<u64>,
    #[command(flatten)]
    pub(crate) at: RegistryArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oddns model diff --registry models 2 3")]
pub(crate) struct ModelDiff {
    /// Number of the one.
    #[arg(value_name = "FROM")]
    pub(crate) from: u64,
    /// Number of the other; the champion when left out.
    #[arg(value_name = "TO")]
    pub(crate) to: Option<u64>,
    #[command(flatten)]
    pub(crate) at: RegistryArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  oddns model promote --registry models 3 --reason 'seen by hand'"
)]
pub(crate) struct ModelPromote {
    /// Number of the generation; 0 with `--instance` lets the shared model judge that server again.
    #[arg(value_name = "N")]
    pub(crate) generation: u64,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value = "promoted by hand")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) at: RegistryArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oddns model rollback --registry models")]
pub(crate) struct ModelRollback {
    #[command(flatten)]
    pub(crate) at: RegistryArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  oddns score --model dns.keras --data recording --out scores.csv --incidents incidents.jsonl"
)]
pub(crate) struct Score {
    /// The model; see `oddns train`.
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// A data set folder, Parquet, CSV or saved scrapes.
    #[arg(long, value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// Scores to write: one row an instance and step, as .csv or .parquet.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Incidents to write, as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub(crate) incidents: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  oddns explain --model dns.keras --data recording --at 2026-11-22T12:00:00Z --plot why.png"
)]
pub(crate) struct Explain {
    /// The model; see `oddns train`.
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// A data set folder, Parquet, CSV or saved scrapes.
    #[arg(long, value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// The instant; the last row not after it is explained.
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Timestamp,
    /// Draw the time around it to this .svg or .png file: the score, and what moved. Of several
    /// servers the oddest one; see --instance.
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oddns eval --scores scores.csv --labels labels.csv --json\n  oddns eval --suite frames --data servers --detector masked --detector l2 --seeds 1,2,3"
)]
pub(crate) struct Eval {
    /// Scores as `oddns score` writes them.
    #[arg(long, value_name = "FILE", required_unless_present = "suite")]
    pub(crate) scores: Option<PathBuf>,
    /// What was really wrong: kind,start,end,instance,anomalous.
    #[arg(long, value_name = "FILE", required_unless_present = "suite")]
    pub(crate) labels: Option<PathBuf>,
    /// Train and judge detectors side by side instead, on data in folders of this layout.
    #[arg(long, value_enum, requires = "data", conflicts_with_all = ["scores", "labels"])]
    pub(crate) suite: Option<Layout>,
    /// A folder of that layout; may be repeated.
    #[arg(long, value_name = "DIR", requires = "suite")]
    pub(crate) data: Vec<PathBuf>,
    /// A detector to judge; may be repeated, all when left out.
    #[arg(long = "detector", value_name = "NAME", requires = "suite")]
    pub(crate) detectors: Vec<DetectorKind>,
    /// Seeds to train each detector with.
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "1",
        requires = "suite"
    )]
    pub(crate) seeds: Vec<u64>,
    /// The detector that the others are held against; the first when left out.
    #[arg(long, value_name = "NAME", requires = "suite")]
    pub(crate) against: Option<DetectorKind>,
    /// A model of elsewhere to judge beside them, as it is and calibrated to the servers by the last
    /// part of what is normal of them; without --detector beside `masked` alone.
    #[arg(long, value_name = "FILE", requires = "suite")]
    pub(crate) base: Option<PathBuf>,
    /// How much of what is normal the model of elsewhere is calibrated by; may be repeated.
    #[arg(
        long = "base.calibrated-by",
        value_name = "DURATION",
        value_parser = duration,
        requires = "base",
        default_values = ["5m", "1h"]
    )]
    pub(crate) calibrated_by: Vec<Duration>,
    /// The same as --output=json.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How the data of a comparison lie in their folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// A folder for each server, with train.parquet, and test.parquet with a column `Label` (or
    /// .csv).
    Frames,
    /// Data sets of CoreDNS servers, each with labels.csv; of several, each is also judged by what was
    /// learned from the others.
    Coredns,
    /// The name of a scenario that comes with the program, or a file with one: it is simulated for each
    /// release of CoreDNS with a seed of its own, and judged by what was learned of its quiet
    /// beginning.
    Simulated,
    /// Two data sets: servers that were recorded, then what was simulated of them. Tells which
    /// features are alike, and which faults move them the same way.
    Fidelity,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  oddns import mine.keras --out own.keras\n  oddns train --data recording --from own.keras --out dns.keras"
)]
pub(crate) struct Import {
    /// A .keras file of stock layers, or an ONNX file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The network to write, as a .keras file.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oddns export --model dns.keras --onnx dns.onnx")]
#[command(group = clap::ArgGroup::new("format").required(true).multiple(true))]
pub(crate) struct Export {
    /// The model; see `oddns train`.
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// An ONNX graph (opset 17), from a window of raw rows to the score of the last.
    #[arg(long, value_name = "FILE", group = "format")]
    pub(crate) onnx: Option<PathBuf>,
    /// The weights of the network alone.
    #[arg(long, value_name = "FILE", group = "format")]
    pub(crate) safetensors: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  oddns simulate --scenario faults --for 30d --out simulated --servers 3 --seed 7"
)]
pub(crate) struct Simulate {
    /// A scenario file, or a name: cluster, faults, lab, lab_busy, lab_cluster, recorded or weak; see
    /// docs/simulate.md.
    #[arg(long, value_name = "SCENARIO")]
    pub(crate) scenario: String,
    /// How long it lasts; as the scenario says when left out.
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) length: Option<Span>,
    /// Folder of the new data set.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// How many servers; as the scenario says when left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) servers: Option<u16>,
    /// Seed; the same one makes the same data, to the byte.
    #[arg(long, value_name = "N", value_parser = seed, allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,
    /// Time between scrapes; as the scenario says when left out.
    #[arg(long, value_name = "DURATION")]
    pub(crate) every: Option<Span>,
    /// Release of CoreDNS whose metrics are made: 1.15.0, 1.11.4, 1.10.1, 1.8.4 or 1.6.9.
    #[arg(long, value_name = "VERSION")]
    pub(crate) coredns: Option<Release>,
    /// Configuration of the servers: kubernetes, kubeadm_old, kubeadm_new, eks, tuned or zone_file.
    #[arg(long, value_name = "NAME")]
    pub(crate) corefile: Option<Corefile>,
    #[command(flatten)]
    pub(crate) pods: PodLog,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Pods that are the clients.
#[derive(Debug, Clone, Args)]
pub(crate) struct PodLog {
    /// Clients come and go as the pods of this log: JSON lines of k8s-cluster-simulator, or CSV
    /// `name,start,end,class`; also packed by gzip.
    #[arg(long = "pods", value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Seconds of the log that pass in one: 24 plays a day in an hour.
    #[arg(long = "pods.speed", value_name = "N", default_value_t = 1.0, requires = "log", value_parser = above_zero)]
    pub(crate) speed: f64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// List every fault and benign change that can be simulated or done to a real server.
    #[command(after_help = "Example:\n  oddns lab faults --output=json")]
    Faults(OutputArgs),
    /// Play a scenario with real servers, clients and upstreams on loopback, and record it.
    Run(LabRun),
    /// Tell by how much each fault of a recording moved the features that it is known to move.
    Effects(LabEffects),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oddns lab run lab --out recording --coredns.binary ./coredns")]
pub(crate) struct LabRun {
    /// A scenario file, or the name of a built-in one.
    #[arg(value_name = "SCENARIO")]
    pub(crate) scenario: String,
    /// Folder of the new data set.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) coredns: CoreDnsBinaries,
    /// Configuration of the servers instead of the scenario's: kubernetes, kubeadm_old, kubeadm_new,
    /// eks, node_local, tuned or zone_file.
    #[arg(long, value_name = "NAME")]
    pub(crate) corefile: Option<Corefile>,
    /// Seed instead of the scenario's; the same one plays the same schedule.
    #[arg(long, value_name = "N", value_parser = seed, allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) pods: PodLog,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Which CoreDNS a lab runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct CoreDnsBinaries {
    /// The CoreDNS to run; a name without a slash is looked for in PATH, as `coredns` is when nothing
    /// is said.
    #[arg(long = "coredns.binary", value_name = "FILE", conflicts_with = "folder")]
    pub(crate) binary: Option<PathBuf>,
    /// Folder with `coredns-1.15.0/coredns` and the like, where the release of the scenario is looked
    /// for, and another one that servers are upgraded to.
    #[arg(long = "coredns.folder", id = "folder", value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Release instead of the scenario's: 1.15.0, 1.11.4, 1.10.1, 1.8.4 or 1.6.9.
    #[arg(long = "coredns", id = "release", value_name = "VERSION", requires = "folder")]
    pub(crate) release: Option<Release>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oddns lab effects recording")]
pub(crate) struct LabEffects {
    /// A recording with labels.csv; several are taken together.
    #[arg(value_name = "FOLDER", required = true)]
    pub(crate) data: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oddns check-config oddns.yml")]
pub(crate) struct CheckConfig {
    /// The configuration file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oddns check-health --ready")]
pub(crate) struct CheckHealth {
    /// Where it listens; asked without TLS.
    #[arg(long = "web.listen-address", value_name = "ADDRESS", default_value_t = DEFAULT_LISTEN_ADDRESS)]
    pub(crate) listen_address: SocketAddr,
    /// Ask whether it has a model, and not only whether it runs.
    #[arg(long)]
    pub(crate) ready: bool,
    /// Longest time for the answer.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  oddns completions bash > ~/.local/share/bash-completion/completions/oddns"
)]
pub(crate) struct Completions {
    /// Which shell.
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oddns man ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// Folder to write to; it is made where it is missing.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}

fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("must be above zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("must be a whole number from 0 to {}", u64::MAX))
}

/// Bytes with a unit, as Prometheus spells them: powers of 1024.
fn size(text: &str) -> Result<u64, String> {
    let expected = || format!("`{text}` is no size: expected such as 512MB, 2GB or 1TB");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match &text[digits.len()..] {
        "B" => 0,
        "KB" => 1,
        "MB" => 2,
        "GB" => 3,
        "TB" => 4,
        "PB" => 5,
        "EB" => 6,
        _ => return Err(expected()),
    };
    let number: u64 = digits.parse().map_err(|_| expected())?;
    number.checked_mul(1 << (10 * power)).filter(|bytes| *bytes > 0).ok_or_else(expected)
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e6).contains(&rate) => Ok(rate),
        _ => Err("must be a number from 0.001 to 1000000".to_owned()),
    }
}

fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if f64::is_finite(number) && number > 0.0 => Ok(number),
        _ => Err("must be a number above zero".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
