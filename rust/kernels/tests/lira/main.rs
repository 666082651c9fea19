//! `adapted_lira` against densities from its definition.

use std::num::NonZeroUsize;

use ndarray::{Array1, Array2, Array4, Axis, array, concatenate, s};
use proptest::prelude::*;
use tmi_kernels::{Covariance, adapted_lira, scale_logits};

const ONE: NonZeroUsize = NonZeroUsize::MIN;
const ALL: [Covariance; 3] = [Covariance::Full, Covariance::Pooled, Covariance::Diagonal];

prop_compose! {
    fn pool(augmentations: std::ops::Range<usize>)(
        shape in (5..40_usize, 1..4_usize, augmentations, 2..5_usize)
    )(
        logits in prop::collection::vec(-5.0_f32..5.0, shape.0 * shape.1 * shape.2 * shape.3),
        membership in prop::collection::vec(any::<bool>(), shape.0 * shape.1),
        shape in Just(shape),
    ) -> (Array4<f32>, Array2<bool>) {
        let logits = Array4::from_shape_vec(shape, logits).expect("the length is the product");
        (logits, Array2::from_shape_vec((shape.0, shape.1), membership).expect("the length is the product"))
    }
}

/// Mean and scatter matrix about it of some rows.
fn moments(rows: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let size = rows[0].len();
    let mean: Vec<f64> =
        (0..size).map(|i| rows.iter().map(|row| row[i]).sum::<f64>() / rows.len() as f64).collect();
    let mut scatter = vec![vec![0.0; size]; size];
    for row in rows {
        for (i, j) in (0..size).flat_map(|i| (0..size).map(move |j| (i, j))) {
            scatter[i][j] += (row[i] - mean[i]) * (row[j] - mean[j]);
        }
    }
    (mean, scatter)
}

/// `u^T C^-1 u + ln det C` for a symmetric positive definite `C`, by elimination.
fn twice_negated(mut covariance: Vec<Vec<f64>>, mut u: Vec<f64>) -> f64 {
    let mut sum = 0.0;
    for pivot in 0..u.len() {
        let diagonal = covariance[pivot][pivot];
        sum += u[pivot] * u[pivot] / diagonal + diagonal.ln();
        for row in pivot + 1..u.len() {
            let factor = covariance[row][pivot] / diagonal;
            u[row] -= factor * u[pivot];
            for column in pivot..u.len() {
                covariance[row][column] -= factor * covariance[pivot][column];
            }
        }
    }
    sum
}

/// The log-likelihood ratio of Gaussians fitted to the rows of both sides, with the documented jitter, and how large
/// the terms are that it is a difference of.
fn ratio(x: &[f64], sides: [&[Vec<f64>]; 2], covariance: Covariance) -> (f64, f64) {
    let size = x.len();
    let [inside, outside] = sides.map(moments);
    let freedom = (sides[0].len() + sides[1].len()).saturating_sub(2).max(1) as f64;
    let pooled = |i: usize, j: usize| (inside.1[i][j] + outside.1[i][j]) / freedom;
    let mean_variance = (0..size).map(|i| pooled(i, i)).sum::<f64>() / size as f64;
    let jitter = (1e-6 * mean_variance).max(1e-9);
    let terms = [(inside.clone(), sides[0].len()), (outside.clone(), sides[1].len())].map(
        |((mean, scatter), count)| {
            let entry = |i: usize, j: usize| {
                let is_diagonal = i == j;
                let estimate = match covariance {
                    Covariance::Pooled => {
                        0.7 * pooled(i, j) + if is_diagonal { 0.3 * mean_variance } else { 0.0 }
                    }
                    Covariance::Diagonal if !is_diagonal => 0.0,
                    _ if count == 1 => pooled(i, j),
                    _ => scatter[i][j] / (count - 1) as f64,
                };
                estimate + if is_diagonal { jitter } else { 0.0 }
            };
            let matrix = (0..size).map(|i| (0..size).map(|j| entry(i, j)).collect()).collect();
            twice_negated(matrix, x.iter().zip(&mean).map(|(x, mean)| x - mean).collect())
        },
    );
    (0.5 * (terms[1] - terms[0]), terms[0].abs() + terms[1].abs())
}

proptest! {
    #[test]
    fn scores_are_ratios_of_gaussian_densities((logits, membership) in pool(1..5)) {
        let (models, points, augmentations, _) = logits.dim();
        for covariance in ALL {
            let scores = adapted_lira(logits.view(), membership.view(), array![0].view(), covariance, ONE)?;
            for point in 0..points {
                // The scaled logits of the target's class, augmentation by augmentation.
                let mut of_models = vec![Vec::new(); models];
                for augmentation in 0..augmentations {
                    let scaled = scale_logits(logits.slice(s![.., point, augmentation, ..]), None, ONE)?;
                    let first = scaled.row(0);
                    let class = (0..first.len()).fold(0, |top, class| if first[class] > first[top] { class } else { top });
                    for (values, &scaled) in of_models.iter_mut().zip(scaled.column(class)) {
                        values.push(f64::from(scaled));
                    }
                }
                let side = |is_in| -> Vec<Vec<f64>> {
                    let shadows = (1..models).filter(|&model| membership[[model, point]] == is_in);
                    shadows.map(|model| of_models[model].clone()).collect()
                };
                let (inside, outside) = (side(true), side(false));
                if inside.is_empty() || outside.is_empty() {
                    prop_assert_eq!(scores[[0, point]], 0.0);
                    continue;
                }
                let (truth, scale) = ratio(&of_models[0], [&inside, &outside], covariance);
                let found = scores[[0, point]];
                // The jitter leaves a condition of a million at most, with few shadow models.
                prop_assert!((found - truth).abs() <= 1e-8 * scale.max(1.0), "{found} is not {truth}, {covariance:?}");
            }
        }
    }

    #[test]
    fn scores_are_finite_and_neutral_where_a_side_is_empty((logits, membership) in pool(1..6)) {
        let models = logits.dim().0;
        let targets = Array1::from_iter(0..models as i64);
        for covariance in ALL {
            let scores = adapted_lira(logits.view(), membership.view(), targets.view(), covariance, ONE)?;
            for ((target, point), &score) in scores.indexed_iter() {
                prop_assert!(score.is_finite());
                let inside = (0..models).filter(|&model| model != target && membership[[model, point]]).count();
                if inside == 0 || inside == models - 1 {
                    prop_assert_eq!(score, 0.0);
                }
            }
        }
    }

    #[test]
    fn the_order_of_points_targets_and_threads_change_no_bit((logits, membership) in pool(2..4)) {
        let targets = array![3, 0, 3];
        let two = NonZeroUsize::new(2).expect("positive");
        // Enough points for two threads.
        let logits = concatenate(Axis(1), &[logits.view(); 7]).expect("the other axes are the same");
        let membership = concatenate(Axis(1), &[membership.view(); 7]).expect("the other axis is the same");
        for covariance in ALL {
            let scores = adapted_lira(logits.view(), membership.view(), targets.view(), covariance, ONE)?;
            let backwards = adapted_lira(
                logits.slice(s![.., ..;-1, .., ..]),
                membership.slice(s![.., ..;-1]),
                targets.slice(s![..;-1]),
                covariance,
                two,
            )?;
            prop_assert_eq!(scores, backwards.slice(s![..;-1, ..;-1]));
        }
    }

    #[test]
    fn a_repeated_query_changes_nothing_of_note((logits, membership) in pool(2..4)) {
        let repeated = concatenate(Axis(2), &[logits.view(), logits.slice(s![.., .., ..1, ..])])
            .expect("the other axes are the same");
        let [once, twice] = [logits, repeated].map(|logits| {
            adapted_lira(logits.view(), membership.view(), array![0].view(), Covariance::Full, ONE)
        });
        for (point, (once, twice)) in once?.iter().zip(twice?).enumerate() {
            // With fewer shadows than augmentations the jitter itself is what is measured with.
            let inside = membership.column(point).iter().skip(1).filter(|&&is_in| is_in).count();
            if inside.min(membership.nrows() - 1 - inside) > 8 {
                prop_assert!((once - twice).abs() <= 1e-2 * once.abs().max(1.0), "{once} became {twice}");
            }
        }
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    let refusal = |logits: Array4<f32>, membership, targets: Array1<i64>| {
        let membership = Array2::from_elem(membership, true);
        let scores = adapted_lira(logits.view(), membership.view(), targets.view(), Covariance::Full, ONE);
        scores.expect_err("refused").to_string()
    };
    let logits = Array4::zeros((3, 9, 2, 4));
    let mut with_nan = logits.clone();
    with_nan[[1, 7, 1, 3]] = f32::NAN;
    assert_eq!(
        refusal(with_nan, (3, 9), array![0]),
        "predictions contains NaN at model 1, point 7; expected numbers (infinities count as ±10,000)"
    );
    assert_eq!(
        refusal(logits.clone(), (3, 8), array![0]),
        "membership has shape [3, 8]; expected [3, 9] (models and points of predictions)"
    );
    assert_eq!(
        refusal(logits.clone(), (3, 9), array![-1]),
        "targets is -1; expected the index of one of 3 models"
    );
    assert_eq!(
        refusal(logits.slice_move(s![.., .., .., ..1]), (3, 9), array![0]),
        "predictions has shape [3, 9, 2, 1]; expected at least 2 classes on the last axis"
    );
    let error = "Full".parse::<Covariance>().expect_err("names are in lower case");
    assert_eq!(error.to_string(), r#"covariance is "Full"; expected "full", "pooled" or "diagonal""#);
}
