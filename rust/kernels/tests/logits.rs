//! Logit scaling against its definition in float64.

use std::num::NonZeroUsize;

use half::f16;
use ndarray::{Array2, Array4, ArrayView1, Axis, s};
use proptest::prelude::*;
use tmi_kernels::{KernelError, reduce_logits, scale_logits};

const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// `z_c - ln(sum over j != c of exp(z_j))`, term by term.
fn log_odds(z: ArrayView1<f32>) -> Vec<f64> {
    let z: Vec<f64> = z.iter().map(|&z| f64::from(z).clamp(-1e4, 1e4)).collect();
    let others = |c: usize| z.iter().enumerate().filter(move |&(j, _)| j != c).map(|(_, &z)| z);
    (0..z.len())
        .map(|c| {
            let largest = others(c).fold(f64::NEG_INFINITY, f64::max);
            z[c] - largest - others(c).map(|z| (z - largest).exp()).sum::<f64>().ln()
        })
        .collect()
}

fn norm(row: &[f64]) -> f64 {
    row.iter().map(|s| s * s).sum::<f64>().sqrt()
}

fn logit() -> impl Strategy<Value = f32> {
    prop_oneof![
        -20.0_f32..20.0,
        -1e3_f32..1e3,
        Just(0.0),
        Just(f32::INFINITY),
        Just(f32::NEG_INFINITY),
        Just(f32::MAX),
    ]
}

prop_compose! {
    fn rows()(rows in 1..40_usize, classes in 2..13_usize)(
        logits in prop::collection::vec(logit(), rows * classes), classes in Just(classes),
    ) -> Array2<f32> {
        Array2::from_shape_vec((logits.len() / classes, classes), logits).expect("the length is the product")
    }
}

prop_compose! {
    fn answers()(shape in (1..3_usize, 1..40_usize, 1..6_usize, 2..9_usize))(
        logits in prop::collection::vec(-30.0_f32..30.0, shape.0 * shape.1 * shape.2 * shape.3), shape in Just(shape),
    ) -> Array4<f32> {
        Array4::from_shape_vec(shape, logits).expect("the length is the product")
    }
}

fn assert_near(found: f32, truth: f64, tolerance: f64) {
    let error = (f64::from(found) - truth).abs();
    assert!(error <= tolerance * truth.abs().max(1.0), "{found} is not {truth}");
}

proptest! {
    #[test]
    fn scaled_logits_are_log_odds(logits in rows()) {
        let scaled = scale_logits(logits.view(), None, ONE)?;
        for (found, logits) in scaled.outer_iter().zip(logits.outer_iter()) {
            for (&found, truth) in found.iter().zip(log_odds(logits)) {
                assert_near(found, truth, 6e-7);
            }
        }
    }

    #[test]
    fn clipped_rows_keep_their_direction(logits in rows(), limit in 0.1..50.0_f64) {
        let clipped = scale_logits(logits.view(), Some(limit), ONE)?;
        for (found, logits) in clipped.outer_iter().zip(logits.outer_iter()) {
            let truth = log_odds(logits);
            let factor = limit / norm(&truth).max(limit);
            for (&found, truth) in found.iter().zip(truth) {
                assert_near(found, truth * factor, 2e-6);
            }
        }
    }

    #[test]
    fn strides_threads_and_neighbours_change_no_bit(logits in rows()) {
        let expected = scale_logits(logits.view(), None, ONE)?;
        let mut wide = Array2::from_elem((2 * logits.nrows(), 3 * logits.ncols()), 7.0_f32);
        wide.slice_mut(s![1..;2, ..;3]).assign(&logits);
        let strided = wide.slice(s![1..;2, ..;3]);
        for threads in [1, 2, 5] {
            let threads = NonZeroUsize::new(threads).expect("positive");
            prop_assert_eq!(&scale_logits(strided, None, threads)?, &expected);
        }
        for (row, expected) in logits.axis_chunks_iter(Axis(0), 1).zip(expected.axis_chunks_iter(Axis(0), 1)) {
            prop_assert_eq!(scale_logits(row, None, ONE)?, expected);
        }
    }

    #[test]
    fn float16_is_float32_of_the_same_numbers(answers in answers()) {
        let halves = answers.mapv(f16::from_f32);
        let singles = halves.mapv(f16::to_f32);
        prop_assert_eq!(reduce_logits(halves.view(), ONE)?, reduce_logits(singles.view(), ONE)?);
        let reversed = halves.slice(s![..;-1, .., .., ..]);
        let reversed_singles = singles.slice(s![..;-1, .., .., ..]);
        prop_assert_eq!(reduce_logits(reversed, ONE)?, reduce_logits(reversed_singles, ONE)?);
    }

    #[test]
    fn reduction_averages_over_augmentations(answers in answers()) {
        let reduced = reduce_logits(answers.view(), ONE)?;
        let (models, points, augmentations, classes) = answers.dim();
        let share = 1.0 / augmentations as f64;
        for (model, point) in (0..models).flat_map(|model| (0..points).map(move |point| (model, point))) {
            let rows: Vec<_> = answers.slice(s![model, point, .., ..]).outer_iter().map(log_odds).collect();
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
    let mut answers = Array4::<f32>::zeros((3, 50, 2, 4));
    answers[[1, 33, 1, 2]] = f32::NAN;
    answers[[2, 0, 0, 0]] = f32::NAN;
    for threads in [1, 2, 3] {
        let threads = NonZeroUsize::new(threads).expect("positive");
        let error = reduce_logits(answers.view(), threads).expect_err("there is a NaN");
        assert!(error.to_string().starts_with("predictions contains NaN at model 1, point 33;"), "{error}");
    }
}

#[test]
fn a_single_class_has_no_odds() {
    let error = scale_logits(Array2::<f32>::zeros((3, 1)).view(), None, ONE).expect_err("there is one class");
    assert!(matches!(error, KernelError::Shape { array: "logits", .. }), "{error}");
}
