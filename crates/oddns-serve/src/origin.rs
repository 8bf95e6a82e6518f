//! Where the model that judges comes from.

use std::fmt;

/// Where the model that judges comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// The site: its user named it, or the service learned it here.
    #[default]
    Site,
    /// Elsewhere, and nothing of the site is known yet: what it says is told to nobody.
    Elsewhere,
    /// Elsewhere, brought to the site by this many rows of it.
    Calibrated {
        /// Rows of all servers together.
        n_rows: usize,
    },
}

impl Origin {
    /// The word in metrics and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Elsewhere => "base",
            Self::Calibrated { .. } => "calibrated_base",
        }
    }

    /// Whether a model of elsewhere judges.
    pub fn is_base(self) -> bool {
        self != Self::Site
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Site => f.write_str("the site's own model"),
            Self::Elsewhere => {
                f.write_str("the base model, which waits for a first window of this site")
            }
            Self::Calibrated { n_rows } => {
                write!(f, "the base model, calibrated by {n_rows} rows of this site")
            }
        }
    }
}
