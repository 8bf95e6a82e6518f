//! Why samples of a request that is sound as a whole are not taken, and how many.

/// Why a sample was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The same series, time and value as the last sample of the series: a repeated request.
    Duplicate,
    /// The same series and time as the last sample, with another value.
    Conflicting,
    /// Older than the last sample of its series.
    OutOfOrder,
    /// Further in the future than [`super::WriteLimits::max_future`].
    TooNew,
    /// Further in the past than [`super::WriteLimits::max_past`].
    TooOld,
    /// No metric name, a name twice or empty, text that is no UTF-8, or beyond a limit.
    Labels,
    /// A new series where [`super::WriteLimits::max_known_series`] are known.
    TooManySeries,
    /// A native histogram, which nothing here reads.
    Histogram,
}

impl Refusal {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Duplicate,
        Self::Conflicting,
        Self::OutOfOrder,
        Self::TooNew,
        Self::TooOld,
        Self::Labels,
        Self::TooManySeries,
        Self::Histogram,
    ];

    /// For a label value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Conflicting => "conflicting",
            Self::OutOfOrder => "out_of_order",
            Self::TooNew => "too_new",
            Self::TooOld => "too_old",
            Self::Labels => "labels",
            Self::TooManySeries => "too_many_series",
            Self::Histogram => "histogram",
        }
    }

    /// In words, behind a number of samples.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Duplicate => "sent again",
            Self::Conflicting => "with another value than the one already there for their time",
            Self::OutOfOrder => "older than the last one of their series",
            Self::TooNew => "too far in the future: compare the clocks",
            Self::TooOld => "too far in the past",
            Self::Labels => "with labels that are not valid",
            Self::TooManySeries => "of new series, with too many series already",
            Self::Histogram => "that are native histograms, which are not kept",
        }
    }
}

/// What a request held and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteCounts {
    /// Series with samples.
    pub series: u64,
    /// Series among them that were known from an earlier request, so that no label was read.
    pub recognised: u64,
    /// Samples that were taken.
    pub taken: u64,
    /// Exemplars, which are not kept.
    pub exemplars: u64,
    /// Descriptions of metrics, which are not kept.
    pub metadata: u64,
    refused: [u64; Refusal::ALL.len()],
}

impl WriteCounts {
    /// How many samples were not taken for this reason.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize]
    }

    /// Whether the sender did something wrong. A duplicate is none: nothing is missing.
    pub fn is_partial(&self) -> bool {
        Refusal::ALL.iter().any(|r| *r != Refusal::Duplicate && self.refused(*r) > 0)
    }

    pub(super) fn refuse(&mut self, refusal: Refusal, n: u64) {
        self.refused[refusal as usize] += n;
    }
}
