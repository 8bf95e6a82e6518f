//! The command as its users see it: exit codes, files, output, the page, and the whole way of the
//! data on a real CoreDNS.

// With `cfg(test)` the lints know that all of it is test code.
#[cfg(test)]
mod arrival;
#[cfg(test)]
mod backfill;
#[cfg(test)]
mod backfill_trouble;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod causes;
#[cfg(test)]
mod child;
#[cfg(test)]
mod collecting;
#[cfg(test)]
mod collection;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod datasets;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod detectors;
#[cfg(test)]
mod end_to_end;
#[cfg(test)]
mod http;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod learning;
#[cfg(test)]
mod made;
#[cfg(test)]
mod oddns;
#[cfg(test)]
mod own_models;
#[cfg(test)]
mod packaging;
#[cfg(test)]
mod received;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod sending;
#[cfg(test)]
mod simulate;
#[cfg(test)]
mod updates;
#[cfg(test)]
mod watched;

/// The folder of the real programs to test against; `None`, with a line why, when not installed.
#[cfg(test)]
fn peers(test: &str) -> Option<std::path::PathBuf> {
    let peers = std::env::var_os("ODDNS_PEERS");
    if peers.is_none() {
        println!("skipped {test}: ODDNS_PEERS names no folder with the programs to test against");
    }
    peers.map(Into::into)
}
