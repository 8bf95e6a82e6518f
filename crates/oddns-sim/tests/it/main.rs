//! The simulator as its users see it.

#[cfg(test)]
mod effects;
#[cfg(test)]
mod exposition;
#[cfg(test)]
mod properties;
