//! How well windows are reconstructed.

use super::network::Reconstruction;
use super::windows::write_window;
use crate::config::within;
use crate::graph::{Predictor, Tensor};
use crate::{ModelError, Sequence};

/// What a network says about each row, by the window that ends with it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReconstructionScores {
    /// Seen minus reconstructed, of each feature of the row; row-major. 0 where it was not seen.
    pub residuals: Vec<f32>,
    /// Mean squared residual over the values of the whole window that were seen; 0 without any.
    pub window_errors: Vec<f32>,
    /// The latent vector of the window; row-major.
    pub latents: Vec<f32>,
    /// The nearest cluster of normal operation, from 0. Empty for a network without clusters, as
    /// the distances are.
    pub clusters: Vec<usize>,
    /// Distance of the latent vector to the centre of that cluster, see
    /// [`crate::LatentClusters::nearest`].
    pub latent_distances: Vec<f32>,
}

/// Rows whose windows are held at once, enough that what a pass needs is made once for many.
const ROWS: usize = 1024;

impl Reconstruction {
    /// Scores every row of a history, on `threads` threads (1 to 64), which do not change the
    /// result. Rows before the first are taken to be like the first; none for no rows. Refuses a
    /// sequence of another width.
    pub fn score(
        &self,
        sequence: &Sequence,
        threads: usize,
    ) -> Result<ReconstructionScores, ModelError> {
        within("threads", threads, 1, 64)?;
        self.check_width(sequence)?;
        let rows: Vec<usize> = (0..sequence.len()).collect();
        let predictor = self.predictor()?;
        let parts: Vec<_> = rows.chunks(rows.len().div_ceil(threads).max(1)).collect();
        let score = |rows: &[usize]| self.score_rows(&predictor, sequence, rows);
        let scored = std::thread::scope(|scope| {
            let others: Vec<_> =
                parts.iter().skip(1).map(|part| scope.spawn(|| score(part))).collect();
            let first = score(parts.first().copied().unwrap_or_default());
            let join = |other: std::thread::ScopedJoinHandle<'_, _>| {
                other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            [first].into_iter().chain(others.into_iter().map(join)).collect::<Vec<_>>()
        });
        let mut scores = ReconstructionScores::default();
        for part in scored {
            scores.extend(part?);
        }
        Ok(scores)
    }

    /// The last row of [`Reconstruction::score`], the same to the bit. Only the last
    /// [`Reconstruction::window`] rows of `sequence` count, so a caller may give just those.
    pub fn score_last(&self, sequence: &Sequence) -> Result<ReconstructionScores, ModelError> {
        self.check_width(sequence)?;
        let last = sequence.len().checked_sub(1);
        self.score_rows(&self.predictor()?, sequence, &Vec::from_iter(last))
    }

    fn predictor(&self) -> Result<Predictor<'_>, ModelError> {
        let input = self.graph.nodes()[self.graph.inputs()[0]].output();
        self.graph.predictor(&[input.iter().copied().flatten().collect()])
    }

    /// Outputs of `nodes` for the windows that end with `rows`, some at a time.
    fn each_block(
        &self,
        predictor: &Predictor<'_>,
        sequence: &Sequence,
        rows: &[usize],
        nodes: &[usize],
        mut show: impl FnMut(&[usize], &[f32], &[Tensor]),
    ) -> Result<(), ModelError> {
        let size = self.window * self.n_features;
        for rows in rows.chunks(ROWS) {
            let mut windows = vec![0.0; rows.len() * size];
            for (row, window) in rows.iter().zip(windows.chunks_mut(size)) {
                write_window(sequence, *row, window);
            }
            let shape = predictor.shape(self.graph.inputs()[0]);
            let input = Tensor::new([&[rows.len()], shape].concat(), windows)?;
            let outputs = predictor.run(std::slice::from_ref(&input), nodes, 1)?;
            show(rows, input.values(), &outputs);
        }
        Ok(())
    }

    fn score_rows(
        &self,
        predictor: &Predictor<'_>,
        sequence: &Sequence,
        rows: &[usize],
    ) -> Result<ReconstructionScores, ModelError> {
        let mut scores = ReconstructionScores::default();
        let nodes = [self.graph.outputs()[0], self.latent];
        self.each_block(predictor, sequence, rows, &nodes, |rows, windows, outputs| {
            let size = self.window * self.n_features;
            for (at, row) in rows.iter().enumerate() {
                let window = &windows[at * size..][..size];
                self.add_row(&mut scores, sequence, *row, window, outputs[0].sample(at));
                self.add_latent(&mut scores, outputs[1].sample(at));
            }
        })?;
        Ok(scores)
    }

    fn add_row(
        &self,
        scores: &mut ReconstructionScores,
        sequence: &Sequence,
        row: usize,
        window: &[f32],
        found: &[f32],
    ) {
        let n = self.n_features;
        let (mut sum, mut count) = (0.0_f64, 0_usize);
        for (t, (seen, found)) in window.chunks(n).zip(found.chunks(n)).enumerate() {
            let observed = sequence.observed((row + 1 + t).saturating_sub(self.window));
            for j in (0..n).filter(|j| observed[*j]) {
                sum += f64::from(seen[j] - found[j]).powi(2);
                count += 1;
            }
        }
        scores.window_errors.push((sum / count.max(1) as f64) as f32);
        let last = self.window * n - n;
        let observed = sequence.observed(row).iter();
        let residuals = window[last..].iter().zip(&found[last..]).zip(observed);
        let residuals = residuals.map(|((a, b), observed)| if *observed { a - b } else { 0.0 });
        scores.residuals.extend(residuals);
    }

    fn add_latent(&self, scores: &mut ReconstructionScores, latent: &[f32]) {
        scores.latents.extend_from_slice(latent);
        if let Some(clusters) = &self.clusters {
            let (cluster, distance) = clusters.nearest(latent);
            scores.clusters.push(cluster);
            scores.latent_distances.push(distance);
        }
    }

    /// Latent vectors of every `step`-th row.
    pub(super) fn latents(&self, sequence: &Sequence, step: usize) -> Result<Vec<f32>, ModelError> {
        let rows: Vec<usize> = (self.window.min(sequence.len()).saturating_sub(1)..sequence.len())
            .step_by(step)
            .collect();
        let mut latents = vec![];
        let predictor = self.predictor()?;
        self.each_block(&predictor, sequence, &rows, &[self.latent], |_, _, outputs| {
            latents.extend_from_slice(outputs[0].values());
        })?;
        Ok(latents)
    }
}

impl ReconstructionScores {
    fn extend(&mut self, other: Self) {
        self.residuals.extend(other.residuals);
        self.window_errors.extend(other.window_errors);
        self.latents.extend(other.latents);
        self.clusters.extend(other.clusters);
        self.latent_distances.extend(other.latent_distances);
    }
}
