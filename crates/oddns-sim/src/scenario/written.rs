//! What a person writes in a scenario file, and how it becomes a [`Scenario`].

use oddns_core::Timestamp;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::{
    Campaign, Corefile, Cron, Day, Machine, Mix, PlannedFault, Scenario, ScenarioError, Traffic,
    Upstreams,
};
use crate::conditions::MAX_UPSTREAMS;
use crate::fault::{FAULTS, Fault, fault};
use crate::nearest::nearest;
use crate::release::Release;
use crate::span::Span;

/// No scenario written by a person comes near; guards against a wrong file.
const MAX_BYTES: usize = 1 << 20;
const MAX_SERVERS: usize = 1000;
const MAX_FAULTS: usize = 100_000;
/// A Monday, so that a week begins with working days.
const START: Timestamp = Timestamp::from_millis(1_767_571_200_000);

type Text = Option<Spanned<String>>;
type Number = Option<Spanned<f64>>;
/// A whole one, within the range of what it counts.
type Count = Option<Spanned<f64>>;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Written {
    version: Option<Spanned<u64>>,
    name: Option<String>,
    description: Option<String>,
    start: Text,
    #[serde(rename = "for")]
    length: Text,
    every: Text,
    warm_up: Text,
    servers: Count,
    coredns: Text,
    corefile: Text,
    seed: Option<u64>,
    traffic: WrittenTraffic,
    upstreams: WrittenUpstreams,
    machine: WrittenMachine,
    faults: Vec<WrittenFault>,
    campaign: Option<WrittenCampaign>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenTraffic {
    lookups_per_second: Number,
    mix: WrittenMix,
    tcp_ratio: Number,
    dnssec_ok_ratio: Number,
    ipv4_only_ratio: Number,
    edns_ratio: Number,
    programming_seconds: Number,
    outside_names: Count,
    services: Count,
    zipf_exponent: Number,
    cluster_ttl: Text,
    upstream_ttl: Text,
    node_domain: Option<bool>,
    unrest: Number,
    day: Option<WrittenDay>,
    weekend_ratio: Number,
    yearly_growth: Number,
    season_ratio: Number,
    cron: Option<WrittenCron>,
    changes_per_second: Number,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenMix {
    inside: Number,
    outside: Number,
    qualified: Number,
    srv: Number,
    ptr: Number,
    txt: Number,
    stub: Number,
    missing: Number,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenDay {
    period: Text,
    amplitude_ratio: Number,
    rises_after: Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenCron {
    every: Text,
    lasts: Text,
    times: Number,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenUpstreams {
    count: Count,
    delay: Text,
    jitter: Text,
    recursion_ratio: Number,
    recursion: Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenMachine {
    answer_seconds: Number,
    busy_ratio: Number,
    busy_seconds: Number,
    query_cpu_seconds: Number,
    exchange_cpu_seconds: Number,
    idle_cpu_ratio: Number,
    resident_bytes: Number,
    heap_bytes: Number,
    health_seconds: Number,
    goroutines: Number,
    open_files: Number,
    scrape_seconds: Number,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFault {
    kind: Spanned<String>,
    at: Spanned<String>,
    #[serde(rename = "for")]
    length: Spanned<String>,
    strength: Number,
    server: Count,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenCampaign {
    after: Text,
    lasts: Text,
    pause: Text,
    shuffled: Option<bool>,
    repeats: Option<bool>,
    faults: Option<Spanned<Vec<Spanned<String>>>>,
    without: Option<Vec<Spanned<String>>>,
}

pub(super) fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    if text.len() > MAX_BYTES {
        let message = format!(
            "the file has {} bytes, a scenario has at most {MAX_BYTES}: is it the right file?",
            text.len()
        );
        return Err(ScenarioError { line: 1, column: 1, message });
    }
    let written: Option<Written> =
        serde_saphyr::from_str(text).map_err(|error| parse_error(&error))?;
    resolve(written.unwrap_or_default())
}

fn resolve(written: Written) -> Result<Scenario, ScenarioError> {
    if let Some(version) = written.version.as_ref().filter(|version| version.value != 1) {
        let message = format!("version {} is not known: write `version: 1`", version.value);
        return Err(at(&version.referenced, message));
    }
    let servers = count("servers", &written.servers, 2, 1, MAX_SERVERS)?;
    let length = span(&written.length, "1d")?;
    let corefile = value(&written.corefile, Corefile::default(), str::parse::<Corefile>)?;
    if written.faults.len() > MAX_FAULTS {
        let message = format!("more than {MAX_FAULTS} faults: make several data sets");
        return Err(ScenarioError { line: 1, column: 1, message });
    }
    Ok(Scenario {
        version: written.version.map(|version| version.value),
        name: written.name.unwrap_or_else(|| "scenario".to_owned()),
        description: written.description.unwrap_or_default(),
        start: value(&written.start, START, str::parse::<Timestamp>)?,
        length,
        every: span(&written.every, "15s")?,
        warm_up: span(&written.warm_up, "15m")?,
        servers,
        coredns: value(&written.coredns, Release::default(), str::parse::<Release>)?,
        corefile,
        seed: written.seed.unwrap_or(1),
        traffic: traffic(written.traffic, corefile)?,
        upstreams: upstreams(&written.upstreams)?,
        machine: machine(&written.machine, Machine::usual(corefile))?,
        faults: written
            .faults
            .iter()
            .map(|fault| planned(fault, servers))
            .collect::<Result<_, _>>()?,
        campaign: written.campaign.as_ref().map(campaign).transpose()?,
    })
}

fn traffic(written: WrittenTraffic, corefile: Corefile) -> Result<Traffic, ScenarioError> {
    let usual = Traffic::default();
    let seconds = |text: &Text, usual: f64| {
        value(text, usual, |text| text.parse::<Span>().map(Span::as_seconds))
    };
    Ok(Traffic {
        lookups_per_second: number(
            "lookups_per_second",
            &written.lookups_per_second,
            usual.lookups_per_second,
            0.0,
            1e6,
        )?,
        mix: mix(&written.mix, corefile)?,
        tcp_ratio: share("tcp_ratio", &written.tcp_ratio, usual.tcp_ratio)?,
        dnssec_ok_ratio: share("dnssec_ok_ratio", &written.dnssec_ok_ratio, usual.dnssec_ok_ratio)?,
        ipv4_only_ratio: share("ipv4_only_ratio", &written.ipv4_only_ratio, 0.0)?,
        edns_ratio: share("edns_ratio", &written.edns_ratio, 0.0)?,
        programming_seconds: number(
            "programming_seconds",
            &written.programming_seconds,
            usual.programming_seconds,
            1e-4,
            1000.0,
        )?,
        n_outside_names: count(
            "outside_names",
            &written.outside_names,
            usual.n_outside_names,
            1,
            10_000_000,
        )?,
        n_services: count("services", &written.services, usual.n_services, 1, 100_000)?,
        zipf_exponent: number("zipf_exponent", &written.zipf_exponent, 1.0, 0.0, 4.0)?,
        cluster_ttl_seconds: seconds(&written.cluster_ttl, corefile.cluster_ttl_seconds())?,
        upstream_ttl_seconds: seconds(&written.upstream_ttl, usual.upstream_ttl_seconds)?,
        node_domain: written.node_domain.unwrap_or(usual.node_domain),
        unrest: number("unrest", &written.unrest, usual.unrest, 0.0, 2.0)?,
        day: written.day.as_ref().map(day).transpose()?,
        weekend_ratio: number("weekend_ratio", &written.weekend_ratio, 1.0, 0.0, 10.0)?,
        yearly_growth: number("yearly_growth", &written.yearly_growth, 1.0, 0.1, 10.0)?,
        season_ratio: share("season_ratio", &written.season_ratio, 0.0)?,
        cron: written.cron.as_ref().map(cron).transpose()?,
        load: None,
        changes_per_second: number(
            "changes_per_second",
            &written.changes_per_second,
            usual.changes_per_second,
            0.0,
            1000.0,
        )?,
    })
}

/// Without a stub zone nobody asks for its names.
fn mix(written: &WrittenMix, corefile: Corefile) -> Result<Mix, ScenarioError> {
    let usual = Mix::default();
    let weight = |name, written, usual| number(name, written, usual, 0.0, 1e6);
    Ok(Mix {
        inside: weight("inside", &written.inside, usual.inside)?,
        outside: weight("outside", &written.outside, usual.outside)?,
        qualified: weight("qualified", &written.qualified, usual.qualified)?,
        srv: weight("srv", &written.srv, usual.srv)?,
        ptr: weight("ptr", &written.ptr, usual.ptr)?,
        txt: weight("txt", &written.txt, usual.txt)?,
        stub: weight("stub", &written.stub, usual.stub)? * f64::from(u8::from(corefile.has_stub())),
        missing: weight("missing", &written.missing, usual.missing)?,
    })
}

fn day(written: &WrittenDay) -> Result<Day, ScenarioError> {
    let period = span(&written.period, "1d")?;
    let usual = period.as_seconds() / 3.0;
    Ok(Day {
        period,
        amplitude_ratio: share("amplitude_ratio", &written.amplitude_ratio, 0.5)?,
        rises_after_seconds: value(&written.rises_after, usual, |text| {
            text.parse::<Span>().map(Span::as_seconds)
        })?,
    })
}

fn cron(written: &WrittenCron) -> Result<Cron, ScenarioError> {
    Ok(Cron {
        every: span(&written.every, "1h")?,
        lasts: span(&written.lasts, "1m")?,
        times: number("times", &written.times, 1.5, 0.0, 1000.0)?,
    })
}

fn upstreams(written: &WrittenUpstreams) -> Result<Upstreams, ScenarioError> {
    let usual = Upstreams::default();
    let seconds = |text: &Text, usual: f64| match text {
        Some(zero) if zero.value == "0s" => Ok(0.0),
        Some(short) if short.value.ends_with("us") => {
            let microseconds = short.value.trim_end_matches("us").parse::<u32>();
            microseconds.map(|n| f64::from(n) / 1e6).map_err(|_| {
                at(&short.referenced, format!("`{}` is no number of microseconds", short.value))
            })
        }
        text => value(text, usual, |text| text.parse::<Span>().map(Span::as_seconds)),
    };
    Ok(Upstreams {
        count: count("count", &written.count, usual.count, 1, MAX_UPSTREAMS - 1)?,
        delay_seconds: seconds(&written.delay, usual.delay_seconds)?,
        jitter_seconds: seconds(&written.jitter, usual.jitter_seconds)?,
        recursion_ratio: share("recursion_ratio", &written.recursion_ratio, 0.0)?,
        recursion_seconds: seconds(&written.recursion, usual.recursion_seconds)?,
    })
}

fn machine(written: &WrittenMachine, usual: Machine) -> Result<Machine, ScenarioError> {
    let time = |name, written, usual| number(name, written, usual, 1e-7, 10.0);
    let memory = |name, written, usual| number(name, written, usual, 1e6, 1e12);
    Ok(Machine {
        answer_seconds: time("answer_seconds", &written.answer_seconds, usual.answer_seconds)?,
        busy_ratio: share("busy_ratio", &written.busy_ratio, usual.busy_ratio)?,
        busy_seconds: time("busy_seconds", &written.busy_seconds, usual.busy_seconds)?,
        query_cpu_seconds: time(
            "query_cpu_seconds",
            &written.query_cpu_seconds,
            usual.query_cpu_seconds,
        )?,
        exchange_cpu_seconds: time(
            "exchange_cpu_seconds",
            &written.exchange_cpu_seconds,
            usual.exchange_cpu_seconds,
        )?,
        idle_cpu_ratio: share("idle_cpu_ratio", &written.idle_cpu_ratio, usual.idle_cpu_ratio)?,
        resident_bytes: memory("resident_bytes", &written.resident_bytes, usual.resident_bytes)?,
        heap_bytes: memory("heap_bytes", &written.heap_bytes, usual.heap_bytes)?,
        health_seconds: time("health_seconds", &written.health_seconds, usual.health_seconds)?,
        goroutines: number("goroutines", &written.goroutines, usual.goroutines, 1.0, 1e6)?,
        open_files: number("open_files", &written.open_files, usual.open_files, 1.0, 1e6)?,
        scrape_seconds: time("scrape_seconds", &written.scrape_seconds, usual.scrape_seconds)?,
    })
}

fn planned(written: &WrittenFault, servers: usize) -> Result<PlannedFault, ScenarioError> {
    let fault = known(&written.kind)?;
    let range = fault.strength;
    if let Some(strength) = &written.strength
        && !range.contains(strength.value)
    {
        let message = format!(
            "`strength` of {} is {}: it must be from {} to {} ({})",
            fault.name,
            strength.value,
            range.low,
            range.high,
            if range.what.is_empty() { "it has none" } else { range.what }
        );
        return Err(at(&strength.referenced, message));
    }
    Ok(PlannedFault {
        fault,
        at: required(&written.at)?,
        length: required(&written.length)?,
        strength: written.strength.as_ref().map_or(range.usual, |strength| strength.value),
        server: count("server", &written.server, 0, 0, servers - 1)?,
    })
}

fn campaign(written: &WrittenCampaign) -> Result<Campaign, ScenarioError> {
    let named = |names: &[Spanned<String>]| names.iter().map(known).collect::<Result<Vec<_>, _>>();
    let mut faults = match &written.faults {
        Some(names) => named(&names.value)?,
        None => FAULTS.iter().collect(),
    };
    if let Some(names) = written.faults.as_ref().filter(|names| names.value.is_empty()) {
        let message =
            "`faults` of the campaign is empty: name some, or leave it out for all of them";
        return Err(at(&names.referenced, message));
    }
    let without = named(written.without.as_deref().unwrap_or_default())?;
    faults.retain(|fault| without.iter().all(|other| other.name != fault.name));
    Ok(Campaign {
        after: span(&written.after, "1h")?,
        lasts: span(&written.lasts, "10m")?,
        pause: span(&written.pause, "1h")?,
        shuffled: written.shuffled.unwrap_or(true),
        repeats: written.repeats.unwrap_or(true),
        faults,
    })
}

fn known(name: &Spanned<String>) -> Result<&'static Fault, ScenarioError> {
    fault(&name.value).map_err(|error| at(&name.referenced, error.to_string()))
}

fn required(written: &Spanned<String>) -> Result<Span, ScenarioError> {
    written
        .value
        .parse()
        .map_err(|error: crate::span::SpanError| at(&written.referenced, error.to_string()))
}

fn span(written: &Text, usual: &str) -> Result<Span, ScenarioError> {
    // What is usual stands in this file and is right.
    let usual = usual.parse().unwrap_or(Span::seconds(1.0));
    value(written, usual, str::parse::<Span>)
}

fn value<T, E: ToString>(
    written: &Text,
    usual: T,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<T, ScenarioError> {
    let Some(text) = written else { return Ok(usual) };
    read(&text.value).map_err(|error| at(&text.referenced, error.to_string()))
}

fn share(name: &str, written: &Number, usual: f64) -> Result<f64, ScenarioError> {
    number(name, written, usual, 0.0, 1.0)
}

fn number(
    name: &str,
    written: &Number,
    usual: f64,
    low: f64,
    high: f64,
) -> Result<f64, ScenarioError> {
    match written {
        None => Ok(usual),
        Some(written) if written.value >= low && written.value <= high => Ok(written.value),
        Some(written) => {
            let found = shown(written.value);
            let message = format!("`{name}` is {found}: it must be from {low} to {high}");
            Err(at(&written.referenced, message))
        }
    }
}

fn count(
    name: &str,
    written: &Count,
    usual: usize,
    low: usize,
    high: usize,
) -> Result<usize, ScenarioError> {
    match written {
        None => Ok(usual),
        Some(Spanned { value, .. })
            if value.fract() == 0.0 && (low as f64..=high as f64).contains(value) =>
        {
            Ok(*value as usize)
        }
        Some(Spanned { value, referenced, .. }) => {
            let found = shown(*value);
            let message =
                format!("`{name}` is {found}: it must be a whole number from {low} to {high}");
            Err(at(referenced, message))
        }
    }
}

/// A number as one would write it, however large or small.
fn shown(value: f64) -> String {
    if value == 0.0 || (1e-6..1e15).contains(&value.abs()) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

fn at(place: &Location, message: impl Into<String>) -> ScenarioError {
    ScenarioError { line: place.line(), column: place.column(), message: message.into() }
}

/// The parser's own errors in the words of a scenario.
fn parse_error(error: &serde_saphyr::Error) -> ScenarioError {
    use serde_saphyr::Error;
    let message = match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => {
            let field: String = field.chars().take(60).collect();
            match nearest(&field, expected.iter().copied()) {
                None => format!("unknown key `{field}`: allowed here are {}", expected.join(", ")),
                meant => format!("unknown key `{field}`{}", crate::nearest::meant(meant)),
            }
        }
        Error::SerdeMissingField { field, .. } => format!("the key `{field}` is missing"),
        Error::SerdeInvalidType { unexpected, expected, .. } => {
            format!("expected {expected}, found {unexpected}")
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{key}` is written twice: keep one")
        }
        other => match first_line(&other.to_string()).as_str() {
            "invalid u64" => format!("expected a whole number from 0 to {}", u64::MAX),
            "invalid floating point" => "expected a number".to_owned(),
            "expected sequence start" => "expected a list: `[]` for none of them".to_owned(),
            line if line.starts_with("multiple YAML documents") => {
                "a second document begins here: a file is one scenario".to_owned()
            }
            line => line.to_owned(),
        },
    };
    match error.location() {
        Some(place) => at(&place, message),
        None => ScenarioError { line: 0, column: 0, message },
    }
}

/// Without the place that the parser appends: [`ScenarioError`] has its own.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.split_once(" at line ").map_or(line, |(message, _)| message).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_two_quiet_servers() {
        for text in ["", "{}", "# nothing\n"] {
            let scenario = parse(text).unwrap();
            assert_eq!((scenario.servers, scenario.faults.len()), (2, 0), "{text}");
            assert_eq!(scenario.start.to_string(), "2026-01-05T00:00:00.000Z");
        }
    }

    #[test]
    fn errors_say_where_and_what_was_meant() {
        for (text, expected) in [
            (
                "faults:\n- {kind: upstream_los, at: 1m, for: 1m}\n",
                "line 2, column 10: there is no fault `upstream_los`: did you mean `upstream_loss`?",
            ),
            ("servrs: 3\n", "line 1, column 1: unknown key `servrs`: did you mean `servers`?"),
            (
                "servers: 0\n",
                "line 1, column 10: `servers` is 0: it must be a whole number from 1 to 1000",
            ),
            ("every: 15\n", "line 1, column 8: `15` is no length of time"),
            (
                "coredns: 1.15.1\n",
                "line 1, column 10: CoreDNS `1.15.1` is not known here: there are 1.6.9",
            ),
            (
                "faults: [{kind: upstream_loss, at: 1m, for: 1m, strength: 7}]",
                "line 1, column 59: `strength` of upstream_loss is 7: it must be from 0.1 to 0.6",
            ),
            ("faults: [{kind: restart, at: 1m}]", "the key `for` is missing"),
            ("corefile: kubernetes_", "did you mean `kubernetes`?"),
            ("version: 2", "version 2 is not known"),
            ("gremlins: 2", "line 1, column 1: unknown key `gremlins`: allowed here are version, "),
            (
                "faults: [{kind: gremlins, at: 1m, for: 1m}]",
                "no fault `gremlins`; `oddns lab faults`",
            ),
            ("traffic: {lookups_per_second: 1e300}", "`lookups_per_second` is 1e300: it must be"),
            ("faults:\n", "line 1, column 7: expected a list: `[]` for none of them"),
            ("for: 1h\n---\nfor: 2h\n", "a second document begins here: a file is one scenario"),
            ("campaign: {faults: []}", "line 1, column 20: `faults` of the campaign is empty"),
            ("servers: -1", "`servers` is -1: it must be a whole number from 1 to 1000"),
            ("servers: 1.5", "`servers` is 1.5: it must be a whole number from 1 to 1000"),
            ("servers: .nan", "`servers` is NaN: it must be a whole number"),
            ("servers: many", "line 1, column 10: expected a number"),
            ("seed: -1", "column 7: expected a whole number from 0 to 18446744073709551615"),
            ("seed: 99999999999999999999999", "expected a whole number from 0 to 1844674407"),
            ("for: 1000y", "line 1, column 6: `1000y` is too long"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}\n{message}");
        }
    }

    #[test]
    fn what_makes_no_sense_as_a_whole_is_refused() {
        for (text, told) in [
            ("coredns: 1.8.4\ncorefile: kubeadm_new", "needs CoreDNS 1.10.1 or later"),
            ("for: 1ms", "a scenario of 1ms has no scrape when there is one every 15s"),
            ("for: 1h\nevery: 90m", "a scenario of 1h has no scrape when there is one every 1h30m"),
        ] {
            let message = parse(text).unwrap().check().unwrap_err().to_string();
            assert!(message.contains(told), "{text}\n{message}");
        }
        assert_eq!(parse("for: 15s").unwrap().check(), Ok(()));
    }

    #[test]
    fn what_nobody_will_see_is_remarked() {
        let restart = |at: &str| format!("{{kind: restart, at: {at}, for: 1m}}");
        let faults = format!("faults: [{}, {}, {}]", restart("1m"), restart("1h"), restart("2d"));
        for (text, told) in [
            ("for: 1h".to_owned(), "says no `version`"),
            (format!("version: 1\nfor: 1h\n{faults}"), "before 2 of its 3 faults begin"),
            ("version: 1\nfor: 1h\ncampaign: {after: 2h}".to_owned(), "before its campaign begins"),
        ] {
            let remarks = parse(&text).unwrap().remarks();
            assert!(remarks.len() == 1 && remarks[0].contains(told), "{text}\n{remarks:?}");
        }
        assert!(parse("version: 1\ncampaign: {after: 2h}").unwrap().remarks().is_empty());
        for known in super::super::BUILT_IN {
            assert_eq!(parse(known.text).unwrap().remarks(), [""; 0], "{}", known.name);
        }
    }

    #[test]
    fn a_campaign_takes_all_but_what_is_named() {
        let text = "campaign: {lasts: 30s, without: [restart, reload]}";
        let campaign = parse(text).unwrap().campaign.unwrap();
        assert_eq!(campaign.faults.len(), FAULTS.len() - 2);
        assert_eq!(campaign.lasts.millis(), 30_000);
    }
}
