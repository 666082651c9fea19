//! Adapted LiRA in cases that can be worked out by hand.

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

/// Number, mean and sum of squares about it.
fn moments(values: &[f64]) -> (f64, f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    (count, mean, values.iter().map(|x| (x - mean).powi(2)).sum())
}

/// The log-likelihood ratio of univariate Gaussians with unbiased variances and the documented jitter.
fn ratio(x: f64, inside: &[f64], outside: &[f64]) -> f64 {
    let (sides, both) = ([moments(inside), moments(outside)], inside.len() + outside.len());
    let jitter = (1e-6 * (sides[0].2 + sides[1].2) / (both - 2) as f64).max(1e-9);
    let [inside, outside] = sides.map(|(count, mean, squares)| {
        let variance = squares / (count - 1.0) + jitter;
        -0.5 * ((x - mean).powi(2) / variance + variance.ln())
    });
    inside - outside
}

proptest! {
    #[test]
    fn with_one_augmentation_it_is_the_univariate_ratio((logits, membership) in pool(1..2)) {
        let scores = adapted_lira(logits.view(), membership.view(), array![0].view(), Covariance::Full, ONE)?;
        for point in 0..logits.dim().1 {
            let scaled = scale_logits(logits.slice(s![.., point, 0, ..]), None, ONE)?;
            let first = scaled.row(0);
            let class = (0..first.len()).fold(0, |best, class| if first[class] > first[best] { class } else { best });
            let answers = |inside| -> Vec<f64> {
                let models = (1..logits.dim().0).filter(|&model| membership[[model, point]] == inside);
                models.map(|model| f64::from(scaled[[model, class]])).collect()
            };
            let (inside, outside) = (answers(true), answers(false));
            if inside.len() < 2 || outside.len() < 2 {
                continue;
            }
            let target = f64::from(first[class]);
            let truth = ratio(target, &inside, &outside);
            prop_assert!((scores[[0, point]] - truth).abs() <= 1e-9 * truth.abs().max(1.0));
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
