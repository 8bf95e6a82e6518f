//! Servers, upstreams and clients together, and the schedule of what is done to them.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oddns_core::Timestamp;
use tokio::time::{Instant, sleep};

use crate::fault::{Configuration, Dose, Effect, Fault, ServerAction};
use crate::fault::{fault, impossible};
use crate::label::LabelInterval;
use crate::tally::ClientSecond;
use crate::traffic::in_range;
use crate::{
    Behaviour, CoreDns, CoreDnsConfig, LabError, Mix, Rhythm, Traffic, TrafficConfig,
    TrafficSettings, Upstream, UpstreamConfig,
};

const MAX_REPLICAS: usize = 16;
const MAX_UPSTREAMS: usize = 8;
/// How often a playing scenario looks whether its servers still live.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// What a lab is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct LabConfig {
    /// Path of the CoreDNS binary.
    pub coredns: PathBuf,
    /// Servers that share the clients, 1 to 16.
    pub replicas: usize,
    /// Upstreams every server forwards to, 1 to 8.
    pub upstreams: usize,
    /// Seed of clients and upstreams: the same seed asks the same names in the same order.
    pub seed: u64,
    /// Traffic without faults.
    pub settings: TrafficSettings,
    /// Names, sockets and patience of the clients; `servers` and `seed` are filled in by the lab.
    pub traffic: TrafficConfig,
    /// Behaviour of the upstreams without faults.
    pub behaviour: Behaviour,
}

impl LabConfig {
    /// One server, two upstreams that take 2 to 8 ms as a resolver nearby does, default traffic.
    pub fn new(coredns: impl Into<PathBuf>) -> Self {
        Self {
            coredns: coredns.into(),
            replicas: 1,
            upstreams: 2,
            seed: 0,
            settings: TrafficSettings::default(),
            traffic: TrafficConfig::default(),
            behaviour: Behaviour {
                delay: Duration::from_millis(2),
                jitter: Duration::from_millis(6),
                ..Behaviour::default()
            },
        }
    }
}

impl LabConfig {
    /// As a scenario has it: the same servers, clients and upstreams as the simulator would take.
    ///
    /// Fails when the scenario has faults that the lab cannot do to a real server, or is for
    /// another Corefile.
    pub fn from_scenario(
        coredns: impl Into<PathBuf>,
        scenario: &oddns_sim::Scenario,
    ) -> Result<Self, LabError> {
        let impossible = impossible(scenario);
        if !impossible.is_empty() {
            return Err(LabError::Impossible { faults: impossible.join(", ") });
        }
        if scenario.corefile != oddns_sim::Corefile::ZoneFile {
            return Err(LabError::Setting {
                name: "corefile",
                value: "kubernetes".to_owned(),
                expected: "zone_file: the lab has no Kubernetes API",
            });
        }
        let (traffic, upstreams) = (&scenario.traffic, &scenario.upstreams);
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Ok(Self {
            replicas: scenario.servers,
            upstreams: upstreams.count,
            seed: scenario.seed,
            settings: settings(traffic),
            traffic: TrafficConfig {
                n_outside_names: traffic.n_outside_names,
                zipf_exponent: traffic.zipf_exponent,
                ..TrafficConfig::default()
            },
            behaviour: Behaviour {
                delay: seconds(upstreams.delay_seconds),
                jitter: seconds(upstreams.jitter_seconds),
                ..Behaviour::default()
            },
            ..Self::new(coredns)
        })
    }
}

fn settings(traffic: &oddns_sim::Traffic) -> TrafficSettings {
    let mix = &traffic.mix;
    TrafficSettings {
        lookups_per_second: traffic.lookups_per_second,
        mix: Mix {
            inside: mix.inside,
            outside: mix.outside,
            qualified: mix.qualified,
            srv: mix.srv,
            ptr: mix.ptr,
            txt: mix.txt,
        },
        tcp_ratio: traffic.tcp_ratio,
        rhythm: traffic.day.map(|day| Rhythm {
            period_seconds: day.period.as_seconds(),
            amplitude_ratio: day.amplitude_ratio,
        }),
        ..TrafficSettings::default()
    }
}

/// The phases of a scenario, one after the other. What the lab cannot do is left out of a
/// campaign.
///
/// Fails when two faults overlap: the lab does one at a time.
pub fn phases(scenario: &oddns_sim::Scenario) -> Result<Vec<Phase>, LabError> {
    let mut phases = Vec::new();
    let mut until = scenario.start;
    for label in oddns_sim::labels(scenario) {
        let Ok(found) = fault(label.kind) else { continue };
        if label.start < until {
            return Err(LabError::Overlap { fault: label.kind.to_owned() });
        }
        phases.push(Phase::quiet(between(until, label.start)));
        let duration = between(label.start, label.end);
        phases.push(Phase { duration, fault: Some(found), strength: label.strength });
        until = label.end;
    }
    let end = Timestamp::from_millis(scenario.start.millis() + scenario.length.millis());
    if end > until {
        phases.push(Phase::quiet(between(until, end)));
    }
    Ok(phases)
}

fn between(from: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from_secs_f64(until.seconds_since(from)).unwrap_or_default()
}

/// A stretch of a scenario.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    /// How long it lasts.
    pub duration: Duration,
    /// What is in force during it; `None` is quiet.
    pub fault: Option<&'static Fault>,
    /// How strong it is, in the fault's unit.
    pub strength: f64,
}

impl Phase {
    /// Nothing special for so long.
    pub const fn quiet(duration: Duration) -> Self {
        Self { duration, fault: None, strength: 1.0 }
    }

    /// `fault` for so long, as strong as it usually is.
    pub const fn faulty(fault: &'static Fault, duration: Duration) -> Self {
        Self { duration, fault: Some(fault), strength: fault.about.strength.usual }
    }
}

/// A fault in force.
#[derive(Debug)]
struct InForce {
    fault: &'static Fault,
    start: Timestamp,
    begun: Instant,
    lasts: Duration,
    strength: f64,
    /// Restarts so far, of a fault that has several.
    n_restarts: usize,
}

impl InForce {
    fn dose(&self) -> Dose {
        let lasts = self.lasts.as_secs_f64().max(1e-3);
        let progress = (self.begun.elapsed().as_secs_f64() / lasts).clamp(0.0, 1.0);
        Dose { strength: self.strength, progress }
    }
}

/// A running lab. Dropping it ends clients, servers and upstreams.
#[derive(Debug)]
pub struct Lab {
    config: LabConfig,
    // Order matters when dropped: clients first, so that they do not talk to dead servers.
    traffic: Traffic,
    servers: Vec<CoreDns>,
    upstreams: Vec<Upstream>,
    in_force: Option<InForce>,
    labels: Vec<LabelInterval>,
}

impl Lab {
    /// Starts upstreams, servers and clients, in this order. Must be called within a tokio runtime.
    pub async fn start(config: LabConfig) -> Result<Self, LabError> {
        in_range("replicas", config.replicas, 1, MAX_REPLICAS, "1 to 16")?;
        in_range("upstreams", config.upstreams, 1, MAX_UPSTREAMS, "1 to 8")?;
        let upstreams = start_upstreams(&config).await?;
        let servers = start_servers(&config, &upstreams).await?;
        let clients = TrafficConfig {
            servers: servers.iter().map(CoreDns::dns_address).collect(),
            seed: config.seed,
            ..config.traffic.clone()
        };
        let traffic = Traffic::start(clients, config.settings).await?;
        Ok(Self { config, traffic, servers, upstreams, in_force: None, labels: Vec::new() })
    }

    /// Puts `fault` in force, as strong as it usually is, after taking back the one before. What
    /// hits a single server hits the first.
    pub async fn apply(&mut self, fault: &'static Fault) -> Result<(), LabError> {
        self.apply_phase(fault, fault.strength.usual, Duration::from_secs(60)).await
    }

    async fn apply_phase(
        &mut self,
        fault: &'static Fault,
        strength: f64,
        lasts: Duration,
    ) -> Result<(), LabError> {
        self.clear().await?;
        // In force before it is done: also what is done half is taken back and labelled.
        let (start, begun) = (now(), Instant::now());
        self.in_force = Some(InForce { fault, start, begun, lasts, strength, n_restarts: 0 });
        let dose = Dose { strength, progress: 0.0 };
        match fault.effect {
            Effect::Upstream(change) => self.change_upstreams(change, dose),
            Effect::FirstUpstream(change) => self.upstreams[0].set(self.changed(change, dose)),
            Effect::UpstreamClosed => self.close_upstreams().await,
            Effect::Traffic(change) => self.change_traffic(change, dose),
            Effect::Server(action) => self.act_on_first(action).await?,
            Effect::Configured(other, change) => {
                self.change_upstreams(change, dose);
                self.configure(Some((other, strength)))?;
            }
            Effect::RestartInTurn => self.servers[0].restart().await?,
        }
        Ok(())
    }

    /// Goes on with a fault that changes over its time.
    async fn go_on(&mut self) -> Result<(), LabError> {
        let Some(in_force) = &mut self.in_force else { return Ok(()) };
        let dose = in_force.dose();
        let seconds = in_force.begun.elapsed().as_secs_f64();
        let n_servers = self.servers.len();
        let due = match in_force.fault.effect {
            Effect::Server(ServerAction::RestartAgain) => (seconds / dose.strength) as usize,
            Effect::RestartInTurn => {
                ((2.0 * dose.progress * n_servers as f64) as usize).min(n_servers - 1)
            }
            Effect::Upstream(change) => {
                self.change_upstreams(change, dose);
                return Ok(());
            }
            Effect::Traffic(change) => {
                self.change_traffic(change, dose);
                return Ok(());
            }
            _ => return Ok(()),
        };
        if due > in_force.n_restarts {
            in_force.n_restarts = due;
            let in_turn = matches!(in_force.fault.effect, Effect::RestartInTurn);
            self.servers[if in_turn { due } else { 0 }].restart().await?;
        }
        Ok(())
    }

    /// Takes back what is in force and notes it as a label. No effect when nothing is.
    pub async fn clear(&mut self) -> Result<(), LabError> {
        let Some(InForce { fault, start, .. }) = self.in_force.take() else { return Ok(()) };
        let undone = self.undo(fault).await;
        self.labels.push(LabelInterval {
            kind: fault.name.to_owned(),
            start,
            end: now().max(start),
            instance: self.instance(fault),
            anomalous: fault.anomalous,
        });
        undone
    }

    /// Plays the phases one after the other and leaves the lab quiet. To record meanwhile, scrape
    /// `metrics_urls` from another task; `labels` holds what was done, also after an error.
    ///
    /// Fails when a server ends by itself.
    pub async fn play(&mut self, phases: &[Phase]) -> Result<(), LabError> {
        let played = self.play_phases(phases).await;
        let cleared = self.clear().await;
        played.and(cleared)
    }

    /// The URLs to scrape, one a server.
    pub fn metrics_urls(&self) -> Vec<String> {
        self.servers.iter().map(CoreDns::metrics_url).collect()
    }

    /// What was done so far and is over.
    pub fn labels(&self) -> &[LabelInterval] {
        &self.labels
    }

    /// What the clients felt since the last call.
    pub fn take_client_seconds(&self) -> Vec<ClientSecond> {
        self.traffic.take_seconds()
    }

    /// The servers, in the order of `metrics_urls`.
    pub fn servers(&self) -> &[CoreDns] {
        &self.servers
    }

    /// The upstreams, in the order in which the servers know them.
    pub fn upstreams(&self) -> &[Upstream] {
        &self.upstreams
    }

    /// An error when a server has ended by itself.
    pub fn check(&mut self) -> Result<(), LabError> {
        self.servers.iter_mut().try_for_each(CoreDns::check)
    }

    async fn play_phases(&mut self, phases: &[Phase]) -> Result<(), LabError> {
        for phase in phases {
            let end = Instant::now() + phase.duration;
            match phase.fault {
                Some(fault) => self.apply_phase(fault, phase.strength, phase.duration).await?,
                None => self.clear().await?,
            }
            self.watch_until(end).await?;
        }
        Ok(())
    }

    async fn watch_until(&mut self, end: Instant) -> Result<(), LabError> {
        loop {
            self.check()?;
            self.go_on().await?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(CHECK_EVERY)).await;
        }
    }

    fn changed(&self, change: fn(&mut Behaviour, Dose), dose: Dose) -> Behaviour {
        let mut behaviour = self.config.behaviour;
        change(&mut behaviour, dose);
        behaviour
    }

    fn change_upstreams(&self, change: fn(&mut Behaviour, Dose), dose: Dose) {
        let behaviour = self.changed(change, dose);
        self.upstreams.iter().for_each(|upstream| upstream.set(behaviour));
    }

    fn restore_upstreams(&self) {
        self.upstreams.iter().for_each(|upstream| upstream.set(self.config.behaviour));
    }

    fn configure(&mut self, other: Option<(Configuration, f64)>) -> Result<(), LabError> {
        self.servers.iter_mut().try_for_each(|server| server.configure(other))
    }

    async fn close_upstreams(&mut self) {
        for upstream in &mut self.upstreams {
            upstream.stop().await;
        }
    }

    fn change_traffic(&self, change: fn(&mut TrafficSettings, Dose), dose: Dose) {
        let mut settings = self.config.settings;
        change(&mut settings, dose);
        self.traffic.set(settings);
    }

    async fn act_on_first(&mut self, action: ServerAction) -> Result<(), LabError> {
        let server = &mut self.servers[0];
        match action {
            ServerAction::Restart | ServerAction::RestartAgain => server.restart().await,
            ServerAction::Freeze => server.pause(),
            ServerAction::Throttle => server.throttle(),
            ServerAction::Reload => server.edit_corefile(),
        }
    }

    async fn undo(&mut self, fault: &Fault) -> Result<(), LabError> {
        match fault.effect {
            Effect::Upstream(_) | Effect::FirstUpstream(_) => self.restore_upstreams(),
            Effect::Traffic(_) => self.traffic.set(self.config.settings),
            Effect::Configured(..) => {
                self.restore_upstreams();
                self.configure(None)?;
            }
            Effect::UpstreamClosed => {
                for upstream in &mut self.upstreams {
                    upstream.start().await?;
                }
            }
            Effect::Server(ServerAction::Freeze | ServerAction::Throttle) => {
                self.servers[0].resume()?;
            }
            Effect::RestartInTurn
            | Effect::Server(
                ServerAction::Restart | ServerAction::RestartAgain | ServerAction::Reload,
            ) => {}
        }
        Ok(())
    }

    fn instance(&self, fault: &Fault) -> String {
        match fault.effect {
            Effect::Server(_) => self.servers[0].metrics_address().to_string(),
            _ => "*".to_owned(),
        }
    }
}

async fn start_upstreams(config: &LabConfig) -> Result<Vec<Upstream>, LabError> {
    let mut upstreams = Vec::new();
    for index in 0..config.upstreams {
        let seed = config.seed.wrapping_add(index as u64);
        let upstream = Upstream::bind(UpstreamConfig { seed, ..UpstreamConfig::default() }).await?;
        upstream.set(config.behaviour);
        upstreams.push(upstream);
    }
    Ok(upstreams)
}

async fn start_servers(
    config: &LabConfig,
    upstreams: &[Upstream],
) -> Result<Vec<CoreDns>, LabError> {
    let upstreams: Vec<_> = upstreams.iter().map(Upstream::address).collect();
    let mut servers = Vec::new();
    for _ in 0..config.replicas {
        let (binary, upstreams) = (config.coredns.clone(), upstreams.clone());
        servers.push(CoreDns::start(CoreDnsConfig { binary, upstreams }).await?);
    }
    Ok(servers)
}

/// A clock before 1970 counts as 1970.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
