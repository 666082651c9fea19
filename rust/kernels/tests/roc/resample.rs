//! `roc_resample`.

use ndarray::{Array1, Array2, array};
use proptest::prelude::*;
use tmi_kernels::roc_resample;

use crate::{ONE, assert_all_near, count, labelled, several};

proptest! {
    #[test]
    fn resamples_are_weighted_counts(
        (scores, labels) in labelled(),
        weights in prop::collection::vec(0..4_u16, 20 * 17),
        rates in prop::collection::vec(0.0..=1.0_f64, 0..4),
    ) {
        let (targets, points) = scores.dim();
        let target_weights = Array2::from_shape_fn((20, targets), |(r, t)| weights[(7 * r + t) % weights.len()]);
        let point_weights = Array2::from_shape_fn((20, points), |(r, p)| weights[(11 * r + p + 5) % weights.len()]);
        let rate_array = Array1::from(rates.clone());
        let run = |threads| roc_resample(
            scores.view(), labels.view(), target_weights.view(), point_weights.view(), rate_array.view(), threads,
        );
        let metrics = run(ONE)?;
        for threads in several() {
            prop_assert_eq!(&metrics, &run(threads)?);
        }
        for (r, metrics) in metrics.outer_iter().enumerate() {
            let product = Array2::from_shape_fn(scores.raw_dim(), |(t, p)| {
                f64::from(target_weights[[r, t]]) * f64::from(point_weights[[r, p]])
            });
            let has = |label| labels.iter().zip(&product).any(|(&l, &w)| l == label && w > 0.0);
            if has(true) && has(false) {
                assert_all_near(metrics, &count(&scores, &labels, &product, &rates));
            } else {
                let mut neutral = vec![0.5, 0.5];
                neutral.resize(2 + rates.len(), 0.0);
                assert_all_near(metrics, &neutral);
            }
        }
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    let refusal = |of_targets: (usize, usize), of_points: (usize, usize)| {
        let (scores, labels) = (array![[0.0, 1.0, 2.0]], array![[true, false, true]]);
        let (of_targets, of_points) = (Array2::ones(of_targets), Array2::ones(of_points));
        let rates = Array1::zeros(0);
        let metrics = roc_resample(
            scores.view(),
            labels.view(),
            of_targets.view(),
            of_points.view(),
            rates.view(),
            ONE,
        );
        metrics.expect_err("refused").to_string()
    };
    assert_eq!(
        refusal((4, 2), (4, 3)),
        "target_weights has shape [4, 2]; expected [4, 1] (resamples and targets)"
    );
    assert_eq!(
        refusal((4, 1), (5, 3)),
        "point_weights has shape [5, 3]; expected [4, 3] (resamples and points)"
    );
}
