//! How far a prediction is from its target.

/// What training makes small: the mean over all entries that count of this.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Loss {
    /// The square of the error.
    MeanSquared,
    /// The size of the error.
    MeanAbsolute,
    /// Half the square up to `delta`, linear beyond.
    Huber {
        /// Where it bends, above 0.
        delta: f64,
    },
}

impl Loss {
    /// The loss of an error (predicted minus true) and its slope.
    pub(super) fn of(self, error: f32) -> (f32, f32) {
        match self {
            Self::MeanSquared => (error * error, 2.0 * error),
            Self::MeanAbsolute if error == 0.0 => (0.0, 0.0),
            Self::MeanAbsolute => (error.abs(), error.signum()),
            Self::Huber { delta } => {
                let delta = delta as f32;
                if error.abs() <= delta {
                    (0.5 * error * error, error)
                } else {
                    (delta * (error.abs() - 0.5 * delta), delta * error.signum())
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_their_definitions() {
        assert_eq!(Loss::MeanSquared.of(-3.0), (9.0, -6.0));
        assert_eq!(Loss::MeanAbsolute.of(-3.0), (3.0, -1.0));
        assert_eq!(Loss::MeanAbsolute.of(0.0), (0.0, 0.0));
        let huber = Loss::Huber { delta: 2.0 };
        assert_eq!((huber.of(1.0), huber.of(-3.0)), ((0.5, 1.0), (4.0, -2.0)));
    }
}
