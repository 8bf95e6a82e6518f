//! Eigenvectors of small symmetric matrices.

/// Sweeps after which the remaining off-diagonal is taken as it is; a handful is enough.
const MOST_SWEEPS: usize = 30;
/// Off-diagonal elements below this share of the whole variance are zero.
const NEGLIGIBLE: f64 = 1e-9;

/// Eigenvalues, largest first, with their eigenvectors.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Eigen {
    pub(crate) values: Vec<f64>,
    /// Row `k` belongs to value `k` and has length 1.
    pub(crate) vectors: Vec<Vec<f64>>,
}

/// By rotations that set one off-diagonal element to zero after the other (Jacobi 1846; Golub & Van
/// Loan, Matrix Computations, 8.5): short, exact to rounding, and the same on every machine.
///
/// `matrix` is symmetric and finite, `n` × `n`, row by row.
pub(crate) fn symmetric(mut matrix: Vec<Vec<f64>>) -> Eigen {
    let n = matrix.len();
    let mut vectors = identity(n);
    let negligible = NEGLIGIBLE * (0..n).map(|at| matrix[at][at].abs()).sum::<f64>();
    for _ in 0..MOST_SWEEPS {
        if sweep(&mut matrix, &mut vectors, negligible) == 0 {
            break;
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| matrix[*b][*b].total_cmp(&matrix[*a][*a]).then(a.cmp(b)));
    Eigen {
        values: order.iter().map(|at| matrix[*at][*at]).collect(),
        vectors: order.iter().map(|at| std::mem::take(&mut vectors[*at])).collect(),
    }
}

fn identity(n: usize) -> Vec<Vec<f64>> {
    let unit = |at: usize| (0..n).map(|other| if other == at { 1.0 } else { 0.0 }).collect();
    (0..n).map(unit).collect()
}

/// Visits each pair once, and says how many it had to rotate.
fn sweep(matrix: &mut [Vec<f64>], vectors: &mut [Vec<f64>], negligible: f64) -> usize {
    let mut n_rotated = 0;
    for p in 0..matrix.len() {
        for q in p + 1..matrix.len() {
            if matrix[p][q].abs() > negligible {
                rotate(matrix, vectors, (p, q));
                n_rotated += 1;
            }
        }
    }
    n_rotated
}

/// The rotation in the plane of `p` and `q` after which their element is zero.
fn rotate(matrix: &mut [Vec<f64>], vectors: &mut [Vec<f64>], (p, q): (usize, usize)) {
    let (pp, qq, pq) = (matrix[p][p], matrix[q][q], matrix[p][q]);
    let slope = (qq - pp) / (2.0 * pq);
    let tangent = slope.signum() / (slope.abs() + slope.hypot(1.0));
    let cosine = 1.0 / tangent.hypot(1.0);
    let sine = tangent * cosine;
    turn(matrix, (p, q), cosine, sine);
    turn(vectors, (p, q), cosine, sine);
    // The matrix is symmetric: its columns follow its rows.
    for other in (0..matrix.len()).filter(|other| *other != p && *other != q) {
        matrix[other][p] = matrix[p][other];
        matrix[other][q] = matrix[q][other];
    }
    matrix[p][p] = pp - tangent * pq;
    matrix[q][q] = qq + tangent * pq;
    (matrix[p][q], matrix[q][p]) = (0.0, 0.0);
}

/// Rows `p` and `q`, which is behind `p`, turned in their plane.
fn turn(rows: &mut [Vec<f64>], (p, q): (usize, usize), cosine: f64, sine: f64) {
    let (head, tail) = rows.split_at_mut(q);
    for (a, b) in head[p].iter_mut().zip(&mut tail[0]) {
        (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_put_together_again() {
        let n = 9;
        let element = |i: usize, j: usize| ((i * j + i + j) * 7919 % 101) as f64 / 50.0;
        let matrix: Vec<Vec<f64>> =
            (0..n).map(|i| (0..n).map(|j| element(i, j)).collect()).collect();
        let eigen = symmetric(matrix.clone());
        assert!(eigen.values.is_sorted_by(|a, b| a >= b));
        for i in 0..n {
            for j in 0..n {
                let product: f64 = (0..n)
                    .map(|k| eigen.values[k] * eigen.vectors[k][i] * eigen.vectors[k][j])
                    .sum();
                assert!((product - matrix[i][j]).abs() < 1e-7, "{i} {j}");
            }
        }
    }

    #[test]
    fn the_textbook_two_by_two() {
        let eigen = symmetric(vec![vec![2.0, 1.0], vec![1.0, 2.0]]);
        assert!((eigen.values[0] - 3.0).abs() < 1e-12 && (eigen.values[1] - 1.0).abs() < 1e-12);
        assert!((eigen.vectors[0][0] - eigen.vectors[0][1]).abs() < 1e-12);
    }

    #[test]
    fn without_variance_there_is_nothing_to_turn() {
        assert_eq!(symmetric(vec![vec![0.0; 3]; 3]).values, [0.0; 3]);
        assert!(symmetric(Vec::new()).values.is_empty());
    }
}
