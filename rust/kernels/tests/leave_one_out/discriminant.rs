//! `gaussian_scores`, and the discriminants among the features.

use ndarray::{Array1, Array2, Array3, array};
use proptest::prelude::*;
use tmi_kernels::gaussian_scores;

use crate::{
    ONE, assert_near, covariance, inner, leave_one_out_features, level, many, mean, pool,
    pool_of_many_classes, row, several, side, solve,
};

/// The discriminant score of `x` from the rows of both sides; 0 if one has none.
fn discriminant(x: &[f64], inside: &[Vec<f64>], outside: &[Vec<f64>], ridge: f64) -> f64 {
    if inside.is_empty() || outside.is_empty() {
        return 0.0;
    }
    let mut covariance = covariance(inside, outside);
    let ridge = ridge * level(&covariance);
    covariance.iter_mut().enumerate().for_each(|(k, row)| row[k] += ridge);
    let classes = 0..x.len();
    let difference = classes.clone().map(|k| mean(inside, k) - mean(outside, k)).collect();
    let centred: Vec<f64> = classes.map(|k| x[k] - 0.5 * (mean(inside, k) + mean(outside, k))).collect();
    inner(&solve(covariance, difference), &centred)
}

fn assert_leaves_each_model_out(x: &Array3<f32>, membership: &Array2<bool>, ridge: f64) {
    let (models, points, _) = x.dim();
    let targets = Array1::from_iter(0..models as i64);
    let scores =
        gaussian_scores(x.view(), membership.view(), targets.view(), ridge, ONE).expect("good input");
    let features =
        leave_one_out_features(x.view(), membership.view(), 1, None, &[ridge], ONE).expect("good input");
    for (model, point) in (0..models).flat_map(|model| (0..points).map(move |point| (model, point))) {
        let row = row(x, model, point);
        let truth = |without: &[usize]| {
            let inside = side(x, membership, point, true, without);
            discriminant(&row, &inside, &side(x, membership, point, false, without), ridge)
        };
        assert_near(scores[[model, point]], truth(&[model]), 1e-6);
        let feature = f64::from(features[[model, point, 13]]);
        assert_near(feature, truth(&[model, 1]).clamp(-1e6, 1e6), 1e-6);
    }
}

proptest! {
    #[test]
    fn discriminants_leave_each_model_out_exactly((x, membership) in pool(&[1.0, 1e3, 1e6]), ridge in 1e-3..10.0_f64) {
        assert_leaves_each_model_out(&x, &membership, ridge);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn discriminants_of_many_classes_are_the_same(
        (x, membership) in pool_of_many_classes(&[1.0, 1e3, 1e6]),
        ridge in 1e-3..10.0_f64,
    ) {
        assert_leaves_each_model_out(&x, &membership, ridge);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn threads_change_no_bit(pool in prop_oneof![pool(&[1.0, 1e6]), pool_of_many_classes(&[1.0, 1e6])]) {
        let (x, membership) = many(&pool);
        let targets = array![2, 0];
        let run = |threads| gaussian_scores(x.view(), membership.view(), targets.view(), 0.5, threads);
        for threads in several() {
            prop_assert_eq!(run(ONE)?, run(threads)?);
        }
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    let (x, membership) = (Array3::<f32>::zeros((3, 2, 2)), Array2::from_elem((3, 2), true));
    let refusal = |targets: &[i64], ridge| {
        let targets = Array1::from_vec(targets.to_vec());
        let scores = gaussian_scores(x.view(), membership.view(), targets.view(), ridge, ONE);
        scores.expect_err("refused").to_string()
    };
    assert_eq!(refusal(&[0, 3], 0.5), "targets is 3; expected the index of one of 3 models");
    assert_eq!(refusal(&[], 0.5), "targets has shape [0]; expected every axis to have at least one entry");
    assert_eq!(refusal(&[0], 0.0), "ridge is 0; expected between 1e-6 and 1e6");
    assert_eq!(refusal(&[0], f64::NAN), "ridge is NaN; expected between 1e-6 and 1e6");
}

#[test]
fn a_vocabulary_takes_no_matrix_of_classes() {
    let x =
        Array3::from_shape_fn((4, 6, 60_000), |(n, p, k)| ((7 * n + 3 * p + k) % 11) as f32 * (n + 1) as f32);
    let membership = Array2::from_shape_fn((4, 6), |(n, p)| (n + p) % 2 == 0);
    let scores =
        gaussian_scores(x.view(), membership.view(), array![0].view(), 0.5, ONE).expect("28.8 GB less");
    assert!(
        scores.iter().all(|score| score.is_finite()) && scores.iter().any(|&score| score != 0.0),
        "{scores}"
    );
}
