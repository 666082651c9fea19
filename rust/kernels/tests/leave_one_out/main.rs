//! Leave-one-out statistics against their definitions, with every model really left out.

mod discriminant;
mod empirical_bayes;
mod features;

use std::num::NonZeroUsize;
use std::ops::Range;

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, concatenate, s};
use proptest::prelude::*;
use tmi_kernels::{Compared, KernelError, Prior};

const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// The numbers of threads that must not make a difference.
fn several() -> [NonZeroUsize; 2] {
    [2, 5].map(|threads| NonZeroUsize::new(threads).expect("positive"))
}

/// The features of all models at all points, `[models, points, features]`.
fn leave_one_out_features(
    x: ArrayView3<f32>,
    membership: ArrayView2<bool>,
    target: i64,
    apart: Option<ArrayView2<bool>>,
    ridges: &[f64],
    threads: NonZeroUsize,
) -> Result<Array3<f32>, KernelError> {
    let compared = Compared { target, apart, wanted: None };
    let features = tmi_kernels::leave_one_out_features(x, membership, &compared, ridges, None, threads)?;
    Ok(by_model(features, x))
}

/// Those among them that a prior adds.
fn empirical_bayes_features(
    x: ArrayView3<f32>,
    membership: ArrayView2<bool>,
    target: i64,
    apart: Option<ArrayView2<bool>>,
    prior: &Prior,
    threads: NonZeroUsize,
) -> Result<Array3<f32>, KernelError> {
    let compared = Compared { target, apart, wanted: None };
    let features = tmi_kernels::leave_one_out_features(x, membership, &compared, &[], Some(prior), threads)?;
    Ok(by_model(features, x).slice_move(s![.., .., 13..]))
}

fn by_model(features: Array2<f32>, x: ArrayView3<f32>) -> Array3<f32> {
    let shape = (x.dim().0, x.dim().1, features.ncols());
    features.into_shape_with_order(shape).expect("a row for each model at each point")
}

/// Values and membership of some models; the outlier, model 0, is far from the others.
fn pool(outliers: &'static [f32]) -> impl Strategy<Value = (Array3<f32>, Array2<bool>)> {
    pool_of(4..24, 1..8, outliers)
}

/// The same with so many classes that no matrix of them is made.
fn pool_of_many_classes(outliers: &'static [f32]) -> impl Strategy<Value = (Array3<f32>, Array2<bool>)> {
    pool_of(4..9, 257..260, outliers)
}

prop_compose! {
    fn pool_of(models: Range<usize>, classes: Range<usize>, outliers: &'static [f32])(
        shape in (models, 1..3_usize, classes),
        outlier in prop::sample::select(outliers),
    )(
        values in prop::collection::vec(-3.0_f32..3.0, shape.0 * shape.1 * shape.2),
        membership in prop::collection::vec(any::<bool>(), shape.0 * shape.1),
        (shape, outlier) in Just((shape, outlier)),
    ) -> (Array3<f32>, Array2<bool>) {
        let mut values = Array3::from_shape_vec(shape, values).expect("the length is the product");
        values.slice_mut(s![0, .., ..]).mapv_inplace(|x| outlier * x);
        let membership = Array2::from_shape_vec((shape.0, shape.1), membership).expect("the length is the product");
        (values, membership)
    }
}

/// The points many times over: enough of them for several threads.
fn many((x, membership): &(Array3<f32>, Array2<bool>)) -> (Array3<f32>, Array2<bool>) {
    let times = 50_usize.div_ceil(membership.ncols());
    let x = concatenate(Axis(1), &vec![x.view(); times]);
    let membership = concatenate(Axis(1), &vec![membership.view(); times]);
    (x.expect("the other axes are the same"), membership.expect("the other axis is the same"))
}

/// Values of one model at one point.
fn row(x: &Array3<f32>, model: usize, point: usize) -> Vec<f64> {
    x.slice(s![model, point, ..]).iter().map(|&x| f64::from(x)).collect()
}

/// The rows of the IN or the OUT shadows of a point.
fn side(
    x: &Array3<f32>,
    membership: &Array2<bool>,
    point: usize,
    inside: bool,
    without: &[usize],
) -> Vec<Vec<f64>> {
    (0..x.dim().0)
        .filter(|model| membership[[*model, point]] == inside && !without.contains(model))
        .map(|model| row(x, model, point))
        .collect()
}

fn mean(rows: &[Vec<f64>], k: usize) -> f64 {
    rows.iter().map(|row| row[k]).sum::<f64>() / rows.len() as f64
}

/// Solves `a x = b` for a symmetric positive definite `a` by elimination.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for pivot in 0..n {
        for row in pivot + 1..n {
            let factor = a[row][pivot] / a[pivot][pivot];
            for column in pivot..n {
                a[row][column] -= factor * a[pivot][column];
            }
            b[row] -= factor * b[pivot];
        }
    }
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|column| a[row][column] * b[column]).sum();
        b[row] = (b[row] - known) / a[row][row];
    }
    b
}

/// Pooled covariance of the rows of both sides about their means.
fn covariance(inside: &[Vec<f64>], outside: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let classes = inside[0].len();
    let freedom = (inside.len() + outside.len()).saturating_sub(2).max(1) as f64;
    let mut covariance = vec![vec![0.0; classes]; classes];
    for rows in [inside, outside] {
        for row in rows {
            let u: Vec<f64> = (0..classes).map(|k| row[k] - mean(rows, k)).collect();
            for (i, j) in (0..classes).flat_map(|i| (0..classes).map(move |j| (i, j))) {
                covariance[i][j] += u[i] * u[j] / freedom;
            }
        }
    }
    covariance
}

/// The mean of the diagonal, at least 1e-6.
fn level(covariance: &[Vec<f64>]) -> f64 {
    let trace: f64 = covariance.iter().enumerate().map(|(k, row)| row[k]).sum();
    (trace / covariance.len() as f64).max(1e-6)
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn assert_near(found: f64, truth: f64, tolerance: f64) {
    assert!((found - truth).abs() <= tolerance * truth.abs().max(1.0), "{found} is not {truth}");
}
