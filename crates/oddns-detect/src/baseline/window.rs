//! Mean and spread of each feature over the last rows, in a bounded number of buckets.

use super::rows::{LARGEST, Rows, value};
use super::scale::Scales;
use super::state::{Fields, LARGEST_COUNT, Persist};
use crate::DetectError;

/// Values are cut here, in scales of the feature: what is kept of them has to fit an `f32`. In
/// training none is further than a thousand scales from zero.
pub(crate) const LARGEST_VALUE: f32 = 1e6;

/// Values as multiples of a feature's scale in training: zero stays zero.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Units {
    pub(crate) scales: Scales,
}

impl Units {
    pub(crate) fn fit(normal: Rows<'_>) -> Self {
        Self { scales: Scales::fit(normal) }
    }

    /// NaN where missing.
    pub(crate) fn value(&self, row: &[f32], at: usize) -> f32 {
        (value(row, at) / self.scales.scale[at]).clamp(-LARGEST_VALUE, LARGEST_VALUE)
    }

    /// The smallest spread of feature `at` that makes sense.
    pub(crate) fn floor(&self, at: usize) -> f32 {
        self.scales.floor[at] / self.scales.scale[at]
    }
}

/// What is kept of some values.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Moments {
    n: f32,
    mean: f32,
    /// Sum of squared distances from the mean.
    squares: f32,
}

impl Moments {
    /// Takes a value in; NaN is left out.
    pub(crate) fn take(&mut self, value: f32) {
        if value.is_nan() {
            return;
        }
        self.n += 1.0;
        let distance = value - self.mean;
        self.mean += distance / self.n;
        self.squares += distance * (value - self.mean);
    }

    /// As if all values of both had been taken (Chan, Golub, LeVeque 1983).
    pub(crate) fn and(self, other: Self) -> Self {
        let n = self.n + other.n;
        if n == 0.0 {
            return self;
        }
        let distance = other.mean - self.mean;
        Self {
            n,
            mean: self.mean + distance * (other.n / n),
            squares: self.squares + other.squares + distance * distance * (self.n * other.n / n),
        }
    }

    /// How many values there were.
    pub(crate) fn n(&self) -> f32 {
        self.n
    }

    /// Their mean; 0 without any.
    pub(crate) fn mean(&self) -> f32 {
        self.mean
    }

    /// Their standard deviation; 0 without any.
    pub(crate) fn deviation(&self) -> f32 {
        (self.squares / self.n.max(1.0)).max(0.0).sqrt()
    }
}

/// Moments of each feature over about the last so many rows. Rows leave a bucket at a time, so the
/// window is up to one bucket longer than asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Window {
    width: usize,
    rows_per_bucket: usize,
    n_buckets: usize,
    /// Full buckets of all features; the oldest is overwritten.
    full: Vec<Moments>,
    /// Which of the full buckets is the oldest.
    oldest: usize,
    /// The bucket that is being filled.
    open: Vec<Moments>,
    n_open_rows: usize,
    /// All full buckets taken together; follows from them.
    whole: Vec<Moments>,
}

impl Window {
    /// About `n_rows` rows in at most `most_buckets` buckets, both at least 1.
    pub(crate) fn new(width: usize, n_rows: usize, most_buckets: usize) -> Self {
        let n_rows = n_rows.clamp(1, LARGEST_COUNT);
        let n_buckets = most_buckets.min(n_rows);
        Self {
            width,
            rows_per_bucket: n_rows.div_ceil(n_buckets),
            n_buckets,
            full: vec![Moments::default(); n_buckets * width],
            oldest: 0,
            open: vec![Moments::default(); width],
            n_open_rows: 0,
            whole: vec![Moments::default(); width],
        }
    }

    /// Takes a row in, one value a feature; NaN is left out.
    pub(crate) fn take(&mut self, values: &[f32]) {
        for (moments, value) in self.open.iter_mut().zip(values) {
            moments.take(*value);
        }
        self.n_open_rows += 1;
        if self.n_open_rows >= self.rows_per_bucket {
            self.close();
        }
    }

    fn close(&mut self) {
        let from = self.oldest * self.width;
        self.full[from..from + self.width].copy_from_slice(&self.open);
        self.oldest = (self.oldest + 1) % self.n_buckets;
        self.open.fill(Moments::default());
        self.n_open_rows = 0;
        self.add_up();
    }

    fn add_up(&mut self) {
        self.whole.clear();
        self.whole.resize(self.width, Moments::default());
        for bucket in self.full.chunks_exact(self.width) {
            for (whole, moments) in self.whole.iter_mut().zip(bucket) {
                *whole = whole.and(*moments);
            }
        }
    }

    /// Moments of feature `at` over the window.
    pub(crate) fn moments(&self, at: usize) -> Moments {
        self.whole[at].and(self.open[at])
    }

    /// The fields of a state, for `width` features.
    pub(crate) fn fields(
        &mut self,
        fields: &mut Fields<'_>,
        width: usize,
    ) -> Result<(), DetectError> {
        self.width = width;
        fields.count(&mut self.rows_per_bucket, 1..=LARGEST_COUNT)?;
        fields.count(&mut self.n_buckets, 1..=LARGEST_COUNT)?;
        fields.parts(&mut self.full, self.n_buckets.saturating_mul(width))?;
        fields.count(&mut self.oldest, 0..=self.n_buckets - 1)?;
        fields.parts(&mut self.open, width)?;
        fields.count(&mut self.n_open_rows, 0..=self.rows_per_bucket)?;
        self.add_up();
        Ok(())
    }
}

impl Persist for Moments {
    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        let mut numbers = vec![self.n, self.mean, self.squares];
        fields.list(&mut numbers, 3, LARGEST)?;
        let [n, mean, squares] = numbers[..] else { return Ok(()) };
        if n < 0.0 || squares < 0.0 || mean.abs() > LARGEST_VALUE {
            return Err(super::state::damaged("moments that no values have"));
        }
        *self = Self { n, mean, squares };
        Ok(())
    }
}

impl Persist for Units {
    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        self.scales.fields(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_forgets_a_bucket_at_a_time() {
        let mut window = Window::new(1, 4, 2);
        let seen: Vec<(f32, f32)> = (1..=7)
            .map(|value| {
                window.take(&[value as f32]);
                (window.moments(0).n(), window.moments(0).mean())
            })
            .collect();
        let expected =
            [(1.0, 1.0), (2.0, 1.5), (3.0, 2.0), (4.0, 2.5), (5.0, 3.0), (4.0, 4.5), (5.0, 5.0)];
        assert_eq!(seen, expected);
    }

    #[test]
    fn moments_add_up() {
        let of = |values: &[f32]| {
            let mut moments = Moments::default();
            values.iter().for_each(|value| moments.take(*value));
            moments
        };
        let both = of(&[1.0, 2.0, f32::NAN]).and(of(&[3.0, 6.0]));
        assert_eq!((both.n(), both.mean(), both.deviation()), (4.0, 3.0, 3.5_f32.sqrt()));
        assert_eq!(Moments::default().and(Moments::default()).deviation(), 0.0);
    }
}
