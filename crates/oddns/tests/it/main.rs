//! Detectors as a program that embeds them sees them: trained, saved, followed live and in batch.

// With `cfg(test)` the lints know that all of it is test code.
#[cfg(test)]
mod any_table;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod budget;
#[cfg(test)]
mod follower;
#[cfg(test)]
mod gate;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod live;
#[cfg(test)]
mod manifest;
#[cfg(test)]
mod recording;
#[cfg(test)]
mod site;
#[cfg(test)]
mod training;
#[cfg(test)]
mod update;
