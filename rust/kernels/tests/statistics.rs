//! Leave-one-out statistics against their definitions, with every model really left out.

use std::num::NonZeroUsize;

use ndarray::{Array1, Array2, Array3, s};
use proptest::prelude::*;
use tmi_kernels::{gaussian_scores, leave_one_out_feature_names, leave_one_out_features};

const ONE: NonZeroUsize = NonZeroUsize::MIN;

prop_compose! {
    /// Answers and membership of some models; the outlier, model 0, is far from the others.
    fn pool()(shape in (4..24_usize, 1..3_usize, 1..8_usize), outlier in prop_oneof![Just(1.0_f32), Just(1e3), Just(1e6)])(
        answers in prop::collection::vec(-3.0_f32..3.0, shape.0 * shape.1 * shape.2),
        membership in prop::collection::vec(any::<bool>(), shape.0 * shape.1),
        (shape, outlier) in Just((shape, outlier)),
    ) -> (Array3<f32>, Array2<bool>) {
        let mut answers = Array3::from_shape_vec(shape, answers).expect("the length is the product");
        answers.slice_mut(s![0, .., ..]).mapv_inplace(|x| outlier * x);
        let membership = Array2::from_shape_vec((shape.0, shape.1), membership).expect("the length is the product");
        (answers, membership)
    }
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
        .map(|model| x.slice(s![model, point, ..]).iter().map(|&x| f64::from(x)).collect())
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

/// The discriminant score of `x` from the rows of both sides; 0 if one has none.
fn discriminant(x: &[f64], inside: &[Vec<f64>], outside: &[Vec<f64>], ridge: f64) -> f64 {
    if inside.is_empty() || outside.is_empty() {
        return 0.0;
    }
    let classes = x.len();
    let mut covariance = vec![vec![0.0; classes]; classes];
    let freedom = (inside.len() + outside.len()).saturating_sub(2).max(1) as f64;
    for rows in [inside, outside] {
        for row in rows {
            let u: Vec<f64> = (0..classes).map(|k| row[k] - mean(rows, k)).collect();
            for (i, j) in (0..classes).flat_map(|i| (0..classes).map(move |j| (i, j))) {
                covariance[i][j] += u[i] * u[j] / freedom;
            }
        }
    }
    let variance = (0..classes).map(|k| covariance[k][k]).sum::<f64>() / classes as f64;
    for (k, row) in covariance.iter_mut().enumerate() {
        row[k] += ridge * variance.max(1e-6);
    }
    let difference: Vec<f64> = (0..classes).map(|k| mean(inside, k) - mean(outside, k)).collect();
    let centred = (0..classes).map(|k| x[k] - 0.5 * (mean(inside, k) + mean(outside, k)));
    solve(covariance, difference).iter().zip(centred).map(|(direction, centred)| direction * centred).sum()
}

fn assert_near(found: f64, truth: f64, tolerance: f64) {
    assert!((found - truth).abs() <= tolerance * truth.abs().max(1.0), "{found} is not {truth}");
}

proptest! {
    #[test]
    fn discriminants_leave_each_model_out_exactly((x, membership) in pool(), ridge in 1e-3..10.0_f64) {
        let (models, points, _) = x.dim();
        let targets = Array1::from_iter(0..models as i64);
        let scores = gaussian_scores(x.view(), membership.view(), targets.view(), ridge, ONE)?;
        let features = leave_one_out_features(x.view(), membership.view(), 1, None, &[ridge], ONE)?;
        for (model, point) in (0..models).flat_map(|model| (0..points).map(move |point| (model, point))) {
            let row: Vec<f64> = x.slice(s![model, point, ..]).iter().map(|&x| f64::from(x)).collect();
            let truth = |without: &[usize]| {
                let inside = side(&x, &membership, point, true, without);
                discriminant(&row, &inside, &side(&x, &membership, point, false, without), ridge)
            };
            assert_near(scores[[model, point]], truth(&[model]), 1e-6);
            let feature = f64::from(features[[model, point, 13]]);
            assert_near(feature, truth(&[model, 1]).clamp(-1e6, 1e6), 1e-6);
        }
    }

    #[test]
    fn features_are_finite_and_neutral_where_nothing_can_be_compared((x, membership) in pool()) {
        let features = leave_one_out_features(x.view(), membership.view(), 0, None, &[0.5, 2.0], ONE)?;
        prop_assert!(features.iter().all(|feature| feature.is_finite()));
        for ((model, point, feature), &value) in features.indexed_iter() {
            let left = |inside| side(&x, &membership, point, inside, &[0, model]).len();
            if (left(true) == 0 || left(false) == 0) && feature != 12 {
                prop_assert_eq!(value, 0.0);
            }
        }
    }

    #[test]
    fn no_statistic_knows_the_target((x, membership) in pool(), other in -50.0_f32..50.0) {
        let mut changed = (x.clone(), membership.clone());
        changed.0.slice_mut(s![2, .., ..]).mapv_inplace(|x| x + other);
        changed.1.row_mut(2).mapv_inplace(|is_in| !is_in);
        let of_shadows = |(x, membership): &(Array3<f32>, Array2<bool>)| {
            let mut features = leave_one_out_features(x.view(), membership.view(), 2, None, &[0.5], ONE)?;
            features.slice_mut(s![2, .., ..]).fill(0.0);
            Ok::<_, tmi_kernels::KernelError>(features)
        };
        prop_assert_eq!(of_shadows(&(x, membership))?, of_shadows(&changed)?);
    }

    #[test]
    fn threads_change_no_bit((x, membership) in pool()) {
        let run = |threads| leave_one_out_features(x.view(), membership.view(), 0, None, &[0.5], threads);
        let two = NonZeroUsize::new(2).expect("positive");
        prop_assert_eq!(run(ONE)?, run(two)?);
    }
}

#[test]
fn features_are_named() {
    let names = leave_one_out_feature_names(&[0.5, 2.0]);
    assert_eq!(names.first().map(String::as_str), Some("llr_shared"));
    assert_eq!(names[12..], ["top_value", "lda_0.5", "lda_2"]);
}

#[test]
fn only_models_are_targets() {
    let (x, membership) = (Array3::zeros((3, 2, 2)), Array2::from_elem((3, 2), true));
    for target in [-1, 3] {
        let error = leave_one_out_features(x.view(), membership.view(), target, None, &[], ONE)
            .expect_err("no such model");
        let expected = format!("target is {target}; expected the index of one of 3 models");
        assert_eq!(error.to_string(), expected);
    }
}
