//! Which servers of simulated fleets a shared model fits badly, and what a model of their own is worth:
//! prints a JSON line for each fleet.
//!
//! `own_models [FLEET…] [--seed N] [--days N] [--network]`, where a fleet is `alike`, or three servers alike
//! beside one that is `tuned`, `release`, `zone`, `load` or `idle`; all of them when none is named. The
//! model is trained on the first four days of all servers (`knows_it: true`), or of those that are alike,
//! and the rest of the days is what an update looks at.
#![expect(clippy::print_stdout, reason = "its results are lines for people and programs to read")]

use std::ops::ControlFlow;
use std::sync::Arc;

use anyhow::{Context, Result};
use oddns::{
    BAD_MISFIT, Detector, DetectorKind, GateMargins, History, Injection, Middle, TrainOptions,
    Trial, UpdateOptions, compare_own, extract_fleet, middle_of_fleet, misfit,
};
use oddns_core::{Frame, Recording, Timestamp};
use oddns_sim::{FAULTS, Fault, Scenario, Sign, Simulation};
use serde_json::{Value, json};

/// Days that a model is trained on.
const TRAINED: f64 = 4.0;
/// Servers alike.
const ALIKE: usize = 3;
const TRAFFIC: &str = "lookups_per_second: LOAD, node_domain: true, weekend_ratio: 0.6, \
     day: {period: 1d, amplitude_ratio: 0.5, rises_after: 8h}, cron: {every: 1h, lasts: 1m, times: 1.4}";
const UPSTREAMS: &str =
    "upstreams: {count: 2, delay: 1ms, jitter: 3ms, recursion_ratio: 0.15, recursion: 35ms}";
const ZONE: &str = "corefile: zone_file\ntraffic: {lookups_per_second: 900, tcp_ratio: 0.5, \
     mix: {outside: 0, inside: 1, qualified: 5, missing: 2}, \
     day: {period: 1d, amplitude_ratio: 0.1, rises_after: 20h}, cron: {every: 15m, lasts: 3m, times: 3}}";
/// What is unlike, and how its server is made.
const FLEETS: [&str; 6] = ["alike", "tuned", "release", "zone", "load", "idle"];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).map(|text| text.parse::<u64>()).transpose()
    };
    let (seed, days) = (after("--seed")?.unwrap_or(5), after("--days")?.unwrap_or(12));
    let network = arguments.iter().any(|argument| argument == "--network");
    let kind = if network { DetectorKind::default() } else { "masked_without_network".parse()? };
    let named = |fleet: &&str| arguments.iter().any(|argument| argument == fleet);
    let any = FLEETS.iter().any(named);
    for fleet in FLEETS.iter().filter(|fleet| !any || named(fleet)) {
        let site = Site::new(fleet, seed, days as f64)?;
        for knows_it in [true, false] {
            println!("{}", site.tried(fleet, knows_it, kind)?);
        }
    }
    Ok(())
}

/// How a server of this sort is made.
fn server(sort: &str) -> String {
    let traffic = |load: &str| format!("traffic: {{{}}}", TRAFFIC.replace("LOAD", load));
    match sort {
        "tuned" => format!("corefile: tuned\n{}", traffic("100")),
        "release" => format!("corefile: eks\ncoredns: 1.8.4\n{}", traffic("100")),
        "zone" => ZONE.to_owned(),
        "load" => traffic("400"),
        "idle" => traffic("2"),
        _ => traffic("100"),
    }
}

fn group(sort: &str, n: usize, days: f64, seed: u64) -> Result<Vec<Recording>> {
    let minutes = (days * 1440.0).round();
    let text = format!(
        "for: {minutes}m\nevery: 120s\nservers: {n}\nseed: {seed}\n{}\n{UPSTREAMS}\n",
        server(sort)
    );
    let scenario = Scenario::parse(&text).with_context(|| text.clone())?;
    let recordings = Simulation::new(scenario).record().into_iter();
    Ok(recordings.map(|r| Recording { instance: format!("{sort}.{}", r.instance), ..r }).collect())
}

/// Every fault that CoreDNS's metrics show.
fn suite() -> Vec<Injection> {
    let sign = |sign: Sign| if sign == Sign::Up { 1.0 } else { -1.0 };
    let injection = |fault: &Fault| Injection {
        name: fault.name.to_owned(),
        moves: fault.features.iter().map(|(name, way)| ((*name).to_owned(), sign(*way))).collect(),
    };
    FAULTS.iter().filter(|fault| fault.anomalous && fault.visible).map(injection).collect()
}

/// A fleet; the last server is the one that may be unlike the others.
struct Site {
    names: Vec<String>,
    early: Vec<Frame>,
    late: Vec<Frame>,
}

impl Site {
    fn new(fleet: &str, seed: u64, days: f64) -> Result<Self> {
        let recordings = match fleet {
            "alike" => group("alike", ALIKE + 1, days, seed)?,
            sort => [group("alike", ALIKE, days, seed)?, group(sort, 1, days, seed + 1)?].concat(),
        };
        let frames = extract_fleet(&recordings);
        let start = frames[0].timestamps().first().copied().unwrap_or_default();
        let cut = Timestamp::from_millis(start.millis() + (TRAINED * 86_400_000.0) as i64);
        Ok(Self {
            names: recordings.into_iter().map(|recording| recording.instance).collect(),
            early: frames.iter().map(|frame| frame.between(None, Some(cut))).collect(),
            late: frames.iter().map(|frame| frame.between(Some(cut), None)).collect(),
        })
    }

    /// What an update sees, and what a model of the last server alone comes to.
    fn tried(&self, fleet: &str, knows_it: bool, kind: DetectorKind) -> Result<Value> {
        let n_learned = if knows_it { self.early.len() } else { ALIKE };
        let learned: Vec<&Frame> = self.early[..n_learned].iter().collect();
        let options = TrainOptions { detector: kind, ..TrainOptions::default() };
        let go_on = &mut |_| ControlFlow::Continue(());
        let shared = Arc::new(Detector::fit(&learned, &options, go_on)?);
        let each = self.names.iter().zip(&self.late);
        let history: Vec<History<'_>> =
            each.map(|(instance, frame)| History { instance, frame }).collect();
        let mut middles = Vec::new();
        for one in &history {
            let score = shared.middle(one, &mut |_| ControlFlow::Continue(()))?;
            let instance = one.instance.to_owned();
            middles.extend(score.map(|score| Middle { instance, score }));
        }
        let of_fleet = middle_of_fleet(&middles).unwrap_or(f32::NAN);
        let misfits: Vec<f32> = middles.iter().map(|m| misfit(m.score, of_fleet)).collect();
        let unlike: Vec<&str> = middles
            .iter()
            .zip(&misfits)
            .filter(|(_, misfit)| **misfit >= BAD_MISFIT)
            .map(|(middle, _)| middle.instance.as_str())
            .collect();
        let mut told = json!({
            "fleet": fleet, "knows_it": knows_it, "unlike": unlike, "misfits": misfits,
            "middles": middles.iter().map(|middle| middle.score).collect::<Vec<_>>(),
        });
        self.try_own(&shared, &history, &mut told)?;
        Ok(told)
    }

    fn try_own(
        &self,
        shared: &Arc<Detector>,
        history: &[History<'_>],
        told: &mut Value,
    ) -> Result<()> {
        let Some(last) = history.last() else { return Ok(()) };
        let go_on = &mut |_| ControlFlow::Continue(());
        let updated = match shared.update_alone(last, &[], &UpdateOptions::default(), go_on) {
            Ok(updated) => updated,
            Err(error) => {
                told["own"] = error.to_string().into();
                return Ok(());
            }
        };
        let own = Arc::new(updated.detector);
        let trial = Trial {
            history: std::slice::from_ref(last),
            held_out: &updated.held_out,
            feedback: &[],
            injections: &suite(),
            margins: GateMargins::default(),
        };
        let gate = compare_own(shared, &own, &trial, &mut |_| ControlFlow::Continue(()))?;
        told["own_passed"] = gate.passed.into();
        for check in &gate.checks {
            told[check.name] = json!([check.champion, check.challenger]);
        }
        Ok(())
    }
}
