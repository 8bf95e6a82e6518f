//! Clients that resolve names as pods do, at a rate that does not wait for the answers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::LabError;
use crate::sender::Sender;
use crate::tally::{ClientSecond, Seconds};

/// Above this a settings value is a mistake: the lab is for one machine.
const MAX_RATE: f64 = 50_000.0;
const MAX_CLIENTS_PER_SERVER: usize = 64;
const MAX_OUTSIDE_NAMES: usize = 10_000_000;

/// What stays the same while the traffic runs.
#[derive(Debug, Clone, PartialEq)]
pub struct TrafficConfig {
    /// DNS addresses of the servers, loopback only; each lookup goes to one of them by chance.
    pub servers: Vec<SocketAddr>,
    /// Seed of names, kinds and arrival times.
    pub seed: u64,
    /// Client sockets for each server, 1 to 64.
    pub clients_per_server: usize,
    /// How many different outside names there are, 1 to 10 million.
    pub n_outside_names: usize,
    /// How unevenly names are asked for: 0 all alike, 1 as on the internet; 0 to 4.
    pub zipf_exponent: f64,
    /// A question without a reply for this long is asked again or given up.
    pub timeout: Duration,
    /// Whether addresses are looked up that the cluster knows the names of, as the `kubernetes`
    /// plugin does, rather than outside ones.
    pub cluster_addresses: bool,
    /// How often a question is asked again after a timeout (glibc: 1).
    pub retries: u8,
    /// The traffic ends by itself after this.
    pub max_duration: Duration,
}

impl Default for TrafficConfig {
    /// No servers yet; timeout and retries as glibc has them; ends after a day.
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            seed: 0,
            clients_per_server: 4,
            n_outside_names: 500,
            zipf_exponent: 1.0,
            timeout: Duration::from_secs(5),
            cluster_addresses: false,
            retries: 1,
            max_duration: Duration::from_secs(86_400),
        }
    }
}

impl TrafficConfig {
    /// Checks every setting against its range.
    pub(crate) fn check(&self) -> Result<(), LabError> {
        if let Some(&address) = self.servers.iter().find(|server| !server.ip().is_loopback()) {
            return Err(LabError::NotLoopback { address });
        }
        in_range("servers", self.servers.len(), 1, 16, "1 to 16")?;
        let (clients, names) = (self.clients_per_server, self.n_outside_names);
        in_range("clients_per_server", clients, 1, MAX_CLIENTS_PER_SERVER, "1 to 64")?;
        in_range("n_outside_names", names, 1, MAX_OUTSIDE_NAMES, "1 to 10 million")?;
        in_range("zipf_exponent", self.zipf_exponent, 0.0, 4.0, "0 to 4")
    }
}

/// An error unless `low <= value <= high`; NaN is outside every range.
pub(crate) fn in_range<T: PartialOrd + ToString>(
    name: &'static str,
    value: T,
    low: T,
    high: T,
    expected: &'static str,
) -> Result<(), LabError> {
    if value >= low && value <= high {
        return Ok(());
    }
    Err(LabError::Setting { name, value: value.to_string(), expected })
}

/// What may change while the traffic runs.
///
/// Rates are brought into 0 to 50,000 a second (NaN becomes 0). The default is 50 lookups a second,
/// which is about 190 questions a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrafficSettings {
    /// Ordinary lookups begun each second, before the rhythm.
    pub lookups_per_second: f64,
    /// Questions each second for random names that do not exist.
    pub flood_per_second: f64,
    /// Questions each second for names that exist and that nobody asked for before.
    pub unique_per_second: f64,
    /// Questions each second for one and the same name.
    pub hot_per_second: f64,
    /// Times each ordinary lookup is begun at once; 0 counts as 1, more than 20 as 20.
    pub copies: u32,
    /// Share of UDP questions that are lost on the way to the server.
    pub lost_ratio: f64,
    /// The same, of AAAA questions only.
    pub lost_aaaa_ratio: f64,
    /// Share of the lookups that the first server gets; `None` is its even share.
    pub first_server_ratio: Option<f64>,
    /// What the ordinary lookups are about.
    pub mix: Mix,
    /// Share of ordinary lookups over TCP.
    pub tcp_ratio: f64,
    /// Slow rise and fall of the ordinary lookups.
    pub rhythm: Option<Rhythm>,
}

impl Default for TrafficSettings {
    fn default() -> Self {
        Self {
            lookups_per_second: 50.0,
            flood_per_second: 0.0,
            unique_per_second: 0.0,
            hot_per_second: 0.0,
            copies: 1,
            lost_ratio: 0.0,
            lost_aaaa_ratio: 0.0,
            first_server_ratio: None,
            mix: Mix::default(),
            tcp_ratio: 0.01,
            rhythm: None,
        }
    }
}

impl TrafficSettings {
    /// Ordinary lookups a second at `seconds` after the start, within the bound.
    pub(crate) fn lookup_rate(&self, seconds: f64) -> f64 {
        let factor = self.rhythm.map_or(1.0, |rhythm| rhythm.factor(seconds));
        bounded(self.lookups_per_second * factor)
    }

    pub(crate) fn flood_rate(&self) -> f64 {
        bounded(self.flood_per_second)
    }

    pub(crate) fn hot_rate(&self) -> f64 {
        bounded(self.hot_per_second)
    }

    pub(crate) fn unique_rate(&self) -> f64 {
        bounded(self.unique_per_second)
    }
}

fn bounded(rate: f64) -> f64 {
    if rate.is_nan() { 0.0 } else { rate.clamp(0.0, MAX_RATE) }
}

/// Weights of what lookups are about; only their proportions count. Negative and NaN count as 0;
/// when all are 0, every lookup is an in-cluster one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// A and AAAA of services, through the search path.
    pub inside: f64,
    /// A and AAAA of outside names, through the search path: eight questions, six of them NXDOMAIN.
    pub outside: f64,
    /// A and AAAA of outside names with the dot at the end: two questions.
    pub qualified: f64,
    /// SRV of a service.
    pub srv: f64,
    /// PTR of an address, outside or of a service (`TrafficConfig::cluster_addresses`).
    pub ptr: f64,
    /// TXT of an outside name.
    pub txt: f64,
    /// A and AAAA of names of the stub zone, with the dot at the end; 0 where there is none.
    pub stub: f64,
}

impl Default for Mix {
    /// About half of the answers NXDOMAIN, near the 46 % measured in a cluster with `ndots:5`.
    fn default() -> Self {
        Self {
            inside: 0.64,
            outside: 0.18,
            qualified: 0.10,
            srv: 0.04,
            ptr: 0.03,
            txt: 0.01,
            stub: 0.0,
        }
    }
}

/// A sine around the set rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rhythm {
    /// Length of a "day" in seconds.
    pub period_seconds: f64,
    /// Swing as a share of the rate: 0.5 goes from half to one and a half.
    pub amplitude_ratio: f64,
}

impl Rhythm {
    fn factor(&self, seconds: f64) -> f64 {
        let turn = std::f64::consts::TAU * seconds / self.period_seconds;
        1.0 + self.amplitude_ratio * turn.sin()
    }
}

/// Running clients. Dropping it stops them.
#[derive(Debug)]
pub struct Traffic {
    settings: watch::Sender<TrafficSettings>,
    seconds: Seconds,
    task: JoinHandle<()>,
}

impl Traffic {
    /// Opens the client sockets and starts sending. Must be called within a tokio runtime.
    ///
    /// Fails when a setting is out of range or a socket cannot be opened.
    pub async fn start(config: TrafficConfig, settings: TrafficSettings) -> Result<Self, LabError> {
        config.check()?;
        let (settings, changes) = watch::channel(settings);
        let seconds = Seconds::default();
        let sender = Sender::open(config, seconds.clone()).await?;
        let task = tokio::spawn(sender.run(changes));
        Ok(Self { settings, seconds, task })
    }

    /// The settings in force.
    pub fn settings(&self) -> TrafficSettings {
        *self.settings.borrow()
    }

    /// Changes the settings within a millisecond or so.
    pub fn set(&self, settings: TrafficSettings) {
        self.settings.send_replace(settings);
    }

    /// The finished seconds since the last call, oldest first; at most the last day of them.
    pub fn take_seconds(&self) -> Vec<ClientSecond> {
        self.seconds.take()
    }

    /// Stops sending and returns what was not taken yet, the unfinished second included.
    /// Questions without a reply so far are not counted as timeouts.
    pub async fn stop(mut self) -> Vec<ClientSecond> {
        // The sender ends when nobody can change its settings any more.
        let (dropped, _) = watch::channel(TrafficSettings::default());
        drop(std::mem::replace(&mut self.settings, dropped));
        // An error means it has panicked; what it counted until then is still good.
        let _ = (&mut self.task).await;
        self.seconds.take()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TrafficConfig {
        TrafficConfig { servers: vec![([127, 0, 0, 1], 53).into()], ..TrafficConfig::default() }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let bad = [
            (TrafficConfig { servers: vec![], ..config() }, "servers"),
            (TrafficConfig { clients_per_server: 0, ..config() }, "clients_per_server"),
            (TrafficConfig { n_outside_names: 0, ..config() }, "n_outside_names"),
            (TrafficConfig { zipf_exponent: f64::NAN, ..config() }, "zipf_exponent"),
            (TrafficConfig { servers: vec![([8, 8, 8, 8], 53).into()], ..config() }, "8.8.8.8"),
        ];
        for (config, named) in bad {
            let message = config.check().unwrap_err().to_string();
            assert!(message.contains(named), "{message}");
        }
        assert!(config().check().is_ok());
    }

    #[test]
    fn rates_stay_within_the_bound() {
        let rate = |lookups_per_second| {
            TrafficSettings { lookups_per_second, ..TrafficSettings::default() }.lookup_rate(0.0)
        };
        for (given, expected) in
            [(1e9, MAX_RATE), (-5.0, 0.0), (f64::NAN, 0.0), (f64::INFINITY, MAX_RATE), (7.0, 7.0)]
        {
            assert_eq!(rate(given), expected, "{given}");
        }
    }

    #[test]
    fn the_rhythm_swings_around_the_rate() {
        let rhythm = Some(Rhythm { period_seconds: 40.0, amplitude_ratio: 0.5 });
        let settings =
            TrafficSettings { lookups_per_second: 100.0, rhythm, ..TrafficSettings::default() };
        assert_eq!(settings.lookup_rate(10.0).round(), 150.0);
        assert_eq!(settings.lookup_rate(30.0).round(), 50.0);
    }
}
