//! The releases of CoreDNS whose metrics can be made: one a generation of names.

use std::fmt;
use std::str::FromStr;

/// A release of CoreDNS. Later is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Release {
    /// 1.6.9: query types in a family of their own, and as a label of durations.
    V1_6_9,
    /// 1.8.4: the names of 1.7.0; no `cache_requests_total` yet.
    V1_8_4,
    /// 1.10.1: labels `view` and `zones`; the last with `forward_*`.
    V1_10_1,
    /// 1.11.4: upstream metrics are called `proxy_*`.
    V1_11_4,
    /// 1.15.0: the newest known.
    #[default]
    V1_15_0,
}

/// A version that is none of [`Release::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("CoreDNS `{found}` is not known here: there are {known}")]
pub struct UnknownRelease {
    found: String,
    known: String,
}

impl Release {
    /// All of them, oldest first.
    pub const ALL: [Self; 5] =
        [Self::V1_6_9, Self::V1_8_4, Self::V1_10_1, Self::V1_11_4, Self::V1_15_0];

    /// As `coredns_build_info` has it, such as `1.15.0`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_6_9 => "1.6.9",
            Self::V1_8_4 => "1.8.4",
            Self::V1_10_1 => "1.10.1",
            Self::V1_11_4 => "1.11.4",
            Self::V1_15_0 => "1.15.0",
        }
    }

    /// The one that an upgrade leads to; of the newest the one before, which is a rollback.
    pub const fn other(self) -> Self {
        match self {
            Self::V1_6_9 => Self::V1_8_4,
            Self::V1_8_4 => Self::V1_10_1,
            Self::V1_10_1 => Self::V1_11_4,
            Self::V1_11_4 => Self::V1_15_0,
            Self::V1_15_0 => Self::V1_11_4,
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Release {
    type Err = UnknownRelease;

    fn from_str(text: &str) -> Result<Self, UnknownRelease> {
        let wanted = text.strip_prefix('v').unwrap_or(text);
        Self::ALL.into_iter().find(|release| release.as_str() == wanted).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            UnknownRelease { found: text.chars().take(60).collect(), known }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_is_found_by_its_name() {
        for release in Release::ALL {
            assert_eq!(release.to_string().parse(), Ok(release));
            assert_ne!(release.other(), release);
        }
        assert_eq!("v1.10.1".parse(), Ok(Release::V1_10_1));
        let message = "1.15".parse::<Release>().unwrap_err().to_string();
        assert!(message.contains("`1.15`") && message.contains(" 1.15.0"), "{message}");
    }
}
