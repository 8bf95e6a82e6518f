//! How few random cuts set a row apart.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::rows::{LARGEST, Rows, value};
use super::scale::Scales;
use super::state::{Fields, Judge, LARGEST_COUNT, Persist, damaged};
use super::{Fit, width_checked};
use crate::DetectError;

/// Constant of Euler and Mascheroni.
const EULER: f32 = 0.577_215_7;

/// Isolation forest (Liu, Ting, Zhou 2008): rows that few random cuts set apart are odd. The score
/// is the published one, 0 to 1: about 0.5 for a row like all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IsolationForest {
    /// Trees, at least 1.
    pub n_trees: usize,
    /// Rows that a tree is grown on, at least 1.
    pub n_samples: usize,
    /// Which rows, columns and cuts are drawn.
    pub seed: u64,
}

impl Default for IsolationForest {
    /// As published: 100 trees of 256 rows.
    fn default() -> Self {
        Self { n_trees: 100, n_samples: 256, seed: 0 }
    }
}

/// Trees that there may be, and rows that one may be grown on.
const MOST_TREES: usize = 1 << 12;
const MOST_SAMPLES: usize = 1 << 16;

/// [`IsolationForest`] of a training set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FittedIsolationForest {
    scales: Scales,
    n_samples: usize,
    trees: Vec<Tree>,
    values: Vec<f32>,
    strengths: Vec<f32>,
}

/// Nodes of one tree, the root first, children behind their parent. Never empty.
#[derive(Debug, Clone, Default, PartialEq)]
struct Tree {
    nodes: Vec<Node>,
}

/// A place in a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Node {
    /// Rows of the sample that came here, at least 1.
    n_rows: usize,
    /// The left child, with the right one behind it; 0 for a leaf.
    left: usize,
    /// Column that is cut.
    column: usize,
    /// Smaller values go left.
    cut: f32,
}

impl Fit for IsolationForest {
    type Fitted = FittedIsolationForest;

    fn fit(&self, normal: Rows<'_>) -> Result<FittedIsolationForest, DetectError> {
        let width = width_checked(normal)?;
        let scales = Scales::fit(normal);
        let n_samples = self.n_samples.clamp(1, MOST_SAMPLES).min(normal.n_rows());
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let trees = (0..self.n_trees.clamp(1, MOST_TREES)).map(|_| {
            let sample = draw(normal.n_rows(), n_samples, &mut rng);
            let rows = sample.iter().map(|at| complete(&scales, &normal.row(*at))).collect();
            Tree::grow(rows, &mut rng)
        });
        let trees = trees.collect();
        let (values, strengths) = (vec![0.0; width], vec![0.0; width]);
        Ok(FittedIsolationForest { scales, n_samples, trees, values, strengths })
    }
}

/// `n` different numbers below `below`, which is not smaller (Floyd's sampling).
fn draw(below: usize, n: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut drawn = std::collections::BTreeSet::new();
    for most in below - n..below {
        let number = rng.random_range(0..=most);
        if !drawn.insert(number) {
            drawn.insert(most);
        }
    }
    drawn.into_iter().collect()
}

/// The row with the mean of training where a value is missing.
fn complete(scales: &Scales, row: &[f32]) -> Vec<f32> {
    (0..scales.width()).map(|at| value_or_mean(scales, row, at)).collect()
}

fn value_or_mean(scales: &Scales, row: &[f32], at: usize) -> f32 {
    let value = value(row, at);
    if value.is_nan() { scales.mean[at] } else { value }
}

impl Tree {
    /// Cuts until every row is alone, or the tree is as deep as an average one.
    fn grow(rows: Vec<Vec<f32>>, rng: &mut ChaCha8Rng) -> Self {
        let most_depth = rows.len().next_power_of_two().ilog2();
        let mut tree = Self { nodes: vec![Node { n_rows: rows.len(), ..Node::default() }] };
        let mut open = vec![(0, rows, 0)];
        while let Some((at, rows, depth)) = open.pop() {
            if depth >= most_depth || rows.len() < 2 {
                continue;
            }
            let Some((column, cut)) = random_cut(&rows, rng) else { continue };
            let (lower, upper): (Vec<_>, Vec<_>) =
                rows.into_iter().partition(|row| row[column] < cut);
            let left = tree.nodes.len();
            tree.nodes[at] = Node { left, column, cut, ..tree.nodes[at] };
            for (child, rows) in [lower, upper].into_iter().enumerate() {
                tree.nodes.push(Node { n_rows: rows.len(), ..Node::default() });
                open.push((left + child, rows, depth + 1));
            }
        }
        tree
    }
}

/// A column in which the rows differ, and a value that has some of them on either side. `None` when
/// all rows are the same.
fn random_cut(rows: &[Vec<f32>], rng: &mut ChaCha8Rng) -> Option<(usize, f32)> {
    let mut columns: Vec<usize> = (0..rows.first()?.len()).collect();
    while !columns.is_empty() {
        let column = columns.swap_remove(rng.random_range(0..columns.len()));
        let values = rows.iter().map(|row| row[column]);
        let (low, high) = values
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low < high {
            let cut = low + rng.random::<f32>() * (high - low);
            // Rounding may put it on the lowest value, and nothing would be below.
            return Some((column, if cut > low { cut } else { high }));
        }
    }
    None
}

/// Mean depth at which a row of `n` is found in a random tree.
fn mean_depth(n: usize) -> f32 {
    let n = n as f32;
    if n < 2.0 {
        0.0
    } else if n == 2.0 {
        1.0
    } else {
        2.0 * ((n - 1.0).ln() + EULER) - 2.0 * (n - 1.0) / n
    }
}

impl Tree {
    /// Depth of `values`. Each column on the way is given what its cuts did beyond halving, in
    /// halvings.
    fn depth(&self, values: &[f32], strengths: &mut [f32]) -> f32 {
        let mut node = self.nodes[0];
        let mut depth = 0.0;
        while node.left != 0 {
            let right = usize::from(values[node.column] >= node.cut);
            let child = self.nodes[node.left + right];
            let left_of_half = node.n_rows as f32 / (2 * child.n_rows) as f32;
            strengths[node.column] += left_of_half.log2().max(0.0);
            node = child;
            depth += 1.0;
        }
        depth + mean_depth(node.n_rows)
    }
}

impl Judge for FittedIsolationForest {
    fn judge(&mut self, row: &[f32]) -> f32 {
        for (at, value) in self.values.iter_mut().enumerate() {
            *value = value_or_mean(&self.scales, row, at);
        }
        self.strengths.fill(0.0);
        let n_trees = self.trees.len() as f32;
        let (values, strengths) = (&self.values, &mut self.strengths);
        let depth: f32 = self.trees.iter().map(|tree| tree.depth(values, strengths)).sum();
        for strength in strengths {
            *strength /= n_trees;
        }
        (-depth / n_trees / mean_depth(self.n_samples).max(1.0)).exp2()
    }

    fn found(&self) -> &[f32] {
        &self.strengths
    }
}

impl Persist for FittedIsolationForest {
    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        self.scales.fields(fields)?;
        let width = self.scales.width();
        fields.count(&mut self.n_samples, 1..=MOST_SAMPLES)?;
        let mut n_trees = self.trees.len();
        fields.count(&mut n_trees, 1..=MOST_TREES)?;
        fields.parts(&mut self.trees, n_trees)?;
        let columns = self.trees.iter().flat_map(|tree| &tree.nodes).map(|node| node.column);
        if columns.max().is_some_and(|column| column >= width) {
            return Err(damaged("a cut in a column that is not there"));
        }
        self.values.resize(width, 0.0);
        self.strengths.resize(width, 0.0);
        Ok(())
    }
}

impl Persist for Tree {
    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        let mut n_nodes = self.nodes.len();
        fields.count(&mut n_nodes, 1..=2 * MOST_SAMPLES)?;
        fields.parts(&mut self.nodes, n_nodes)?;
        // Children behind their parents: no way down the tree is endless.
        let whole = |(at, node): (usize, &Node)| {
            node.left == 0 || (node.left > at && node.left + 1 < n_nodes)
        };
        let whole = self.nodes.iter().enumerate().all(whole);
        if whole { Ok(()) } else { Err(damaged("a tree whose branches lead nowhere")) }
    }
}

impl Persist for Node {
    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        fields.count(&mut self.n_rows, 1..=MOST_SAMPLES)?;
        fields.count(&mut self.left, 0..=LARGEST_COUNT)?;
        fields.count(&mut self.column, 0..=super::MOST_FEATURES)?;
        fields.number(&mut self.cut)?;
        if self.cut.abs() <= LARGEST { Ok(()) } else { Err(damaged("a cut that is out of range")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::Score;

    #[test]
    fn depths_as_published() {
        assert_eq!((mean_depth(1), mean_depth(2)), (0.0, 1.0));
        // Liu, Ting, Zhou: 10.24 for 256 rows.
        assert!((mean_depth(256) - 10.2448).abs() < 1e-3, "{}", mean_depth(256));
    }

    #[test]
    fn a_row_like_all_others_scores_a_half() {
        let same = vec![1.0; 300];
        let mut fitted = IsolationForest::default().fit(Rows::new(&same, 1).unwrap()).unwrap();
        assert!((fitted.score(&[5.0]) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn draws_are_different() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        assert_eq!(draw(7, 7, &mut rng), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(draw(1000, 256, &mut rng).len(), 256);
    }
}
