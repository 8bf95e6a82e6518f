//! The crate against real captures, real peers and a server that misbehaves.

// With `cfg(test)` the lints know that all of it is test code.
#[cfg(test)]
mod busy;
#[cfg(test)]
mod captures;
#[cfg(test)]
mod coredns;
#[cfg(test)]
mod discovery;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod history;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod kubernetes;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod misbehaving;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod prometheus;
#[cfg(test)]
mod promtool;
#[cfg(test)]
mod relabel;
#[cfg(test)]
mod remote_write;
#[cfg(test)]
mod target;
#[cfg(test)]
mod textparse;
#[cfg(test)]
mod tls;
