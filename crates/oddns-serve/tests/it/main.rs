//! The service as its users see it: configuration files, HTTP, metrics, the page.

// With `cfg(test)` the lints know that all of it is test code.
#[cfg(test)]
mod alerts;
#[cfg(test)]
mod api;
#[cfg(test)]
mod bad_targets;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod chart;
#[cfg(test)]
mod clicks;
#[cfg(test)]
mod client;
#[cfg(test)]
mod config;
#[cfg(test)]
mod coredns;
#[cfg(test)]
mod hostile;
#[cfg(test)]
#[path = "../../../oddns-collect/tests/it/messages.rs"]
mod messages;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod packaging;
#[cfg(test)]
mod page;
#[cfg(test)]
mod promtool;
#[cfg(test)]
mod receive;
#[cfg(test)]
mod remote_storage;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod senders;
#[cfg(test)]
mod watch;
#[cfg(test)]
mod web;

/// Whether the real programs to test against are installed; says so in one line when not.
#[cfg(test)]
fn has_peers(test: &str) -> bool {
    let has = std::env::var_os("ODDNS_PEERS").is_some();
    if !has {
        println!("skipped {test}: ODDNS_PEERS names no folder with the programs to test against");
    }
    has
}
