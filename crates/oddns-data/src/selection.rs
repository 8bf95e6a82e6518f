//! Which part of data is taken.

use std::path::Path;

use oddns_core::Timestamp;
use oddns_store::Dataset;

use crate::DataError;

/// Which part to take; all of it by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// What is before is left out.
    pub since: Option<Timestamp>,
    /// This time and what is after it is left out.
    pub until: Option<Timestamp>,
    /// The only server that is taken.
    pub instance: Option<String>,
}

impl Selection {
    /// What to learn of `path`: what was asked for, or, without a time, the part that a data set
    /// itself calls normal.
    ///
    /// # Errors
    /// When the description of a data set cannot be read.
    pub fn normal_part_of(&self, path: &Path) -> Result<Self, DataError> {
        if !self.is_whole_time() || !path.is_dir() {
            return Ok(self.clone());
        }
        let dataset = Dataset::read(path)?.unwrap_or_default();
        let (since, until) = (dataset.normal_from, dataset.normal_until);
        Ok(Self { since, until, ..self.clone() })
    }

    /// Whether a time is in it.
    pub(crate) fn holds(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }

    /// Whether a server is in it.
    pub(crate) fn wants(&self, instance: &str) -> bool {
        self.instance.as_deref().is_none_or(|wanted| wanted == instance)
    }

    /// Whether all times are in it.
    pub(crate) fn is_whole_time(&self) -> bool {
        self.since.is_none() && self.until.is_none()
    }

    /// Whether nothing is left out.
    pub(crate) fn is_everything(&self) -> bool {
        self.is_whole_time() && self.instance.is_none()
    }
}
