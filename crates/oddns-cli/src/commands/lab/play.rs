//! A scenario played with real servers, and recorded meanwhile.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use oddns_collect::wall_clock;
use oddns_core::Timestamp;
use oddns_lab::{ClientSecond, Lab, LabConfig, Phase, client_seconds_csv};
use oddns_sim::Scenario;
use oddns_store::{Dataset, LabelledInterval, write_labels};
use tokio::sync::oneshot;

use crate::args::{Collect, Output, OutputArgs, Retention};
use crate::commands::collect;
use crate::output;

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
struct Notes<'a> {
    out: &'a Path,
    clients: File,
}

impl Play<'_> {
    /// Plays and records until the scenario ends, a server dies or somebody interrupts. What was
    /// recorded so far is kept in each case, with its labels.
    pub(crate) async fn run(self) -> anyhow::Result<Vec<LabelledInterval>> {
        let mut lab = Lab::start(self.config.clone()).await?;
        tell_swept(&lab);
        // As it began: a benign change may lead to another release and configuration.
        let server = lab.servers().first().map(|one| (one.version().to_owned(), one.corefile()));
        let collected = self.collected(&lab)?;
        let (ended, end) = oneshot::channel::<()>();
        let recording = collect::record_until(&collected, async {
            // An end that nobody tells is an end, too.
            let _ = end.await;
        });
        let played = {
            let playing = self.play(&mut lab);
            tokio::pin!(playing);
            tokio::pin!(recording);
            let (played, recorded) = tokio::select! {
                played = &mut playing => {
                    drop(ended);
                    (Some(played), recording.as_mut().await)
                }
                recorded = &mut recording => (None, recorded),
            };
            recorded?;
            played
        };
        let cleared = lab.clear().await;
        let labels: Vec<LabelledInterval> = lab.labels().iter().map(label).collect();
        write_labels(&self.out.join("labels.csv"), &labels)?;
        self.describe(server, &labels)?;
        played.unwrap_or(Ok(()))?;
        cleared?;
        Ok(labels)
    }

    async fn play(&self, lab: &mut Lab) -> anyhow::Result<()> {
        // Recording begins with a first scrape, which makes the folder.
        let mut notes = Notes::begin(self.out).await?;
        for phase in &self.phases {
            notes.labels(lab, Some(phase))?;
            let played = lab.play(std::slice::from_ref(phase)).await;
            notes.clients(&lab.take_client_seconds())?;
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

    /// Adds what is known of the servers, (release, Corefile), and of the time before the first fault.
    fn describe(
        &self,
        server: Option<(String, String)>,
        labels: &[LabelledInterval],
    ) -> anyhow::Result<()> {
        let Some(mut dataset) = Dataset::read(self.out)? else { return Ok(()) };
        let (scenario, by) = (self.scenario, self.by);
        dataset.description = Some(format!("{} Played by `{by}`.", scenario.description));
        dataset.seed = Some(scenario.seed);
        dataset.licence = Some("CC-BY-4.0".to_owned());
        dataset.normal_from = dataset.start;
        dataset.normal_until = labels.iter().map(|label| label.start).min().or(dataset.end);
        (dataset.coredns_version, dataset.corefile) = server.unzip();
        dataset.other.insert("scenario".to_owned(), scenario.name.clone().into());
        dataset.other.insert("corefile_name".to_owned(), scenario.corefile.as_str().into());
        dataset.write(self.out)?;
        Ok(())
    }
}

impl<'a> Notes<'a> {
    /// Waits until the folder of the recording is there. Whoever records ends the wait otherwise.
    async fn begin(out: &'a Path) -> anyhow::Result<Self> {
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
        Ok(Self { out, clients })
    }

    fn clients(&mut self, seconds: &[ClientSecond]) -> anyhow::Result<()> {
        let text = client_seconds_csv(seconds);
        let rows = text.split_once('\n').map_or("", |(_, rows)| rows);
        self.clients.write_all(rows.as_bytes()).context("cannot write what the clients felt")
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
        Ok(write_labels(&self.out.join("labels.csv"), &labels)?)
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
