//! Symmetric matrices as `Q T Q^T` with orthogonal `Q` and tridiagonal `T`.
//!
//! With it `(A + s I)^-1` costs a few operations per dimension for any number of shifts `s`, as with an
//! eigendecomposition, but it is reached by Householder reflections alone, without iterating (Golub and Van Loan,
//! Matrix Computations, section 8.3.1).

use multiversion::multiversion;

use crate::error::KernelError;
use crate::lanes::{LANES, Lane};
use crate::memory;

/// How many vectors of each lane are worked on together: one alone would have to wait for its own sums.
pub(crate) const VECTORS: usize = 4;

/// The same entry of several vectors of each lane.
pub(crate) type Vectors = [Lane; VECTORS];

/// A factorisation, and room for the next one of the same size.
pub(crate) struct Tridiagonal {
    size: usize,
    diagonal: Vec<f64>,
    /// `off_diagonal[k]` stands between the rows `k - 1` and `k`; the first one is 0.
    off_diagonal: Vec<f64>,
    /// Row `k` holds, from column `k + 1` on, the vector `v` of the k-th reflection `I - v v^T`.
    reflections: Vec<f64>,
    work: Vec<f64>,
}

/// The products `a^T (T + s I)^-1 b` of a vector `d` and, in each lane, a vector `u` and a shift `s` of its own.
pub(crate) struct Forms {
    pub(crate) dd: Lane,
    pub(crate) du: Lane,
    pub(crate) uu: Lane,
}

impl Tridiagonal {
    pub(crate) fn of_size(size: usize) -> Result<Self, KernelError> {
        Ok(Self {
            size,
            diagonal: memory::filled(0.0, size)?,
            off_diagonal: memory::filled(0.0, size)?,
            reflections: memory::filled(0.0, size * size)?,
            work: memory::filled(0.0, size)?,
        })
    }

    /// Factorises the symmetric `matrix` (all of it, row by row), which is used up.
    pub(crate) fn factorise(&mut self, matrix: &mut [f64]) {
        let size = self.size;
        for k in 0..size {
            self.diagonal[k] = matrix[k * size + k];
            let below = k * size + k + 1..(k + 1) * size;
            if below.is_empty() {
                break;
            }
            let v = &mut self.reflections[below.clone()];
            v.copy_from_slice(&matrix[below]);
            self.off_diagonal[k + 1] = make_reflection(v);
            reflect_both_sides(matrix, size, v, &mut self.work);
        }
    }

    /// `Q^T x`, in place.
    pub(crate) fn rotate(&self, x: &mut [f64]) {
        for (k, v) in self.reflections() {
            let x = &mut x[k + 1..];
            let along = dot(v, x);
            for (x, v) in x.iter_mut().zip(v) {
                *x -= along * v;
            }
        }
    }

    /// `Q^T x` of the vectors in all lanes, in place.
    pub(crate) fn rotate_lanes(&self, x: &mut [Lane]) {
        for (k, v) in self.reflections() {
            reflect_lanes(v, &mut x[k + 1..]);
        }
    }

    /// The same of several vectors of each lane.
    pub(crate) fn rotate_vectors(&self, x: &mut [Vectors]) {
        for (k, v) in self.reflections() {
            reflect_vectors(v, &mut x[k + 1..]);
        }
    }

    /// The products of `d` and the vectors in the lanes of `u`, all rotated. Each `shift` is positive.
    pub(crate) fn forms(&self, d: &[f64], u: &[Lane], shift: &Lane) -> Forms {
        forms(&self.diagonal, &self.off_diagonal, d, u, shift)
    }

    /// Prepares `solver` for `T + s I` with the shift of each lane. Each `shift` is positive.
    pub(crate) fn prepare(&self, shift: &Lane, solver: &mut HalfSolver) {
        prepare(&self.diagonal, &self.off_diagonal, shift, &mut solver.rows);
    }

    /// The number and the vector of each reflection.
    fn reflections(&self) -> impl Iterator<Item = (usize, &[f64])> {
        self.reflections.chunks_exact(self.size).enumerate().map(|(k, row)| (k, &row[k + 1..]))
    }
}

/// Halves of the inverses of `T + s I = L D L^T`, one in each lane: with `y = D^-1/2 L^-1 x` of any vectors, the
/// products `x^T (T + s I)^-1 x'` are the plain products `y^T y'`.
pub(crate) struct HalfSolver {
    rows: Vec<HalfRow>,
}

/// One row of it: the entry of `L` left of the diagonal, and one over the root of the entry of `D`.
#[derive(Clone, Copy)]
struct HalfRow {
    ratio: Lane,
    inverse_root: Lane,
}

impl HalfSolver {
    pub(crate) fn of_size(size: usize) -> Result<Self, KernelError> {
        let row = HalfRow { ratio: [0.0; LANES], inverse_root: [0.0; LANES] };
        Ok(Self { rows: memory::filled(row, size)? })
    }

    /// Turns `x` into `y`.
    pub(crate) fn apply(&self, x: &mut [Lane]) {
        half_solve(&self.rows, x);
    }

    /// The same of several vectors of each lane.
    pub(crate) fn apply_vectors(&self, x: &mut [Vectors]) {
        half_solve_vectors(&self.rows, x);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq", "x86_64+avx2"))]
fn prepare(diagonal: &[f64], off_diagonal: &[f64], shift: &Lane, rows: &mut [HalfRow]) {
    let mut inverse = [0.0; LANES];
    for ((&diagonal, &off_diagonal), row) in diagonal.iter().zip(off_diagonal).zip(rows) {
        for l in 0..LANES {
            row.ratio[l] = off_diagonal * inverse[l];
            inverse[l] = 1.0 / (diagonal + shift[l] - off_diagonal * row.ratio[l]);
            row.inverse_root[l] = inverse[l].sqrt();
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq", "x86_64+avx2"))]
fn half_solve(rows: &[HalfRow], x: &mut [Lane]) {
    let mut above = [0.0; LANES];
    for (row, x) in rows.iter().zip(x) {
        for l in 0..LANES {
            above[l] = x[l] - row.ratio[l] * above[l];
            x[l] = above[l] * row.inverse_root[l];
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq", "x86_64+avx2"))]
fn half_solve_vectors(rows: &[HalfRow], x: &mut [Vectors]) {
    let mut above = [[0.0; LANES]; VECTORS];
    for (row, x) in rows.iter().zip(x) {
        for (above, x) in above.iter_mut().zip(x) {
            for l in 0..LANES {
                above[l] = x[l] - row.ratio[l] * above[l];
                x[l] = above[l] * row.inverse_root[l];
            }
        }
    }
}

/// Turns `x` into the `v` for which `I - v v^T` maps it to a multiple of the first axis, and returns the multiple.
fn make_reflection(x: &mut [f64]) -> f64 {
    let first = x[0];
    let norm = dot(x, x).sqrt();
    if norm == 0.0 {
        x.fill(0.0);
        return first;
    }
    let image = -norm.copysign(first);
    x[0] -= image;
    let scale = 1.0 / (norm * (norm + first.abs())).sqrt();
    for x in x {
        *x *= scale;
    }
    image
}

/// `A <- (I - v v^T) A (I - v v^T)` for the lower right corner `A` of `matrix` that is as large as `v`.
#[multiversion(targets("x86_64+avx2"))]
fn reflect_both_sides(matrix: &mut [f64], size: usize, v: &[f64], work: &mut [f64]) {
    let start = size - v.len();
    let work = &mut work[start..];
    for (row, product) in matrix.chunks_exact(size).skip(start).zip(work.iter_mut()) {
        *product = dot(&row[start..], v);
    }
    let half = 0.5 * dot(work, v);
    for (w, v) in work.iter_mut().zip(v) {
        *w -= half * v;
    }
    let rows = matrix.chunks_exact_mut(size).skip(start);
    for ((row, &v_row), &w_row) in rows.zip(v).zip(work.iter()) {
        for ((entry, &v_column), &w_column) in row[start..].iter_mut().zip(v).zip(work.iter()) {
            *entry -= v_row * w_column + w_row * v_column;
        }
    }
}

#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `x <- (I - v v^T) x` in all lanes.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq", "x86_64+avx2"))]
fn reflect_lanes(v: &[f64], x: &mut [Lane]) {
    let mut along = [0.0; LANES];
    for (&v, x) in v.iter().zip(x.iter()) {
        for l in 0..LANES {
            along[l] += v * x[l];
        }
    }
    for (&v, x) in v.iter().zip(x.iter_mut()) {
        let mut row = *x;
        for l in 0..LANES {
            row[l] -= along[l] * v;
        }
        *x = row;
    }
}

/// The same of several vectors of each lane.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq", "x86_64+avx2"))]
fn reflect_vectors(v: &[f64], x: &mut [Vectors]) {
    let mut along = [[0.0; LANES]; VECTORS];
    for (&v, x) in v.iter().zip(x.iter()) {
        for (along, x) in along.iter_mut().zip(x) {
            for l in 0..LANES {
                along[l] += v * x[l];
            }
        }
    }
    for (&v, x) in v.iter().zip(x.iter_mut()) {
        for (along, x) in along.iter().zip(x) {
            for l in 0..LANES {
                x[l] -= along[l] * v;
            }
        }
    }
}

/// Forward substitution with `T + s I = L D L^T` as it unfolds from row to row; positive definite, so no pivoting.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq", "x86_64+avx2"))]
fn forms(diagonal: &[f64], off_diagonal: &[f64], d: &[f64], u: &[Lane], shift: &Lane) -> Forms {
    let (mut dd, mut du, mut uu) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let (mut d_solved, mut u_solved, mut inverse) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    for (((&diagonal, &off_diagonal), &d), u) in diagonal.iter().zip(off_diagonal).zip(d).zip(u) {
        for l in 0..LANES {
            let ratio = off_diagonal * inverse[l];
            inverse[l] = 1.0 / (diagonal + shift[l] - off_diagonal * ratio);
            d_solved[l] = d - ratio * d_solved[l];
            u_solved[l] = u[l] - ratio * u_solved[l];
            let (d_scaled, u_scaled) = (d_solved[l] * inverse[l], u_solved[l] * inverse[l]);
            dd[l] += d_solved[l] * d_scaled;
            du[l] += d_solved[l] * u_scaled;
            uu[l] += u_solved[l] * u_scaled;
        }
    }
    Forms { dd, du, uu }
}
