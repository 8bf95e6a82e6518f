//! The few directions in which features move together.

use super::eigen::symmetric;
use super::rows::LARGEST;
use super::scale::STATIC_CLIP;
use super::state::Fields;
use crate::DetectError;

/// Columns that are looked at together. A wider table is judged in blocks of adjacent columns:
/// what one row costs, and what has to be kept, then grows with the width and not with its square.
pub(crate) const BLOCK: usize = 64;

/// Share of the variance that the directions of a block hold between them, as in most published
/// uses of the method.
const EXPLAINED: f64 = 0.9;
/// A direction goes when the others hold more than this: a little more, or one would come and go.
const ENOUGH: f32 = 0.91;
/// A vector below this length has no direction but that of rounding.
const SHORTEST: f32 = 1e-12;
/// Sums that a product of vectors is made of.
const SUMS: usize = 16;

/// Elements of a direction are not above 1, but for rounding.
const LONGEST: f32 = 1.001;

/// Principal directions of one block of adjacent columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Block {
    /// How many columns the block has, 1 to [`BLOCK`].
    width: usize,
    /// Covariance of the columns: of each row what is not below the diagonal, one after the other.
    covariance: Vec<f32>,
    /// Directions of length 1, one after the other, that rows are judged by.
    directions: Vec<f32>,
    /// Those that follow the covariance, that with the largest variance first.
    coming: Vec<f32>,
    /// Variance along each of them.
    variances: Vec<f32>,
    /// The one that follows next; as many as there are when it is time to see whether they are
    /// enough.
    next: usize,
    /// Where a direction is made; nothing of it lasts.
    scratch: Vec<f32>,
}

impl Block {
    /// `width` features that do not move.
    fn new(width: usize) -> Self {
        let covariance = vec![0.0; width * (width + 1) / 2];
        Self { width, covariance, scratch: vec![0.0; width], ..Self::default() }
    }

    /// Moves the covariance by `weight` towards that of `z`.
    fn take(&mut self, z: &[f32], weight: f32) {
        let mut rest = self.covariance.as_mut_slice();
        for (at, value) in z.iter().enumerate() {
            let (row, others) = std::mem::take(&mut rest).split_at_mut(self.width - at);
            for (element, other) in row.iter_mut().zip(&z[at..]) {
                *element += weight * (value * other - *element);
            }
            rest = others;
        }
    }

    /// The diagonal.
    fn own_variances(&self) -> impl Iterator<Item = f32> {
        let mut at = 0;
        (0..self.width).rev().map(move |n_after| {
            let variance = self.covariance[at];
            at += n_after + 1;
            variance
        })
    }

    /// Finds the directions anew.
    fn turn(&mut self) {
        let mut matrix = vec![vec![0.0; self.width]; self.width];
        let mut elements = self.covariance.iter().map(|element| f64::from(*element));
        for at in 0..self.width {
            for (other, element) in (at..self.width).zip(elements.by_ref()) {
                (matrix[at][other], matrix[other][at]) = (element, element);
            }
        }
        let eigen = symmetric(matrix);
        let whole: f64 = eigen.values.iter().map(|value| value.max(0.0)).sum();
        let mut held = 0.0;
        self.coming.clear();
        self.variances.clear();
        self.next = 0;
        for (value, vector) in eigen.values.iter().zip(&eigen.vectors) {
            if held >= EXPLAINED * whole {
                break;
            }
            held += value;
            self.variances.push(*value as f32);
            self.coming.extend(vector.iter().map(|element| *element as f32));
        }
        self.take_over();
    }

    /// Judges by the directions that have followed.
    fn take_over(&mut self) {
        self.directions.clone_from(&self.coming);
    }

    /// Lets one direction follow the covariance: a step of orthogonal iteration (Golub & Van Loan,
    /// Matrix Computations, 8.2.4), which is near its end whenever the covariance moves slowly. So
    /// every row costs the same, where finding all directions at once would hold one up for
    /// milliseconds.
    fn follow(&mut self) {
        if self.next >= self.variances.len() {
            self.next = 0;
            return self.suffice();
        }
        let (at, width) = (self.next, self.width);
        self.next += 1;
        let mut made = std::mem::take(&mut self.scratch);
        let direction = &self.coming[at * width..(at + 1) * width];
        self.times(direction, &mut made);
        self.variances[at] = dot(direction, &made).max(0.0);
        remove(&self.coming[..at * width], &mut made);
        if normalise(&mut made) {
            self.coming[at * width..(at + 1) * width].copy_from_slice(&made);
        }
        self.scratch = made;
    }

    /// Adds a direction when they hold too little between them, and lets go of the last when they
    /// hold enough without it.
    fn suffice(&mut self) {
        let whole: f32 = self.own_variances().sum();
        let held: f32 = self.variances.iter().sum();
        let last = self.variances.last().copied().unwrap_or_default();
        if held < EXPLAINED as f32 * whole && self.variances.len() < self.width {
            self.add();
        } else if !self.variances.is_empty() && held - last >= ENOUGH * whole {
            self.variances.pop();
            self.coming.truncate(self.variances.len() * self.width);
        }
    }

    /// Adds a direction that begins where most of the variance is left.
    fn add(&mut self) {
        let mut left: Vec<f32> = self.own_variances().collect();
        for (direction, variance) in self.coming.chunks_exact(self.width).zip(&self.variances) {
            for (left, element) in left.iter_mut().zip(direction) {
                *left -= variance * element * element;
            }
        }
        let most = (0..self.width).max_by(|a, b| left[*a].total_cmp(&left[*b]));
        let mut axis = vec![0.0; self.width];
        axis[most.unwrap_or_default()] = 1.0;
        let mut made = vec![0.0; self.width];
        self.times(&axis, &mut made);
        remove(&self.coming, &mut made);
        if normalise(&mut made) {
            self.coming.extend(made);
            self.variances.push(0.0);
        }
    }

    /// The covariance times `direction`.
    fn times(&self, direction: &[f32], product: &mut [f32]) {
        product.fill(0.0);
        let mut rest = self.covariance.as_slice();
        for (at, along) in direction.iter().enumerate() {
            let (row, others) = rest.split_at(self.width - at);
            product[at] += dot(row, &direction[at..]);
            for (sum, element) in product[at + 1..].iter_mut().zip(&row[1..]) {
                *sum += along * element;
            }
            rest = others;
        }
    }

    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        let n_elements = self.width * (self.width + 1) / 2;
        fields.list(&mut self.covariance, n_elements, STATIC_CLIP * STATIC_CLIP)?;
        let (width, mut n_directions) = (self.width, self.directions.len() / self.width);
        fields.count(&mut n_directions, 0..=width)?;
        fields.list(&mut self.directions, n_directions * width, LONGEST)?;
        let mut n_coming = self.variances.len();
        fields.count(&mut n_coming, 0..=width)?;
        fields.list(&mut self.coming, n_coming * width, LONGEST)?;
        fields.list(&mut self.variances, n_coming, LARGEST)?;
        fields.count(&mut self.next, 0..=n_coming)
    }
}

/// Takes out of `z` what lies along `directions`, which are at right angles: taking them out one
/// after the other takes all of them out.
fn remove(directions: &[f32], z: &mut [f32]) {
    for direction in directions.chunks_exact(z.len()) {
        let along = dot(direction, z);
        for (z, d) in z.iter_mut().zip(direction) {
            *z -= along * d;
        }
    }
}

/// Makes `vector` 1 long. False, and not done, when it is too short to have a direction.
fn normalise(vector: &mut [f32]) -> bool {
    let length = dot(vector, vector).sqrt();
    if length < SHORTEST {
        return false;
    }
    vector.iter_mut().for_each(|element| *element /= length);
    true
}

/// In sums side by side: one would be one long chain of additions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; SUMS];
    let (whole_a, whole_b) = (a.chunks_exact(SUMS), b.chunks_exact(SUMS));
    let rest = whole_a.remainder().iter().zip(whole_b.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in whole_a.zip(whole_b) {
        for at in 0..SUMS {
            sums[at] += a[at] * b[at];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Principal directions of all columns, block by block.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Subspace {
    blocks: Vec<Block>,
}

impl Subspace {
    /// `width` features that do not move.
    pub(crate) fn new(width: usize) -> Self {
        let size = |from| BLOCK.min(width - from);
        Self { blocks: (0..width).step_by(BLOCK).map(|from| Block::new(size(from))).collect() }
    }

    /// Moves the covariance by `weight`, 0 to 1, towards that of the standardised row `z`.
    pub(crate) fn take(&mut self, z: &[f32], weight: f32) {
        for (block, z) in self.blocks.iter_mut().zip(z.chunks(BLOCK)) {
            block.take(z, weight);
        }
    }

    /// Finds the directions of the covariance as it is now.
    pub(crate) fn turn(&mut self) {
        self.blocks.iter_mut().for_each(Block::turn);
    }

    /// Lets the directions that are coming follow the covariance, one of each block.
    pub(crate) fn follow(&mut self) {
        self.blocks.iter_mut().for_each(Block::follow);
    }

    /// Takes the directions that have followed for those that rows are judged by.
    pub(crate) fn take_over(&mut self) {
        self.blocks.iter_mut().for_each(Block::take_over);
    }

    /// Leaves of the standardised row `z` what the directions do not account for.
    pub(crate) fn remove(&self, z: &mut [f32]) {
        for (block, z) in self.blocks.iter().zip(z.chunks_mut(BLOCK)) {
            remove(&block.directions, z);
        }
    }

    /// The fields of a state, for a table of `width` columns.
    pub(crate) fn fields(
        &mut self,
        fields: &mut Fields<'_>,
        width: usize,
    ) -> Result<(), DetectError> {
        if matches!(fields, Fields::Read(_)) {
            *self = Self::new(width);
        }
        self.blocks.iter_mut().try_for_each(|block| block.fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of `width` features that three hidden ones and a little noise make, moving together in
    /// another way from row `turn` on.
    fn row(at: usize, turn: usize, width: usize) -> Vec<f32> {
        let hidden: Vec<f32> =
            (1..4).map(|k| (4 - k) as f32 * (at as f32 * (0.1 + 0.7 * k as f32)).sin()).collect();
        let way = if at < turn { 1.0 } else { 2.0 };
        let noise = |j: usize| ((at * 7919 + j * 104_729) % 1009) as f32 / 5045.0 - 0.1;
        let mixed = |j: usize| {
            let parts = hidden.iter().enumerate();
            parts.map(|(k, h)| h * (way * (j + 1) as f32 * (k + 1) as f32).cos()).sum::<f32>()
        };
        (0..width).map(|j| mixed(j) + noise(j)).collect()
    }

    fn left(subspace: &Subspace, mut z: Vec<f32>) -> f32 {
        subspace.remove(&mut z);
        dot(&z, &z).sqrt()
    }

    #[test]
    fn directions_that_follow_are_those_that_are_found_anew() {
        let (width, turn) = (70, 1500);
        let mut subspace = Subspace::new(width);
        for at in 0..1000 {
            subspace.take(&row(at, turn, width), 1.0 / (at + 1) as f32);
        }
        subspace.turn();
        for at in 1000..4000 {
            subspace.take(&row(at, turn, width), 0.005);
            subspace.follow();
            subspace.take_over();
            if at % 250 != 249 {
                continue;
            }
            let mut anew = subspace.clone();
            anew.turn();
            let held = |of: &Subspace| of.blocks.iter().flat_map(|b| &b.variances).sum::<f32>();
            assert!(held(&subspace) > 0.98 * held(&anew), "row {at}: {subspace:?}");
            if !(turn..turn + 700).contains(&at) {
                let (z, rest) = (row(at, turn, width), left(&anew, row(at, turn, width)));
                let found = left(&subspace, z);
                assert!((found - rest).abs() < 0.1 + 0.05 * rest, "row {at}: {found} and {rest}");
            }
        }
    }

    #[test]
    fn directions_come_and_go_with_the_variance() {
        let mut subspace = Subspace::new(4);
        let count = |subspace: &Subspace| subspace.blocks[0].variances.len();
        for at in 0..400 {
            let value = if at % 2 == 0 { 1.0 } else { -1.0 };
            subspace.take(&[value, value, 0.0, 0.0], 0.05);
            subspace.follow();
            subspace.take_over();
        }
        assert_eq!(count(&subspace), 1);
        assert!(left(&subspace, vec![3.0, 3.0, 0.0, 0.0]) < 1e-3);
        for at in 0..400 {
            let (a, b) = ((at % 2) as f32 - 0.5, (at / 2 % 2) as f32 - 0.5);
            subspace.take(&[a, a, b, -b], 0.05);
            subspace.follow();
            subspace.take_over();
        }
        assert_eq!(count(&subspace), 2);
        assert!(left(&subspace, vec![1.0, 1.0, 2.0, -2.0]) < 1e-2);
        for _ in 0..3000 {
            subspace.take(&[0.0; 4], 0.05);
            subspace.follow();
            subspace.take_over();
        }
        assert!(left(&subspace, vec![1.0; 4]).is_finite());
    }
}
