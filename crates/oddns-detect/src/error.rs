//! What can go wrong in this crate.

/// Why a detector could not be fitted or restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DetectError {
    /// Values that are not one or more whole rows.
    #[error("`{n_values}` values are no rows of `{width}`: pass at least one whole row")]
    Shape {
        /// How many values there are.
        n_values: usize,
        /// Values a row should have.
        width: usize,
    },
    /// Rows that are wider than a detector takes.
    #[error("`{width}` features are more than the `{most}` that can be judged: pass fewer columns")]
    TooWide {
        /// Features there are.
        width: usize,
        /// Features there may be.
        most: usize,
    },
    /// A state that no detector of this kind wrote.
    #[error("state is damaged at number `{at}`: {what}: fit the detector anew")]
    State {
        /// Place in the state.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
}
