//! `leave_one_out_features`.

use ndarray::{Array1, Array2, Array3, Axis, s};
use proptest::prelude::*;
use tmi_kernels::{Compared, KernelError, Prior, leave_one_out_feature_names};

use crate::{ONE, covariance, leave_one_out_features, level, many, mean, pool, row, several, side};

/// Everything but the discriminants from the rows of both sides, in the order of their names, and how large the terms
/// are that they are sums of.
fn comparison(x: &[f64], inside: &[Vec<f64>], outside: &[Vec<f64>]) -> ([f64; 13], f64) {
    let covariance = covariance(inside, outside);
    let floor = (1e-3 * level(&covariance)).max(1e-6);
    let top = (0..x.len()).fold(0, |top, k| if x[k] > x[top] { k } else { top });
    let mut found = [0.0; 13];
    (found[8], found[9], found[12]) = (f64::MIN, f64::MAX, x[top]);
    for k in 0..x.len() {
        let shared = covariance[k][k].max(floor);
        let own = |rows: &[Vec<f64>]| {
            let squares: f64 = rows.iter().map(|row| (row[k] - mean(rows, k)).powi(2)).sum();
            0.7 * (squares / (rows.len() - 1).max(1) as f64).max(floor) + 0.3 * shared
        };
        let (of_in, of_out) = (own(inside), own(outside));
        let (from_in, from_out) = (x[k] - mean(inside, k), x[k] - mean(outside, k));
        let llr_shared = (from_out.powi(2) - from_in.powi(2)) / (2.0 * shared);
        let llr_separate =
            0.5 * ((of_out / of_in).ln() + from_out.powi(2) / of_out - from_in.powi(2) / of_in);
        found[0] += llr_shared;
        found[1] += llr_separate;
        found[8] = llr_shared.max(found[8]);
        found[9] = llr_shared.min(found[9]);
        found[7] += (from_out - from_in).powi(2) / shared;
        found[10] += from_out.powi(2) / shared;
        found[11] += from_in.powi(2) / shared;
        if k == top {
            let deviation = shared.sqrt();
            let shift = (from_out - from_in) / deviation;
            found[2..7].copy_from_slice(&[
                llr_shared,
                llr_separate,
                from_out / deviation,
                from_in / deviation,
                shift,
            ]);
        }
    }
    // A side's own variance is at least 0.3 of the shared one.
    let scale = 4.0 * (found[7] + found[10] + found[11]) + 1.0;
    (found[10], found[11]) = (found[10].sqrt(), found[11].sqrt());
    (found, scale)
}

proptest! {
    #[test]
    fn comparisons_leave_each_model_out_exactly((x, membership) in pool(&[1.0, 1e3])) {
        let features = leave_one_out_features(x.view(), membership.view(), 1, None, &[], ONE)?;
        let (models, points, _) = x.dim();
        for (model, point) in (0..models).flat_map(|model| (0..points).map(move |point| (model, point))) {
            let rows = |is_in| side(&x, &membership, point, is_in, &[model, 1]);
            let (inside, outside) = (rows(true), rows(false));
            if inside.is_empty() || outside.is_empty() {
                continue;
            }
            let (truth, scale) = comparison(&row(&x, model, point), &inside, &outside);
            for (feature, truth) in truth.iter().enumerate() {
                let found = f64::from(features[[model, point, feature]]);
                let error = (found - truth.clamp(-1e6, 1e6)).abs();
                prop_assert!(error <= 1e-6 * scale, "{found} is not {truth}, feature {feature}");
            }
        }
    }

    #[test]
    fn what_is_apart_enters_no_statistic((x, membership) in pool(&[1.0]), seed in any::<u64>()) {
        let apart = Array2::from_shape_fn(membership.raw_dim(), |(n, p)| seed >> ((5 * n + p) % 64) & 3 == 3);
        let features = leave_one_out_features(x.view(), membership.view(), 1, Some(apart.view()), &[0.5], ONE)?;
        for point in 0..membership.ncols() {
            let kept: Vec<usize> = (0..membership.nrows()).filter(|&n| n == 1 || !apart[[n, point]]).collect();
            let (x, membership) = (x.select(Axis(0), &kept), membership.select(Axis(0), &kept));
            let target = kept.iter().position(|&n| n == 1).expect("the target is kept") as i64;
            let alone = leave_one_out_features(x.view(), membership.view(), target, None, &[0.5], ONE)?;
            for (row, &model) in kept.iter().enumerate() {
                for (found, truth) in features.slice(s![model, point, ..]).iter().zip(alone.slice(s![row, point, ..])) {
                    prop_assert!((found - truth).abs() <= 1e-4 * truth.abs().max(1.0), "{found} is not {truth}");
                }
            }
        }
    }

    #[test]
    fn features_are_finite_and_neutral_where_nothing_can_be_compared((x, membership) in pool(&[1.0, 1e3, 1e6])) {
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
    fn no_statistic_knows_the_target((x, membership) in pool(&[1.0, 1e3, 1e6]), other in -50.0_f32..50.0) {
        let mut changed = (x.clone(), membership.clone());
        changed.0.slice_mut(s![2, .., ..]).mapv_inplace(|x| x + other);
        changed.1.row_mut(2).mapv_inplace(|is_in| !is_in);
        let of_shadows = |(x, membership): &(Array3<f32>, Array2<bool>)| {
            let mut features = leave_one_out_features(x.view(), membership.view(), 2, None, &[0.5], ONE)?;
            features.slice_mut(s![2, .., ..]).fill(0.0);
            Ok::<_, KernelError>(features)
        };
        prop_assert_eq!(of_shadows(&(x, membership))?, of_shadows(&changed)?);
    }
}

proptest! {
    #[test]
    fn wanted_rows_are_those_among_all((x, membership) in pool(&[1.0, 1e8]), seed in any::<u64>()) {
        let wanted = Array2::from_shape_fn(membership.raw_dim(), |(n, p)| seed >> ((5 * n + p) % 64) & 1 == 1);
        let (_, points, classes) = x.dim();
        let (mean, variance) = (Array2::from_elem((points, classes), 0.3), Array1::ones(classes));
        let prior = Prior { mean: mean.view(), variance: variance.view(), share: 0.6 };
        let run = |wanted| {
            let compared = Compared { target: 1, apart: None, wanted };
            tmi_kernels::leave_one_out_features(x.view(), membership.view(), &compared, &[0.5], Some(&prior), ONE)
        };
        let (all, found) = (run(None)?, run(Some(wanted.view()))?);
        let rows: Vec<usize> = wanted.iter().enumerate().filter(|(_, wanted)| **wanted).map(|(row, _)| row).collect();
        prop_assert_eq!(found, all.select(Axis(0), &rows));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn threads_change_no_bit(pool in pool(&[1.0, 1e3, 1e6])) {
        let (x, membership) = many(&pool);
        let run = |threads| leave_one_out_features(x.view(), membership.view(), 0, None, &[0.5], threads);
        for threads in several() {
            prop_assert_eq!(run(ONE)?, run(threads)?);
        }
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

#[test]
fn refusals_say_what_is_wrong() {
    let refusal = |x: Array3<f32>, membership: (usize, usize), ridges: &[f64]| {
        let membership = Array2::from_elem(membership, true);
        let features = leave_one_out_features(x.view(), membership.view(), 0, None, ridges, ONE);
        features.expect_err("refused").to_string()
    };
    let x = Array3::zeros((3, 2, 2));
    let mut infinite = x.clone();
    infinite[[2, 1, 0]] = f32::NEG_INFINITY;
    assert_eq!(
        refusal(infinite, (3, 2), &[]),
        "x contains -inf at model 2, point 1; expected finite numbers"
    );
    assert_eq!(
        refusal(x.clone(), (2, 3), &[]),
        "membership has shape [2, 3]; expected [3, 2] (models and points of x)"
    );
    assert_eq!(refusal(x, (3, 2), &[0.5, 1e7]), "ridges is 10000000; expected between 1e-6 and 1e6");
    assert_eq!(
        refusal(Array3::zeros((3, 2, 0)), (3, 2), &[]),
        "x has shape [3, 2, 0]; expected every axis to have at least one entry"
    );
}
