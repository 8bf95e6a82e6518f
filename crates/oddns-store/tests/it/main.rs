//! Files written are the files read, and no file makes the reader panic.

// The attribute tells clippy that helpers in here are test code too.
#[cfg(test)]
mod checksums;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod datasets;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod history;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod live;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod torture;
