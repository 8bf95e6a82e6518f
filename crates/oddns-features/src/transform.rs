//! The scale on which a feature is modelled.

/// How a value in its own unit becomes a number on which a change means the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Transform {
    /// As it is: ratios and anything whose steps count alike over its range.
    Linear,
    /// Natural logarithm of (value + offset): rates, times and sizes, where a change of ×2 counts
    /// the same at any level. The offset is the level below which differences do not matter.
    Log {
        /// In the unit of the value, above zero.
        offset: f32,
    },
}

impl Transform {
    /// To the modelled scale; NaN stays NaN. Values below zero count as zero on a log scale.
    pub fn apply(self, value: f32) -> f32 {
        match self {
            Self::Linear => value,
            // `max` would turn NaN into zero, and a gap into a value.
            Self::Log { offset } if value < 0.0 => offset.ln(),
            Self::Log { offset } => (value + offset).ln(),
        }
    }

    /// Back to the unit of the feature.
    pub fn invert(self, value: f32) -> f32 {
        match self {
            Self::Linear => value,
            Self::Log { offset } => (value.exp() - offset).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_is_undone_and_keeps_gaps() {
        let log = Transform::Log { offset: 0.5 };
        for value in [0.0, 0.1, 3.0, 1e6] {
            assert!((log.invert(log.apply(value)) - value).abs() <= 1e-4 * (1.0 + value));
        }
        assert!(log.apply(f32::NAN).is_nan());
        assert_eq!(log.apply(-3.0), log.apply(0.0));
    }
}
