//! Decisions as an operator sees them: scores in, alarms and incidents out.

// With `cfg(test)` the lints know that all of it is test code.
#[cfg(test)]
mod baseline;
#[cfg(test)]
mod calibration;
#[cfg(test)]
mod causes;
#[cfg(test)]
mod incidents;
#[cfg(test)]
mod persistence;
#[cfg(test)]
mod scenario;
