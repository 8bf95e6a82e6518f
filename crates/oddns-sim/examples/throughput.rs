//! How long 30 days of a server take, a scrape every 15 s: prints seconds, scrapes and samples.
#![expect(clippy::print_stdout, reason = "its result is a line for a benchmark to read")]

use std::time::Instant;

use oddns_sim::{Scenario, ScenarioError, Simulation, empty_scrape};

const TEXT: &str = "for: 30d\nservers: 1\ntraffic: {lookups_per_second: 50, node_domain: true, \
                    mix: {stub: 0.03}, day: {amplitude_ratio: 0.5}}\ncampaign: {after: 7d}\n";

fn main() -> Result<(), ScenarioError> {
    let mut simulation = Simulation::new(Scenario::parse(TEXT)?);
    let (mut scrape, mut n_scrapes, mut n_samples) = (empty_scrape(), 0_u64, 0_u64);
    let start = Instant::now();
    while simulation.advance(&mut scrape, |_, _, scrape| {
        n_scrapes += 1;
        n_samples += scrape.samples.len() as u64;
    }) {}
    println!("{:.3} {n_scrapes} {n_samples}", start.elapsed().as_secs_f64());
    Ok(())
}
