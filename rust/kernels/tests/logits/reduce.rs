//! `reduce_logits`.

use half::f16;
use ndarray::{Array4, s};
use proptest::prelude::*;
use tmi_kernels::reduce_logits;

use crate::{ONE, assert_near, log_odds, norm, several};

prop_compose! {
    fn predictions()(shape in (1..3_usize, 1..40_usize, 1..6_usize, 2..9_usize))(
        logits in prop::collection::vec(-30.0_f32..30.0, shape.0 * shape.1 * shape.2 * shape.3), shape in Just(shape),
    ) -> Array4<f32> {
        Array4::from_shape_vec(shape, logits).expect("the length is the product")
    }
}

proptest! {
    #[test]
    fn float16_is_float32_of_the_same_numbers(predictions in predictions()) {
        let halves = predictions.mapv(f16::from_f32);
        let singles = halves.mapv(f16::to_f32);
        prop_assert_eq!(reduce_logits(halves.view(), ONE)?, reduce_logits(singles.view(), ONE)?);
        let reversed = halves.slice(s![..;-1, .., .., ..]);
        let reversed_singles = singles.slice(s![..;-1, .., .., ..]);
        prop_assert_eq!(reduce_logits(reversed, ONE)?, reduce_logits(reversed_singles, ONE)?);
    }

    #[test]
    fn threads_change_no_bit(predictions in predictions()) {
        for threads in several() {
            prop_assert_eq!(reduce_logits(predictions.view(), threads)?, reduce_logits(predictions.view(), ONE)?);
        }
    }

    #[test]
    fn reduction_averages_over_augmentations(predictions in predictions()) {
        let reduced = reduce_logits(predictions.view(), ONE)?;
        let (models, points, augmentations, classes) = predictions.dim();
        let share = 1.0 / augmentations as f64;
        for (model, point) in (0..models).flat_map(|model| (0..points).map(move |point| (model, point))) {
            let rows: Vec<_> = predictions.slice(s![model, point, .., ..]).outer_iter().map(log_odds).collect();
            for class in 0..classes {
                let scaled: f64 = rows.iter().map(|row| row[class]).sum();
                let clipped: f64 = rows.iter().map(|row| row[class] / norm(row).max(1.0)).sum();
                assert_near(reduced.scaled[[model, point, class]], scaled * share, 2e-5);
                assert_near(reduced.clipped[[model, point, class]], clipped * share, 2e-6);
            }
            let largest: Vec<f64> = rows.iter().map(|row| row.iter().copied().fold(f64::MIN, f64::max)).collect();
            let mean = largest.iter().sum::<f64>() * share;
            let variance = largest.iter().map(|s| (s - mean).powi(2)).sum::<f64>() * share;
            assert_near(reduced.spread[[model, point]], variance.sqrt(), 2e-5);
        }
    }
}

#[test]
fn nan_is_located() {
    let mut predictions = Array4::<f32>::zeros((3, 50, 2, 4));
    predictions[[1, 33, 1, 2]] = f32::NAN;
    predictions[[2, 0, 0, 0]] = f32::NAN;
    for threads in several() {
        let error = reduce_logits(predictions.view(), threads).expect_err("there is a NaN");
        assert!(error.to_string().starts_with("predictions contains NaN at model 1, point 33;"), "{error}");
    }
}

#[test]
fn empty_axes_and_a_single_class_are_refused() {
    for shape in [(0, 2, 2, 2), (2, 0, 2, 2), (2, 2, 0, 2), (2, 2, 2, 0), (2, 2, 2, 1)] {
        let error = reduce_logits(Array4::<f32>::zeros(shape).view(), ONE).expect_err("refused");
        assert!(error.to_string().starts_with("predictions has shape ["), "{error}");
    }
}
