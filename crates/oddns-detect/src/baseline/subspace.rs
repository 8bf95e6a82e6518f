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
///
/// Only columns that have ever moved take room: a server never shows many features, and thousands of
/// servers have a block each. Sums are made over all columns all the same, in one order, so that no bit
/// depends on which have moved.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Block {
    /// How many columns the block has, 1 to [`BLOCK`].
    width: usize,
    /// Columns that have ever moved, rising. Covariance and directions are zero in others.
    moved: Box<[u8]>,
    /// Covariance of these columns: of each row what is not below the diagonal, one after the other.
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
}

/// What a [`Block`] keeps, of all of its columns.
struct Whole {
    covariance: Vec<f32>,
    directions: Vec<f32>,
    coming: Vec<f32>,
}

/// Room for the columns of a block.
type Room = [f32; BLOCK];

impl Block {
    /// `width` features that do not move.
    fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    /// Moves the covariance by `weight` towards that of `z`.
    fn take(&mut self, z: &[f32], weight: f32) {
        let n_moved = z.iter().filter(|value| **value != 0.0).count();
        if n_moved > self.moved.iter().filter(|at| z[usize::from(**at)] != 0.0).count() {
            let whole = self.whole();
            let moved = self.moved.clone();
            self.set_whole(&whole, |at| z[at] != 0.0 || moved.contains(&(at as u8)));
        }
        let mut room = [0.0; BLOCK];
        let z = picked(&self.moved, z, &mut room);
        let mut rest = self.covariance.as_mut_slice();
        for (at, value) in z.iter().enumerate() {
            let (row, others) = std::mem::take(&mut rest).split_at_mut(z.len() - at);
            for (element, other) in row.iter_mut().zip(&z[at..]) {
                *element += weight * (value * other - *element);
            }
            rest = others;
        }
    }

    /// The diagonal, of the columns that have moved.
    fn own_variances(&self) -> impl Iterator<Item = f32> {
        let mut at = 0;
        (0..self.moved.len()).rev().map(move |n_after| {
            let variance = self.covariance[at];
            at += n_after + 1;
            variance
        })
    }

    /// Finds the directions anew.
    fn turn(&mut self) {
        let mut whole = self.whole();
        let mut matrix = vec![vec![0.0; self.width]; self.width];
        let mut elements = whole.covariance.iter().map(|element| f64::from(*element));
        for at in 0..self.width {
            for (other, element) in (at..self.width).zip(elements.by_ref()) {
                (matrix[at][other], matrix[other][at]) = (element, element);
            }
        }
        let eigen = symmetric(matrix);
        let all: f64 = eigen.values.iter().map(|value| value.max(0.0)).sum();
        let mut held = 0.0;
        whole.coming.clear();
        self.variances.clear();
        self.next = 0;
        for (value, vector) in eigen.values.iter().zip(&eigen.vectors) {
            if held >= EXPLAINED * all {
                break;
            }
            held += value;
            self.variances.push(*value as f32);
            whole.coming.extend(vector.iter().map(|element| *element as f32));
        }
        whole.directions.clone_from(&whole.coming);
        self.set_whole(&whole, |_| false);
    }

    /// Judges by the directions that have followed.
    fn take_over(&mut self) {
        // A clone has no room to spare, where one vector grown from another may have as much again.
        self.directions = self.coming.clone();
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
        let (at, n_moved) = (self.next, self.moved.len());
        self.next += 1;
        let (mut room, mut made) = ([0.0; BLOCK], [0.0; BLOCK]);
        let made = &mut made[..self.width];
        let direction = &self.coming[at * n_moved..(at + 1) * n_moved];
        let direction = spread(&self.moved, direction, 0, self.width, &mut room);
        self.times(direction, made);
        self.variances[at] = dot(direction, made).max(0.0);
        remove(&self.moved, &self.coming[..at * n_moved], made);
        if normalise(made) {
            let own = picked(&self.moved, made, &mut room);
            self.coming[at * n_moved..(at + 1) * n_moved].copy_from_slice(own);
        }
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
            self.coming.truncate(self.variances.len() * self.moved.len());
        }
    }

    /// Adds a direction that begins where most of the variance is left.
    fn add(&mut self) {
        let (mut room, mut left, mut made) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
        let (left, made) = (&mut left[..self.width], &mut made[..self.width]);
        for (at, variance) in self.moved.iter().zip(self.own_variances()) {
            left[usize::from(*at)] = variance;
        }
        let directions = self.coming.chunks_exact(self.moved.len().max(1));
        for (direction, variance) in directions.zip(&self.variances) {
            let direction = spread(&self.moved, direction, 0, self.width, &mut room);
            for (left, element) in left.iter_mut().zip(direction) {
                *left -= variance * element * element;
            }
        }
        let most = (0..self.width).max_by(|a, b| left[*a].total_cmp(&left[*b]));
        left.fill(0.0);
        left[most.unwrap_or_default()] = 1.0;
        self.times(left, made);
        remove(&self.moved, &self.coming, made);
        if normalise(made) {
            // Room for just one: each of the streams of a fleet would hold twice what it needs.
            self.coming.reserve_exact(self.moved.len());
            self.coming.extend(picked(&self.moved, made, &mut room));
            self.variances.reserve_exact(1);
            self.variances.push(0.0);
        }
    }

    /// The covariance times `direction`, both with all columns.
    fn times(&self, direction: &[f32], product: &mut [f32]) {
        product.fill(0.0);
        let mut room = [0.0; BLOCK];
        let mut rest = self.covariance.as_slice();
        for place in 0..self.moved.len() {
            let at = usize::from(self.moved[place]);
            let (row, others) = rest.split_at(self.moved.len() - place);
            let row = spread(&self.moved[place..], row, at, self.width - at, &mut room);
            product[at] += dot(row, &direction[at..]);
            let along = direction[at];
            for (sum, element) in product[at + 1..].iter_mut().zip(&row[1..]) {
                *sum += along * element;
            }
            rest = others;
        }
    }

    /// See [`Subspace::left_of_each`].
    fn left_of_each(&self) -> Vec<f32> {
        let mut left = vec![0.0; self.width * self.width];
        for (at, row) in left.chunks_exact_mut(self.width).enumerate() {
            row[at] = 1.0;
            remove(&self.moved, &self.directions, row);
        }
        left
    }

    fn whole(&self) -> Whole {
        let mut room = [0.0; BLOCK];
        let mut rest = self.covariance.as_slice();
        let mut covariance = Vec::with_capacity(n_elements(self.width));
        for at in 0..self.width {
            let Ok(place) = self.moved.binary_search(&(at as u8)) else {
                covariance.resize(covariance.len() + self.width - at, 0.0);
                continue;
            };
            let (row, others) = rest.split_at(self.moved.len() - place);
            covariance.extend(spread(&self.moved[place..], row, at, self.width - at, &mut room));
            rest = others;
        }
        let mut all = |directions: &[f32]| {
            let mut all =
                Vec::with_capacity(directions.len() / self.moved.len().max(1) * self.width);
            for direction in directions.chunks_exact(self.moved.len().max(1)) {
                all.extend(spread(&self.moved, direction, 0, self.width, &mut room));
            }
            all
        };
        let (directions, mut coming) = (all(&self.directions), all(&self.coming));
        // Where nothing has moved, directions have no elements of which they could be counted.
        coming.resize(self.variances.len() * self.width, 0.0);
        Whole { covariance, directions, coming }
    }

    /// Keeps what is not zero, and columns that are wanted.
    fn set_whole(&mut self, whole: &Whole, wanted: impl Fn(usize) -> bool) {
        let Whole { covariance, directions, coming } = whole;
        let mut moves: Vec<bool> = (0..self.width).map(wanted).collect();
        let pairs = (0..self.width).flat_map(|at| (at..self.width).map(move |other| (at, other)));
        for ((at, other), element) in pairs.clone().zip(covariance) {
            moves[at] |= *element != 0.0;
            moves[other] |= *element != 0.0;
        }
        for direction in [directions, coming].into_iter().flat_map(|d| d.chunks_exact(self.width)) {
            moves.iter_mut().zip(direction).for_each(|(moves, element)| *moves |= *element != 0.0);
        }
        self.moved = (0..self.width).filter(|at| moves[*at]).map(|at| at as u8).collect();
        let own = pairs.zip(covariance).filter(|((at, other), _)| moves[*at] && moves[*other]);
        self.covariance = Vec::with_capacity(n_elements(self.moved.len()));
        self.covariance.extend(own.map(|(_, element)| *element));
        self.directions = self.own(directions);
        self.coming = self.own(coming);
    }

    /// Of directions with all columns, those that have moved.
    fn own(&self, directions: &[f32]) -> Vec<f32> {
        let mut room = [0.0; BLOCK];
        let mut own = Vec::with_capacity(directions.len() / self.width * self.moved.len());
        for direction in directions.chunks_exact(self.width) {
            own.extend(picked(&self.moved, direction, &mut room));
        }
        own
    }

    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        let (width, mut whole) = (self.width, self.whole());
        fields.list(&mut whole.covariance, n_elements(width), STATIC_CLIP * STATIC_CLIP)?;
        let mut n_directions = whole.directions.len() / width;
        fields.count(&mut n_directions, 0..=width)?;
        fields.list(&mut whole.directions, n_directions * width, LONGEST)?;
        let mut n_coming = self.variances.len();
        fields.count(&mut n_coming, 0..=width)?;
        fields.list(&mut whole.coming, n_coming * width, LONGEST)?;
        fields.list(&mut self.variances, n_coming, LARGEST)?;
        fields.count(&mut self.next, 0..=n_coming)?;
        self.set_whole(&whole, |_| false);
        Ok(())
    }
}

/// Elements of a symmetric matrix that are not below its diagonal.
fn n_elements(width: usize) -> usize {
    width * (width + 1) / 2
}

/// The `width` columns from `from` on: `own` of those that have moved, 0 of others.
fn spread<'a>(
    moved: &[u8],
    own: &'a [f32],
    from: usize,
    width: usize,
    room: &'a mut Room,
) -> &'a [f32] {
    if own.len() == width {
        return own;
    }
    let all = &mut room[..width];
    all.fill(0.0);
    for (at, element) in moved.iter().zip(own) {
        all[usize::from(*at) - from] = *element;
    }
    all
}

/// Of all columns those that have moved.
fn picked<'a>(moved: &[u8], all: &'a [f32], room: &'a mut Room) -> &'a [f32] {
    if moved.len() == all.len() {
        return all;
    }
    for (own, at) in room.iter_mut().zip(moved) {
        *own = all[usize::from(*at)];
    }
    &room[..moved.len()]
}

/// Takes out of `z` what lies along `directions`, which are at right angles: taking them out one
/// after the other takes all of them out.
fn remove(moved: &[u8], directions: &[f32], z: &mut [f32]) {
    let mut room = [0.0; BLOCK];
    for direction in directions.chunks_exact(moved.len().max(1)) {
        let direction = spread(moved, direction, 0, z.len(), &mut room);
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
            remove(&block.moved, &block.directions, z);
        }
    }

    /// What is left of each column alone: of each block, row by row, what a 1 in one of its columns
    /// becomes. Taking out is linear, so that this is all that it does.
    pub(crate) fn left_of_each(&self) -> Vec<Vec<f32>> {
        self.blocks.iter().map(Block::left_of_each).collect()
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
    fn what_is_left_of_each_column_is_all_that_taking_out_does() {
        let mut subspace = Subspace::new(70);
        (0..300).for_each(|at| subspace.take(&row(at, 300, 70), 1.0 / (at + 1) as f32));
        subspace.turn();
        let (z, matrices) = (row(301, 300, 70), subspace.left_of_each());
        let mut taken_out = z.clone();
        subspace.remove(&mut taken_out);
        assert_eq!(matrices.iter().map(Vec::len).collect::<Vec<_>>(), [64 * 64, 6 * 6]);
        for (at, expected) in taken_out.iter().enumerate() {
            let (block, width) = (at / BLOCK, BLOCK.min(70 - at / BLOCK * BLOCK));
            let column = matrices[block].iter().skip(at % BLOCK).step_by(width);
            let product: f32 = z[block * BLOCK..].iter().zip(column).map(|(z, l)| z * l).sum();
            assert!((product - expected).abs() < 1e-4, "{at}: {product} and {expected}");
        }
    }

    /// Keeps every column, as if it had moved.
    fn keep_all(subspace: &mut Subspace) {
        for block in &mut subspace.blocks {
            let whole = block.whole();
            block.set_whole(&whole, |_| true);
        }
    }

    #[test]
    fn columns_that_never_moved_change_nothing_and_take_no_room() {
        let (mut few, mut all) = (Subspace::new(70), Subspace::new(70));
        keep_all(&mut all);
        for at in 0..2000 {
            let mut z = row(at, 900, 70);
            (20..40).chain([66]).for_each(|column| z[column] = 0.0);
            for subspace in [&mut few, &mut all] {
                subspace.take(&z, 0.005);
                match at {
                    0..500 => {}
                    500 => subspace.turn(),
                    _ => subspace.follow(),
                }
                if at % 100 == 99 {
                    subspace.take_over();
                }
            }
            if at == 500 {
                keep_all(&mut all);
            }
            let (mut judged, mut beside) = (z.clone(), z);
            few.remove(&mut judged);
            all.remove(&mut beside);
            assert_eq!(judged, beside, "row {at}");
        }
        let n_moved = |of: &Subspace| of.blocks.iter().map(|b| b.moved.len()).collect::<Vec<_>>();
        assert_eq!((n_moved(&few), n_moved(&all)), (vec![44, 5], vec![64, 6]));
        few.take(&row(3, 900, 70), 0.005);
        assert_eq!(n_moved(&few), [64, 6]);
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
