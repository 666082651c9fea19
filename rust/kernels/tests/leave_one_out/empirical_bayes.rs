//! `leave_one_out_features` with a prior.

use ndarray::{Array1, Array2, Array3, Axis, s};
use proptest::prelude::*;
use tmi_kernels::{KernelError, Prior};

use crate::{
    ONE, assert_near, covariance, empirical_bayes_features, inner, level, many, mean, pool,
    pool_of_many_classes, row, several, side, solve,
};

/// The features of values `x` from the rows of both sides, the expected shift and its variance.
fn features(
    x: &[f64],
    sides: &[Vec<Vec<f64>>; 2],
    expected: &[f64],
    variance: &[f64],
    share: f64,
) -> [f64; 3] {
    let [inside, outside] = sides;
    let mut covariance = covariance(inside, outside);
    let identity = share * level(&covariance);
    for (k, row) in covariance.iter_mut().enumerate() {
        row.iter_mut().for_each(|entry| *entry *= 1.0 - share);
        row[k] += identity;
    }
    let (count_in, count_out) = (inside.len() as f64, outside.len() as f64);
    let part_in = count_in / (count_in + count_out);
    let shrunken: Vec<f64> = (0..x.len())
        .map(|k| {
            let sampling = (1.0 / count_in + 1.0 / count_out) * covariance[k][k];
            let difference = mean(inside, k) - mean(outside, k);
            (difference * variance[k] + expected[k] * sampling) / (variance[k] + sampling)
        })
        .collect();
    let ratio = |shift: &[f64]| {
        let centred: Vec<f64> = (0..x.len())
            .map(|k| {
                let mean = part_in * mean(inside, k) + (1.0 - part_in) * mean(outside, k);
                x[k] - mean + (part_in - 0.5) * shift[k]
            })
            .collect();
        inner(&solve(covariance.clone(), shift.to_vec()), &centred)
    };
    let square = inner(&solve(covariance.clone(), shrunken.clone()), &shrunken);
    [ratio(expected), ratio(&shrunken), square.sqrt()]
}

/// The kernel with a prior that is the same everywhere, target 1.
fn run(
    x: &Array3<f32>,
    membership: &Array2<bool>,
    expected: f64,
    variance: f64,
    share: f64,
) -> Result<Array3<f32>, KernelError> {
    let (_, points, classes) = x.dim();
    let (mean, variance) =
        (Array2::from_elem((points, classes), expected), Array1::from_elem(classes, variance));
    let prior = Prior { mean: mean.view(), variance: variance.view(), share };
    empirical_bayes_features(x.view(), membership.view(), 1, None, &prior, ONE)
}

fn assert_leaves_each_model_out(
    x: &Array3<f32>,
    membership: &Array2<bool>,
    expected: f64,
    variance: f64,
    share: f64,
) {
    let found = run(x, membership, expected, variance, share).expect("good input");
    let (models, points, classes) = x.dim();
    for (model, point) in (0..models).flat_map(|model| (0..points).map(move |point| (model, point))) {
        let sides = [true, false].map(|is_in| side(x, membership, point, is_in, &[model, 1]));
        let is_comparable = sides.iter().all(|rows| !rows.is_empty());
        let (expected, variance) = (vec![expected; classes], vec![variance; classes]);
        let truth = match is_comparable {
            true => features(&row(x, model, point), &sides, &expected, &variance, share),
            false => [0.0; 3],
        };
        for (feature, truth) in truth.into_iter().enumerate() {
            assert_near(f64::from(found[[model, point, feature]]), truth.clamp(-1e6, 1e6), 1e-5);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3))]

    #[test]
    fn features_of_many_classes_are_the_same(
        (x, membership) in pool_of_many_classes(&[1.0, 1e3, 1e4, 1e8]),
        expected in -1.0..1.0_f64,
        variance in 0.0..2.0_f64,
        share in 0.05..0.95_f64,
    ) {
        assert_leaves_each_model_out(&x, &membership, expected, variance, share);
    }
}

proptest! {
    // An outlier of 1e4 still is a part of the scatter matrix that is removed again, one of 1e8 is not.
    #[test]
    fn features_leave_each_model_out_exactly(
        (x, membership) in pool(&[1.0, 1e3, 1e4, 1e8]),
        expected in -1.0..1.0_f64,
        variance in 0.0..2.0_f64,
        share in 0.05..0.95_f64,
    ) {
        assert_leaves_each_model_out(&x, &membership, expected, variance, share);
    }

    #[test]
    fn what_is_apart_enters_no_statistic((x, membership) in pool(&[1.0, 1e8]), seed in any::<u64>()) {
        let (_, points, classes) = x.dim();
        let apart = Array2::from_shape_fn(membership.raw_dim(), |(n, p)| seed >> ((5 * n + p) % 64) & 3 == 3);
        let (mean, variance) = (Array2::from_elem((points, classes), 0.3), Array1::ones(classes));
        let prior = Prior { mean: mean.view(), variance: variance.view(), share: 0.6 };
        let features =
            empirical_bayes_features(x.view(), membership.view(), 1, Some(apart.view()), &prior, ONE)?;
        for point in 0..points {
            // The target is second again.
            let others = (0..membership.nrows()).filter(|&n| n != 1 && !apart[[n, point]]);
            let mut kept: Vec<usize> = others.collect();
            if kept.is_empty() {
                continue;
            }
            kept.insert(1, 1);
            let (x, membership) = (x.select(Axis(0), &kept), membership.select(Axis(0), &kept));
            let alone = run(&x, &membership, 0.3, 1.0, 0.6)?;
            for (row, &model) in kept.iter().enumerate() {
                for (&found, &truth) in features.slice(s![model, point, ..]).iter().zip(alone.slice(s![row, point, ..])) {
                    assert_near(f64::from(found), f64::from(truth), 1e-4);
                }
            }
        }
    }

    #[test]
    fn extreme_numbers_have_finite_features(
        (x, membership) in prop_oneof![pool(&[1.0, 1e38]), pool_of_many_classes(&[1.0, 1e38])],
        scale in prop::sample::select(&[1e-45_f32, 1.0, 1e38][..]),
        expected in prop::sample::select(&[0.0, -1e-300, 1e38, -1e155, f64::MAX][..]),
        variance in prop::sample::select(&[0.0, 5e-324, 1.0, 1e155, f64::MAX][..]),
        share in prop::sample::select(&[5e-324, 1e-12, 0.6, 1.0 - f64::EPSILON / 2.0][..]),
    ) {
        let x = x.mapv(|x| (scale * x).clamp(-f32::MAX, f32::MAX));
        let features = run(&x, &membership, expected, variance, share)?;
        prop_assert!(features.iter().all(|feature| feature.abs() <= 1e6), "{features}");
    }

    #[test]
    fn no_feature_knows_the_target((x, membership) in pool(&[1.0]), other in -50.0_f32..50.0) {
        let (mut x_changed, mut membership_changed) = (x.clone(), membership.clone());
        x_changed.slice_mut(s![1, .., ..]).mapv_inplace(|x| x + other);
        membership_changed.row_mut(1).mapv_inplace(|is_in| !is_in);
        let mut features = [run(&x, &membership, 0.3, 1.0, 0.6)?, run(&x_changed, &membership_changed, 0.3, 1.0, 0.6)?];
        features.iter_mut().for_each(|features| features.slice_mut(s![1, .., ..]).fill(0.0));
        prop_assert_eq!(&features[0], &features[1]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn threads_change_no_bit(pool in prop_oneof![pool(&[1.0, 1e8]), pool_of_many_classes(&[1.0, 1e8])]) {
        let (x, membership) = many(&pool);
        let (_, points, classes) = x.dim();
        let (mean, variance) = (Array2::from_elem((points, classes), 0.3), Array1::ones(classes));
        let prior = Prior { mean: mean.view(), variance: variance.view(), share: 0.6 };
        for threads in several() {
            let features = empirical_bayes_features(x.view(), membership.view(), 1, None, &prior, threads)?;
            prop_assert_eq!(features, run(&x, &membership, 0.3, 1.0, 0.6)?);
        }
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    let (x, membership) = (Array3::zeros((3, 2, 2)), Array2::from_elem((3, 2), true));
    let refusal = |expected, variance, share| {
        run(&x, &membership, expected, variance, share).expect_err("refused").to_string()
    };
    assert_eq!(refusal(f64::INFINITY, 1.0, 0.6), "prior_mean is inf; expected finite numbers");
    assert_eq!(refusal(0.0, -1.0, 0.6), "prior_variance is -1; expected finite numbers from 0");
    for share in [0.0, 1.0, f64::NAN] {
        assert_eq!(refusal(0.0, 1.0, share), format!("share is {share}; expected between 0 and 1"));
    }
    let (mean, variance) = (Array2::zeros((2, 3)), Array1::ones(2));
    let prior = Prior { mean: mean.view(), variance: variance.view(), share: 0.6 };
    let error =
        empirical_bayes_features(x.view(), membership.view(), 0, None, &prior, ONE).expect_err("refused");
    assert_eq!(error.to_string(), "prior_mean has shape [2, 3]; expected [2, 2] (points and classes of x)");
}
