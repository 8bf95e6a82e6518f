//! Features as a user of the crate sees them: scrapes in, rows out.

// With `cfg(test)` the lints know that all of it is test code.
#[cfg(test)]
mod catalogue;
#[cfg(test)]
mod faults_of_data;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod generations;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod server;
#[cfg(test)]
mod traffic;
