//! What of every model's predictions at a point its predictions at other points do not explain.
//!
//! A kernel smoother over models. Two models are alike at point `p` as far as their predictions at similar points agree:
//! `K_p = 1 + sum_q W_pq B_q B_q^T / D`, where the rows of `B_q` are the models' standardised predictions at `q`. The
//! leave-one-out residuals of the kernel ridge regression of the values `x` on it have the closed form
//! `e_n = (A x)_n / A_nn` with `A = (K_p + penalty I)^-1` (Rasmussen and Williams 2006, section 5.4.2), and `A`
//! also tells how to smooth the membership in the same way.
//!
//! No membership enters here, so all models are treated alike, and one pass serves every target.

use std::num::NonZeroUsize;

use nalgebra::{Cholesky, DMatrix, Dyn};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3, Axis, s};

use crate::error::{KernelError, require_nonempty, require_shape};
use crate::{memory, parallel};

/// Points in one piece of parallel work: enough rows for the matrix product to run at full speed.
const PIECE: usize = 32;

/// Residuals, and the matrices behind them.
pub struct Conditioned {
    /// `[models, points, features]`.
    pub residuals: Array3<f32>,
    /// `A` of every point, `[points, models, models]`.
    pub inverses: Array3<f32>,
}

/// Conditions every model's predictions at each point on its predictions at others.
///
/// `x` is `[models, points, features]`; `regressors` `[models, others, dimensions]`, standardised over models;
/// `weights` `[points, others]`, from 0, how much each other point tells about a point. `penalty` is positive.
///
/// Errors: an axis of length zero, shapes that do not fit, numbers that are not finite, a negative weight, a penalty
/// outside [1e-3, 1e6], numbers so large that a product or a residual is beyond float32.
pub fn condition(
    x: ArrayView3<f32>,
    regressors: ArrayView3<f32>,
    weights: ArrayView2<f32>,
    penalty: f64,
    threads: NonZeroUsize,
) -> Result<Conditioned, KernelError> {
    check(x, regressors, weights, penalty)?;
    let (models, points, features) = x.dim();
    let grams = grams(regressors, threads)?;
    let mut residuals: Array3<f32> = memory::zeros((points, models, features))?;
    let mut inverses: Array3<f32> = memory::zeros((points, models, models))?;
    let pieces = residuals
        .axis_chunks_iter_mut(Axis(0), PIECE)
        .zip(inverses.axis_chunks_iter_mut(Axis(0), PIECE))
        .enumerate()
        .collect();
    parallel::for_each(
        threads,
        pieces,
        || memory::zeros((PIECE, grams.ncols())),
        |kernels: &mut Array2<f32>, (piece, (residuals, inverses))| {
            let first = piece * PIECE;
            let weights = weights.slice(s![first..first + residuals.dim().0, ..]);
            let mut kernels = kernels.slice_mut(s![..residuals.dim().0, ..]);
            general_mat_mul(1.0, &weights, &grams, 0.0, &mut kernels);
            solve_piece(x, first, kernels, penalty, residuals, inverses)
        },
    )?;
    Ok(Conditioned { residuals: residuals.permuted_axes([1, 0, 2]), inverses })
}

fn check(
    x: ArrayView3<f32>,
    regressors: ArrayView3<f32>,
    weights: ArrayView2<f32>,
    penalty: f64,
) -> Result<(), KernelError> {
    require_nonempty("x", x.shape())?;
    require_nonempty("regressors", regressors.shape())?;
    require_shape("regressors", &regressors.shape()[..1], &x.shape()[..1], "models of x")?;
    let expected = [x.dim().1, regressors.dim().1];
    require_shape("weights", weights.shape(), &expected, "points of x and of regressors")?;
    let refuse = |argument, found: String, expected: &str| {
        Err(KernelError::Argument { argument, found, expected: expected.to_owned() })
    };
    if !(1e-3..=1e6).contains(&penalty) {
        return refuse("penalty", penalty.to_string(), "between 1e-3 and 1e6");
    }
    if let Some(weight) = weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
        return refuse("weights", weight.to_string(), "finite numbers from 0");
    }
    for (argument, array) in [("x", x), ("regressors", regressors)] {
        if let Some(value) = array.iter().find(|value| !value.is_finite()) {
            return refuse(argument, value.to_string(), "finite numbers");
        }
    }
    Ok(())
}

/// The lower triangle of `B_q B_q^T / D` of every point `q`, row by row: `[others, models (models + 1) / 2]`.
fn grams(regressors: ArrayView3<f32>, threads: NonZeroUsize) -> Result<Array2<f32>, KernelError> {
    let (models, others, dimensions) = regressors.dim();
    let mut grams: Array2<f32> = memory::zeros((others, models * (models + 1) / 2))?;
    parallel::for_each(
        threads,
        grams.outer_iter_mut().enumerate().collect(),
        || Ok((memory::zeros((models, dimensions))?, memory::zeros((models, models))?)),
        |(rows, gram): &mut (Array2<f32>, Array2<f32>), (point, mut packed)| {
            rows.assign(&regressors.index_axis(Axis(1), point));
            general_mat_mul(1.0 / dimensions as f32, &*rows, &rows.t(), 0.0, gram);
            let lower =
                gram.outer_iter().enumerate().flat_map(|(row, entries)| entries.into_iter().take(row + 1));
            for (packed, entry) in packed.iter_mut().zip(lower) {
                *packed = *entry;
            }
            Ok(())
        },
    )?;
    Ok(grams)
}

/// Residuals and inverses of the points from `first` on, whose packed kernels are the rows of `kernels`.
fn solve_piece(
    x: ArrayView3<f32>,
    first: usize,
    kernels: ArrayViewMut2<f32>,
    penalty: f64,
    mut residuals: ArrayViewMut3<f32>,
    mut inverses: ArrayViewMut3<f32>,
) -> Result<(), KernelError> {
    let (models, _, features) = x.dim();
    let mut values = memory::filled(0.0, models * features)?;
    let mut sums = memory::filled(0.0, features)?;
    for (index, packed) in kernels.outer_iter().enumerate() {
        let packed = packed.as_slice().expect("rows of an array of our own are contiguous");
        invert(packed, penalty, inverses.index_axis_mut(Axis(0), index))?;
        for (value, &x) in values.iter_mut().zip(x.index_axis(Axis(1), first + index)) {
            *value = x;
        }
        let inverse = inverses.index_axis(Axis(0), index);
        let mut residuals = residuals.index_axis_mut(Axis(0), index);
        for (model, (row, mut residuals)) in inverse.outer_iter().zip(residuals.outer_iter_mut()).enumerate()
        {
            // Over the models in their order: a product of matrices would choose one by how `x` lies in memory.
            sums.fill(0.0);
            for (&entry, values) in row.iter().zip(values.chunks_exact(features)) {
                for (sum, &value) in sums.iter_mut().zip(values) {
                    *sum += entry * value;
                }
            }
            for (residual, &sum) in residuals.iter_mut().zip(&sums) {
                *residual = sum / row[model];
            }
        }
        if !residuals.iter().all(|residual| residual.is_finite()) {
            return Err(too_large("x", "their residuals"));
        }
    }
    Ok(())
}

/// `(1 + K + penalty I)^-1` of a packed kernel `K`.
fn invert(packed: &[f32], penalty: f64, mut inverse: ArrayViewMut2<f32>) -> Result<(), KernelError> {
    let models = inverse.nrows();
    let mut matrix = memory::room_for(models * models)?;
    for (column, row) in (0..models).flat_map(|column| (0..models).map(move |row| (column, row))) {
        let (low, high) = if row < column { (row, column) } else { (column, row) };
        let ridge = if row == column { penalty } else { 0.0 };
        matrix.push(1.0 + f64::from(packed[high * (high + 1) / 2 + low]) + ridge);
    }
    let mut exact = DMatrix::from_vec(models, models, memory::filled(0.0, models * models)?);
    exact.fill_with_identity();
    let factor: Option<Cholesky<f64, Dyn>> = Cholesky::new(DMatrix::from_vec(models, models, matrix));
    // A Gram matrix plus the penalty is positive definite unless its entries overflowed, or are so large that the
    // penalty is lost beside them.
    let refusal = || too_large("regressors", "their products");
    factor.ok_or_else(refusal)?.solve_mut(&mut exact);
    for (mut row, column) in inverse.outer_iter_mut().zip(exact.column_iter()) {
        for (entry, &exact) in row.iter_mut().zip(column) {
            *entry = exact as f32;
        }
    }
    let is_usable =
        inverse.iter().all(|entry| entry.is_finite()) && inverse.diag().iter().all(|&entry| entry > 0.0);
    if is_usable { Ok(()) } else { Err(refusal()) }
}

fn too_large(argument: &'static str, what: &str) -> KernelError {
    let found = format!("numbers too large for {what}");
    KernelError::Argument { argument, found, expected: "standardised predictions".to_owned() }
}
