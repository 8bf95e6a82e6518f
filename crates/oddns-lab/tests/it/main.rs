//! The lab as its users see it: clients against an upstream, and whole labs with a real CoreDNS.

#![cfg(test)]

mod coredns;
mod leftovers;
mod loopback;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The CoreDNS binary of `version`; `None`, with a line why, where the peers are not installed.
fn coredns_binary(version: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("ODDNS_PEERS") else {
        println!("skipped: ODDNS_PEERS is not set, `cargo xtask test` sets it");
        return None;
    };
    let binary = PathBuf::from(folder).join(format!("coredns-{version}/coredns"));
    if !binary.exists() {
        println!("skipped: there is no CoreDNS {version} in ODDNS_PEERS");
        return None;
    }
    Some(binary)
}

/// Waits until `done`, looking every few milliseconds; panics with `what` after 20 seconds.
async fn wait_for(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !done().await {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
