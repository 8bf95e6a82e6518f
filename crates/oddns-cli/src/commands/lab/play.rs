//! A scenario played with real servers, and recorded meanwhile.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::slice;
use std::time::Duration;

use anyhow::Context;
use oddns_collect::wall_clock;
use oddns_core::Timestamp;
use oddns_lab::{Lab, LabConfig, LabError, Phase, client_seconds_csv};
use oddns_sim::Scenario;
use oddns_store::{Dataset, LabelledInterval, Unfinished, write_labels};
use tokio::sync::oneshot;

use crate::args::{Collect, Output, OutputArgs, Retention};
use crate::commands::collect;
use crate::exit::{Exit, Interrupted};
use crate::output;
use crate::signals::signalled;

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What is to be played, and where it is recorded.
pub(crate) struct Play<'a> {
    pub(crate) out: &'a Path,
    pub(crate) scenario: &'a Scenario,
    pub(crate) config: LabConfig,
    pub(crate) phases: Vec<Phase>,
    /// The command that plays it, for the description.
    pub(crate) by: &'static str,
}

/// What the clients felt and what was done, in the folder of the recording as soon as it is known:
/// who kills the lab keeps both.
struct Notes {
    labels: PathBuf,
    /// Of `clients`.
    path: PathBuf,
    clients: File,
}

impl Play<'_> {
    /// Plays and records until the scenario ends, a server dies or somebody interrupts. What was
    /// recorded so far is kept in each case, with its labels, and says when it is not all.
    pub(crate) async fn run(self) -> anyhow::Result<Vec<LabelledInterval>> {
        let mut signalled = pin!(signalled());
        let mut lab = tokio::select! {
            lab = Lab::start(self.config.clone()) => lab?,
            exit = &mut signalled => return Err(self.interrupted(exit)),
        };
        tell_swept(&lab);
        self.tell_release(&lab);
        let (mut notes, mut recorded) = (None, None);
        let mut played = {
            let collected = self.collected(&lab)?;
            // As they begin: a benign change may lead to another release and configuration.
            let server = lab.servers().first().map(|it| (it.version().to_owned(), it.corefile()));
            let (end, ended) = oneshot::channel::<()>();
            let described = |dataset| self.begun(dataset, server);
            let mut recording = pin!(collect::record_until(&collected, described, async {
                // An end that nobody tells is an end, too.
                let _ = ended.await;
            }));
            let played = tokio::select! {
                played = self.play(&mut lab, &mut notes) => played,
                done = &mut recording => {
                    recorded = Some(done.map(drop));
                    Ok(())
                }
                exit = &mut signalled => Err(self.interrupted(exit)),
            };
            drop(end);
            if recorded.is_none() {
                recorded = Some(recording.await.map(drop));
            }
            played
        };
        let cleared = lab.clear().await.map_err(anyhow::Error::from);
        let noted = match &mut notes {
            Some(notes) => notes.clients(&mut lab).map_err(anyhow::Error::from),
            None => Ok(()),
        };
        let labels: Vec<LabelledInterval> = lab.labels().iter().map(label).collect();
        if notes.is_some() {
            let about = self.ended(&labels, lab.well_until(), played.as_ref().err())?;
            played = played.map_err(|error| with_progress(error, &about, self.out));
        }
        played.and(recorded.unwrap_or(Ok(()))).and(cleared).and(noted)?;
        Ok(labels)
    }

    /// Faults and names of metrics are those of the release that a scenario is for.
    fn tell_release(&self, lab: &Lab) {
        let Some(server) = lab.servers().first() else { return };
        let (version, expected) = (server.version(), self.scenario.coredns);
        if version != expected.as_str() {
            let path = server.binary().display();
            output::warning(format!(
                "`{path}` says that it is CoreDNS {version}, where the scenario has {expected}: set its \
                 `coredns` to the release that is run"
            ));
        }
    }

    fn interrupted(&self, exit: Exit) -> anyhow::Error {
        let message = format!("interrupted: `{}` has nothing of the scenario", self.out.display());
        Interrupted { exit, message }.into()
    }

    async fn play(&self, lab: &mut Lab, noted: &mut Option<Notes>) -> anyhow::Result<()> {
        // Recording begins with a first scrape, which makes the folder.
        let notes = noted.insert(Notes::begin(self.out).await?);
        for phase in &self.phases {
            notes.labels(lab, Some(phase))?;
            let played =
                lab.play_watched(slice::from_ref(phase), &mut |lab| notes.clients(lab)).await;
            notes.labels(lab, None)?;
            played?;
        }
        Ok(())
    }

    fn collected(&self, lab: &Lab) -> anyhow::Result<Collect> {
        let targets =
            lab.metrics_urls().iter().map(|url| url.parse()).collect::<Result<Vec<_>, _>>()?;
        Ok(Collect {
            targets,
            config_file: None,
            prometheus: None,
            max_requests_per_second: f64::INFINITY,
            bearer_token_file: None,
            username: None,
            password_file: None,
            since: None,
            until: None,
            jobs: Vec::new(),
            selector: None,
            out: self.out.to_owned(),
            retention: Retention::default(),
            length: Some(Duration::from_secs_f64(self.scenario.length.as_seconds())),
            every: Some(Duration::from_secs_f64(self.scenario.every.as_seconds())),
            output: OutputArgs { output: Output::Text },
        })
    }

    /// What a recording says when it begins: what is known of the servers, (release, Corefile), of the
    /// scenario, and that it is not over.
    fn begun(&self, recorded: Dataset, server: Option<(String, String)>) -> Dataset {
        let scenario = self.scenario;
        let (coredns_version, corefile) = server.unzip();
        let quiet = self.phases.iter().take_while(|phase| phase.fault.is_none());
        let quiet: Duration = quiet.map(|phase| phase.duration).sum();
        let quiet = i64::try_from(quiet.as_millis()).unwrap_or(i64::MAX);
        let until = |start: Timestamp| Timestamp::from_millis(start.millis().saturating_add(quiet));
        let mut other = recorded.other;
        other.insert("scenario".to_owned(), scenario.name.clone().into());
        other.insert("corefile_name".to_owned(), scenario.corefile.as_str().into());
        Dataset {
            description: Some(described(scenario, &format!("Played by `{}`.", self.by))),
            seed: Some(scenario.seed),
            licence: Some("CC-BY-4.0".to_owned()),
            normal_from: recorded.start,
            normal_until: recorded.start.map(until),
            coredns_version,
            corefile,
            unfinished: Some(Unfinished::begun(scenario.length.as_seconds())),
            other,
            ..recorded
        }
    }

    /// Says of the time before the first fault how long it was, and of a recording that an error has
    /// ended too early that it is unfinished: then only what was seen to be well is normal.
    fn ended(
        &self,
        labels: &[LabelledInterval],
        well_until: Timestamp,
        error: Option<&anyhow::Error>,
    ) -> anyhow::Result<Dataset> {
        write_labels(&self.out.join("labels.csv"), labels)?;
        let mut about = Dataset::read(self.out)?.unwrap_or_default();
        let known = if error.is_some() { Some(well_until) } else { about.end };
        about.normal_until = labels.iter().map(|label| label.start).chain(known).min();
        match error {
            None => about.unfinished = None,
            Some(error) if error.is::<Interrupted>() => about.end("interrupted"),
            Some(_) => about.end("failed"),
        }
        about.write(self.out)?;
        Ok(about)
    }
}

/// What a scenario is about, and who has made something of it.
pub(crate) fn described(scenario: &Scenario, made: &str) -> String {
    format!("{} {made}", scenario.description.trim()).trim_start().to_owned()
}

/// An interruption with how far it came.
fn with_progress(error: anyhow::Error, about: &Dataset, out: &Path) -> anyhow::Error {
    match (error.downcast::<Interrupted>(), &about.unfinished) {
        (Ok(Interrupted { exit, .. }), Some(unfinished)) => {
            let kept = "what was recorded is kept, with its labels";
            let message = format!("`{}` {unfinished}; {kept}", out.display());
            Interrupted { exit, message }.into()
        }
        (Ok(interrupted), None) => interrupted.into(),
        (Err(error), _) => error,
    }
}

impl Notes {
    /// Waits until the folder of the recording is there. Whoever records ends the wait otherwise.
    async fn begin(out: &Path) -> anyhow::Result<Self> {
        while !out.join("dataset.json").exists() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let path = out.join("client_stats.csv");
        let unwritable = || format!("cannot write `{}`", path.display());
        let mut clients =
            OpenOptions::new().create(true).append(true).open(&path).with_context(unwritable)?;
        if clients.metadata().with_context(unwritable)?.len() == 0 {
            clients.write_all(client_seconds_csv(&[]).as_bytes()).with_context(unwritable)?;
        }
        Ok(Self { labels: out.join("labels.csv"), path, clients })
    }

    /// Writes what the clients felt since the last time.
    fn clients(&mut self, lab: &mut Lab) -> Result<(), LabError> {
        let text = client_seconds_csv(&lab.take_client_seconds());
        let rows = text.split_once('\n').map_or("", |(_, rows)| rows);
        let written = self.clients.write_all(rows.as_bytes());
        written.map_err(|source| LabError::Write { path: self.path.clone(), source })
    }

    /// Writes what was done, and what is about to be done as it is planned.
    fn labels(&self, lab: &Lab, next: Option<&Phase>) -> anyhow::Result<()> {
        let mut labels: Vec<LabelledInterval> = lab.labels().iter().map(label).collect();
        if let Some((phase, fault)) = next.and_then(|phase| Some((phase, phase.fault?))) {
            let start = wall_clock();
            let millis = i64::try_from(phase.duration.as_millis()).unwrap_or(i64::MAX);
            labels.push(LabelledInterval {
                kind: fault.name.to_owned(),
                start,
                end: Timestamp::from_millis(start.millis().saturating_add(millis)),
                instance: lab.hits(fault),
                anomalous: fault.anomalous,
            });
        }
        Ok(write_labels(&self.labels, &labels)?)
    }
}

fn tell_swept(lab: &Lab) {
    let swept = lab.swept();
    if swept.folders > 0 {
        output::warning(format!(
            "swept what a killed lab left: {} server(s), {} temporary folder(s)",
            swept.servers, swept.folders
        ));
    }
}

fn label(label: &oddns_lab::LabelInterval) -> LabelledInterval {
    LabelledInterval {
        kind: label.kind.clone(),
        start: label.start,
        end: label.end,
        instance: Some(label.instance.clone()).filter(|instance| instance != "*"),
        anomalous: label.anomalous,
    }
}

/// Threads that a lab runs on: one for its tasks, one for what blocks.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the lab")
}
