//! Servers, upstreams and clients together, and the schedule of what is done to them.

use std::path::PathBuf;
use std::time::Duration;

use oddns_core::Timestamp;
use oddns_sim::Corefile;
use tokio::time::{Instant, sleep};

use crate::clock;
use crate::fault::{Configuration, Dose, Effect, Fault, ServerAction};
use crate::fault::{impossible, possible};
use crate::label::LabelInterval;
use crate::playing::{PlayedPods, Playing};
use crate::tally::ClientSecond;
use crate::traffic::in_range;
use crate::{
    ApiBehaviour, Behaviour, CoreDns, CoreDnsConfig, KubernetesApi, LabError, Mix, Rhythm, Swept,
    Traffic, TrafficConfig, TrafficSettings, Upstream, UpstreamConfig, leftovers,
};

/// Namespace of the services that pods of a log are behind.
const POD_NAMESPACE: &str = "ns-0";
const MAX_REPLICAS: usize = 16;
const MAX_UPSTREAMS: usize = 8;
/// How often a playing scenario looks whether its servers still live.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// How often its servers are asked for an answer while nothing is done to them.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// What a lab is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct LabConfig {
    /// Path of the CoreDNS binary.
    pub coredns: PathBuf,
    /// Another release, that servers can be upgraded to; without one they cannot.
    pub other_coredns: Option<PathBuf>,
    /// The configuration of the servers. Faults of the Kubernetes API need one that has it.
    pub corefile: Corefile,
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
    /// How the Kubernetes API behaves without faults, where the configuration has one.
    pub api: ApiBehaviour,
    /// Pods that are the clients, and the endpoints of services where there is an API; without them
    /// all clients are there all the time.
    pub pods: Option<PlayedPods>,
}

impl LabConfig {
    /// One server with a zone file, two upstreams that take 2 to 8 ms as a resolver nearby does,
    /// default traffic.
    pub fn new(coredns: impl Into<PathBuf>) -> Self {
        Self {
            coredns: coredns.into(),
            other_coredns: None,
            corefile: Corefile::ZoneFile,
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
            api: ApiBehaviour::default(),
            pods: None,
        }
    }

    /// As a scenario has it: the same servers, clients and upstreams as the simulator would take.
    ///
    /// Fails when the scenario has faults that the lab cannot do to its servers, or makes no sense as a
    /// whole.
    pub fn from_scenario(
        coredns: impl Into<PathBuf>,
        scenario: &oddns_sim::Scenario,
    ) -> Result<Self, LabError> {
        scenario.check()?;
        let impossible = impossible(scenario);
        if !impossible.is_empty() {
            return Err(LabError::Impossible { faults: impossible.join(", ") });
        }
        let corefile = scenario.corefile;
        let (traffic, upstreams) = (&scenario.traffic, &scenario.upstreams);
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Ok(Self {
            corefile,
            replicas: scenario.servers,
            upstreams: upstreams.count,
            seed: scenario.seed,
            settings: settings(traffic, corefile.has_stub()),
            api: ApiBehaviour {
                changes_per_second: traffic.changes_per_second,
                ..ApiBehaviour::default()
            },
            traffic: TrafficConfig {
                n_outside_names: traffic.n_outside_names,
                zipf_exponent: traffic.zipf_exponent,
                cluster_addresses: corefile.has_api(),
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

fn settings(traffic: &oddns_sim::Traffic, has_stub: bool) -> TrafficSettings {
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
            stub: if has_stub { mix.stub } else { 0.0 },
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
/// campaign, and `version_upgrade` where it has no other release to upgrade to.
///
/// Fails when two faults overlap: the lab does one at a time.
pub fn phases(scenario: &oddns_sim::Scenario, config: &LabConfig) -> Result<Vec<Phase>, LabError> {
    let mut phases = Vec::new();
    let mut until = scenario.start;
    for label in oddns_sim::labels(scenario) {
        let Some(found) = possible(label.kind, scenario) else { continue };
        if matches!(found.effect, Effect::UpgradeInTurn) && config.other_coredns.is_none() {
            continue;
        }
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

/// What the configuration of the servers needs beside upstreams.
#[derive(Debug)]
struct Cluster {
    api: Option<KubernetesApi>,
    /// Of the stub zone, or of the cluster.
    behind: Option<Upstream>,
}

impl Cluster {
    async fn start(config: &LabConfig) -> Result<Self, LabError> {
        let mut cluster = Self { api: None, behind: None };
        if config.corefile.has_api() {
            let api = KubernetesApi::start(config.seed).await?;
            api.set(config.api);
            cluster.api = Some(api);
        }
        let knows_cluster = config.corefile == Corefile::NodeLocal;
        if knows_cluster || config.corefile.has_stub() {
            let upstream = start_upstream(config, config.upstreams, knows_cluster).await?;
            cluster.behind = Some(upstream);
        }
        Ok(cluster)
    }
}

/// Servers that came on top, and the clients that use them.
#[derive(Debug)]
struct ScaledOut {
    // Clients end before their servers.
    traffic: Traffic,
    servers: Vec<CoreDns>,
}

/// What sees a lab while it plays.
pub type Look<'a> = dyn FnMut(&mut Lab) -> Result<(), LabError> + Send + 'a;

/// A running lab. Dropping it ends clients, servers and upstreams.
#[derive(Debug)]
pub struct Lab {
    config: LabConfig,
    // Order matters when dropped: clients first, so that they do not talk to dead servers.
    traffic: Traffic,
    servers: Vec<CoreDns>,
    upstreams: Vec<Upstream>,
    cluster: Cluster,
    scaled_out: Option<ScaledOut>,
    /// What the clients felt and nobody has taken yet.
    felt: Vec<ClientSecond>,
    /// What the pods do, while a schedule is played.
    playing: Option<Playing>,
    in_force: Option<InForce>,
    labels: Vec<LabelInterval>,
    swept: Swept,
    /// When all servers answered last, of the times when nothing was done to them.
    well_until: Timestamp,
    asked: Instant,
}

impl Lab {
    /// Sweeps what a lab left that was killed, then starts upstreams, servers and clients, in this
    /// order. Must be called within a tokio runtime.
    pub async fn start(config: LabConfig) -> Result<Self, LabError> {
        in_range("servers", config.replicas, 1, MAX_REPLICAS, "1 to 16")?;
        in_range("upstreams", config.upstreams, 1, MAX_UPSTREAMS, "1 to 8")?;
        let swept = leftovers::sweep(&std::env::temp_dir());
        let upstreams = start_upstreams(&config).await?;
        let cluster = Cluster::start(&config).await?;
        let servers = start_servers(&config, config.replicas, &upstreams, &cluster).await?;
        let traffic = start_clients(&config, &servers, config.seed, config.settings).await?;
        let playing = config.pods.as_ref().map(Playing::new).transpose()?;
        Ok(Self {
            config,
            traffic,
            servers,
            upstreams,
            cluster,
            scaled_out: None,
            felt: Vec::new(),
            playing,
            in_force: None,
            labels: Vec::new(),
            swept,
            well_until: clock::now(),
            asked: Instant::now(),
        })
    }

    /// What was swept away when it started.
    pub fn swept(&self) -> Swept {
        self.swept
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
        let (start, begun) = (clock::now(), Instant::now());
        self.in_force = Some(InForce { fault, start, begun, lasts, strength, n_restarts: 0 });
        let dose = Dose { strength, progress: 0.0 };
        match fault.effect {
            Effect::Upstream(change) => self.change_upstreams(change, dose),
            Effect::FirstUpstream(change) => self.upstreams[0].set(self.changed(change, dose)),
            Effect::StubUpstream(change) => {
                let stub = self.stub_upstream().ok_or(LabError::NoStub { fault: fault.name })?;
                stub.set(self.changed(change, dose));
            }
            Effect::UpstreamClosed => self.close_upstreams().await,
            Effect::Api(change) => self.change_api(fault, change, dose)?,
            Effect::Traffic(change) => self.change_traffic(change, dose),
            Effect::Server(action) => self.act_on_first(action).await?,
            Effect::Configured(other, change) => {
                self.change_upstreams(change, dose);
                self.configure(Some((other, strength)))?;
            }
            Effect::RestartInTurn => self.servers[0].restart().await?,
            Effect::UpgradeInTurn => {
                let other = self.config.other_coredns.clone();
                let other = other.ok_or(LabError::NoOtherRelease { fault: fault.name })?;
                // What runs now is what another upgrade leads back to.
                let before = std::mem::replace(&mut self.config.coredns, other.clone());
                self.config.other_coredns = Some(before);
                self.servers[0].upgrade(other).await?;
            }
            Effect::ScaleOut => self.scale_out(strength).await?,
        }
        Ok(())
    }

    /// Starts further servers, and gives them their part of the clients. They are not in
    /// `metrics_urls`: who records goes on with the servers that were there.
    async fn scale_out(&mut self, times: f64) -> Result<(), LabError> {
        let n_more = ((times - 1.0) * self.servers.len() as f64).round() as usize;
        let n_more = n_more.clamp(1, MAX_REPLICAS);
        let servers = start_servers(&self.config, n_more, &self.upstreams, &self.cluster).await?;
        let seed = self.config.seed.wrapping_add(MAX_REPLICAS as u64);
        let none = TrafficSettings { lookups_per_second: 0.0, ..self.config.settings };
        let traffic = start_clients(&self.config, &servers, seed, none).await?;
        self.scaled_out = Some(ScaledOut { traffic, servers });
        self.set_traffic(self.config.settings);
        Ok(())
    }

    /// Sets what all clients do, wherever they are.
    fn set_traffic(&self, settings: TrafficSettings) {
        let Some(ScaledOut { traffic, servers }) = &self.scaled_out else {
            return self.traffic.set(settings);
        };
        let share = servers.len() as f64 / (servers.len() + self.servers.len()) as f64;
        let part = |share: f64| {
            let lookups_per_second = share * settings.lookups_per_second;
            TrafficSettings { lookups_per_second, ..settings }
        };
        self.traffic.set(part(1.0 - share));
        traffic.set(part(share));
    }

    /// Goes on with a fault that changes over its time.
    async fn go_on(&mut self) -> Result<(), LabError> {
        let Some(in_force) = &mut self.in_force else { return Ok(()) };
        let dose = in_force.dose();
        let seconds = in_force.begun.elapsed().as_secs_f64();
        let n_servers = self.servers.len();
        let due = match in_force.fault.effect {
            Effect::Server(ServerAction::RestartAgain) => (seconds / dose.strength) as usize,
            Effect::RestartInTurn | Effect::UpgradeInTurn => {
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
            match in_force.fault.effect {
                Effect::RestartInTurn => self.servers[due].restart().await?,
                Effect::UpgradeInTurn => {
                    self.servers[due].upgrade(self.config.coredns.clone()).await?;
                }
                _ => self.servers[0].restart().await?,
            }
        }
        Ok(())
    }

    /// Brings clients and services to what the pods do now.
    fn follow_pods(&mut self) {
        let (Some(playing), Some(PlayedPods { pods, .. })) = (&mut self.playing, &self.config.pods)
        else {
            return;
        };
        let rate_ratio = playing.rate_ratio();
        for (class, endpoints) in playing.changed(pods) {
            let Some(api) = &self.cluster.api else { continue };
            if endpoints.is_empty() {
                api.remove_service(POD_NAMESPACE, &class);
            } else {
                api.put_service(POD_NAMESPACE, &class, endpoints);
            }
        }
        let usual = playing.usual_rate.get_or_insert(self.config.settings.lookups_per_second);
        self.config.settings.lookups_per_second = *usual * rate_ratio;
        // A fault of the clients is done to the new rate, by `go_on`.
        if !matches!(
            &self.in_force,
            Some(InForce { fault: Fault { effect: Effect::Traffic(_), .. }, .. })
        ) {
            self.set_traffic(self.config.settings);
        }
    }

    /// Takes back what is in force and notes it as a label. No effect when nothing is.
    pub async fn clear(&mut self) -> Result<(), LabError> {
        let Some(InForce { fault, start, .. }) = self.in_force.take() else { return Ok(()) };
        let undone = self.undo(fault).await;
        self.labels.push(LabelInterval {
            kind: fault.name.to_owned(),
            start,
            end: clock::now().max(start),
            instance: self.hits(fault).unwrap_or_else(|| "*".to_owned()),
            anomalous: fault.anomalous,
        });
        undone
    }

    /// Plays the phases one after the other and leaves the lab quiet. To record meanwhile, scrape
    /// `metrics_urls` from another task; `labels` holds what was done, also after an error.
    ///
    /// Fails when a server ends by itself, or answers no more although nothing is done to it.
    pub async fn play(&mut self, phases: &[Phase]) -> Result<(), LabError> {
        self.play_watched(phases, &mut |_| Ok(())).await
    }

    /// The same, and `look` sees the lab twice a second and once more when all is played. An error of
    /// it ends the lab.
    pub async fn play_watched(
        &mut self,
        phases: &[Phase],
        look: &mut Look<'_>,
    ) -> Result<(), LabError> {
        let played = self.play_phases(phases, look).await;
        let cleared = self.clear().await;
        let looked = look(self);
        played.and(cleared).and(looked)
    }

    /// The URLs to scrape, one a server.
    pub fn metrics_urls(&self) -> Vec<String> {
        self.servers.iter().map(CoreDns::metrics_url).collect()
    }

    /// What was done so far and is over.
    pub fn labels(&self) -> &[LabelInterval] {
        &self.labels
    }

    /// What the clients felt since the last call, those of servers that came on top among them; each
    /// second once, and only when it is over for all.
    pub fn take_client_seconds(&mut self) -> Vec<ClientSecond> {
        self.gather_seconds();
        // The other clients may not have told it yet.
        let kept = self.felt.len().min(usize::from(self.scaled_out.is_some()));
        let told = self.felt.len() - kept;
        self.felt.drain(..told).collect()
    }

    fn gather_seconds(&mut self) {
        let more = self.scaled_out.iter().flat_map(|more| more.traffic.take_seconds());
        for one in self.traffic.take_seconds().into_iter().chain(more) {
            match self.felt.binary_search_by_key(&one.second, |known| known.second) {
                Ok(at) => self.felt[at].absorb(&one),
                Err(at) => self.felt.insert(at, one),
            }
        }
    }

    /// The servers, in the order of `metrics_urls`.
    pub fn servers(&self) -> &[CoreDns] {
        &self.servers
    }

    /// The upstreams, in the order in which the servers know them.
    pub fn upstreams(&self) -> &[Upstream] {
        &self.upstreams
    }

    /// The Kubernetes API, where there is one.
    pub fn api(&self) -> Option<&KubernetesApi> {
        self.cluster.api.as_ref()
    }

    /// An error when a server has ended by itself.
    pub fn check(&mut self) -> Result<(), LabError> {
        let more = self.scaled_out.iter_mut().flat_map(|more| &mut more.servers);
        self.servers.iter_mut().chain(more).try_for_each(CoreDns::check)
    }

    /// When all servers were last seen to answer while nothing was done to them; when the lab started
    /// where they were not asked yet.
    pub fn well_until(&self) -> Timestamp {
        self.well_until
    }

    /// Asks the servers for an answer, now and then while nothing is done to them: one that hangs still
    /// has a process, and what is recorded of the others is normal no more.
    async fn check_answers(&mut self) -> Result<(), LabError> {
        if self.in_force.is_some() || self.asked.elapsed() < ASK_EVERY {
            return Ok(());
        }
        let now = clock::now();
        for server in &self.servers {
            server.check_answers().await?;
        }
        (self.asked, self.well_until) = (Instant::now(), now);
        Ok(())
    }

    async fn play_phases(&mut self, phases: &[Phase], look: &mut Look<'_>) -> Result<(), LabError> {
        for phase in phases {
            let end = Instant::now() + phase.duration;
            match phase.fault {
                Some(fault) => self.apply_phase(fault, phase.strength, phase.duration).await?,
                None => self.clear().await?,
            }
            self.watch_until(end, look).await?;
        }
        Ok(())
    }

    async fn watch_until(&mut self, end: Instant, look: &mut Look<'_>) -> Result<(), LabError> {
        loop {
            self.check()?;
            self.check_answers().await?;
            look(self)?;
            self.follow_pods();
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

    fn stub_upstream(&self) -> Option<&Upstream> {
        self.cluster.behind.as_ref().filter(|_| self.config.corefile.has_stub())
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
        self.set_traffic(settings);
    }

    fn change_api(
        &self,
        fault: &Fault,
        change: fn(&mut ApiBehaviour, Dose),
        dose: Dose,
    ) -> Result<(), LabError> {
        let api = self.api().ok_or(LabError::NoApi { fault: fault.name })?;
        let mut behaviour = self.config.api;
        change(&mut behaviour, dose);
        api.set(behaviour);
        Ok(())
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
            Effect::StubUpstream(_) => {
                if let Some(stub) = self.stub_upstream() {
                    stub.set(self.config.behaviour);
                }
            }
            Effect::Traffic(_) => self.set_traffic(self.config.settings),
            Effect::ScaleOut => {
                self.gather_seconds();
                self.scaled_out = None;
                self.set_traffic(self.config.settings);
            }
            Effect::Api(_) => {
                if let Some(api) = self.api() {
                    api.set(self.config.api);
                }
            }
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
            | Effect::UpgradeInTurn
            | Effect::Server(
                ServerAction::Restart | ServerAction::RestartAgain | ServerAction::Reload,
            ) => {}
        }
        Ok(())
    }

    /// Which server a fault is done to, as `host:port` of its metrics; `None` for all.
    pub fn hits(&self, fault: &Fault) -> Option<String> {
        let first = || self.servers[0].metrics_address().to_string();
        matches!(fault.effect, Effect::Server(_)).then(first)
    }
}

async fn start_upstreams(config: &LabConfig) -> Result<Vec<Upstream>, LabError> {
    let mut upstreams = Vec::new();
    for index in 0..config.upstreams {
        upstreams.push(start_upstream(config, index, false).await?);
    }
    Ok(upstreams)
}

async fn start_upstream(
    config: &LabConfig,
    index: usize,
    knows_cluster: bool,
) -> Result<Upstream, LabError> {
    let seed = config.seed.wrapping_add(index as u64);
    let about = UpstreamConfig { seed, knows_cluster, ..UpstreamConfig::default() };
    let upstream = Upstream::bind(about).await?;
    upstream.set(config.behaviour);
    Ok(upstream)
}

async fn start_servers(
    config: &LabConfig,
    n_servers: usize,
    upstreams: &[Upstream],
    cluster: &Cluster,
) -> Result<Vec<CoreDns>, LabError> {
    let about = CoreDnsConfig {
        binary: config.coredns.clone(),
        upstreams: upstreams.iter().map(Upstream::address).collect(),
        corefile: config.corefile,
        api: cluster.api.as_ref().map(KubernetesApi::address),
        behind: cluster.behind.as_ref().map(Upstream::address),
    };
    let mut servers = Vec::new();
    for _ in 0..n_servers {
        servers.push(CoreDns::start(about.clone()).await?);
    }
    Ok(servers)
}

async fn start_clients(
    config: &LabConfig,
    servers: &[CoreDns],
    seed: u64,
    settings: TrafficSettings,
) -> Result<Traffic, LabError> {
    let servers = servers.iter().map(CoreDns::dns_address).collect();
    let clients = TrafficConfig { servers, seed, ..config.traffic.clone() };
    Traffic::start(clients, settings).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use oddns_sim::{Scenario, built_in};

    use super::*;
    use crate::FAULTS;

    #[test]
    fn the_scenarios_of_the_lab_play_all_that_it_can_do_to_their_servers() {
        for name in ["lab", "lab_cluster"] {
            let scenario = built_in(name).unwrap().unwrap();
            let mut config = LabConfig::from_scenario("coredns", &scenario).unwrap();
            config.other_coredns = Some("other".into());
            let phases = phases(&scenario, &config).unwrap();
            let played: BTreeSet<&str> =
                phases.iter().filter_map(|phase| phase.fault).map(|fault| fault.name).collect();
            let all = FAULTS.iter().filter(|fault| possible(fault.name, &scenario).is_some());
            assert_eq!(played, all.map(|fault| fault.name).collect(), "{name}");
            let seconds: f64 = phases.iter().map(|phase| phase.duration.as_secs_f64()).sum();
            assert_eq!(seconds, scenario.length.as_seconds(), "{name}");
        }
    }

    #[test]
    fn an_upgrade_is_left_out_where_there_is_nothing_to_upgrade_to() {
        let text = "campaign: {after: 1m, lasts: 10s, pause: 10s, faults: [version_upgrade]}";
        let scenario = Scenario::parse(&format!("for: 90s\n{text}")).unwrap();
        let config = LabConfig::from_scenario("coredns", &scenario).unwrap();
        assert!(phases(&scenario, &config).unwrap().iter().all(|phase| phase.fault.is_none()));
    }

    #[test]
    fn what_a_release_does_not_know_is_refused() {
        let scenario = Scenario::parse("coredns: 1.8.4\ncorefile: kubeadm_new").unwrap();
        let error = LabConfig::from_scenario("coredns", &scenario).unwrap_err().to_string();
        assert!(error.contains("needs CoreDNS 1.10.1 or later"), "{error}");
    }
}
