//! `scale_logits`.

use ndarray::{Array2, Axis, array, s};
use proptest::prelude::*;
use tmi_kernels::scale_logits;

use crate::{ONE, assert_near, log_odds, many, norm, rows, several};

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
        let logits = many(&logits);
        let expected = scale_logits(logits.view(), None, ONE)?;
        let mut wide = Array2::from_elem((2 * logits.nrows(), 3 * logits.ncols()), 7.0_f32);
        wide.slice_mut(s![1..;2, ..;3]).assign(&logits);
        let strided = wide.slice(s![1..;2, ..;3]);
        for threads in several() {
            prop_assert_eq!(&scale_logits(strided, None, threads)?, &expected);
        }
        for (row, expected) in logits.axis_chunks_iter(Axis(0), 1).zip(expected.axis_chunks_iter(Axis(0), 1)).take(40) {
            prop_assert_eq!(scale_logits(row, None, ONE)?, expected);
        }
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    let refusal =
        |logits: Array2<f32>, norm| scale_logits(logits.view(), norm, ONE).expect_err("refused").to_string();
    assert_eq!(
        refusal(Array2::zeros((3, 1)), None),
        "logits has shape [3, 1]; expected at least 2 classes on the last axis"
    );
    assert_eq!(
        refusal(Array2::zeros((0, 3)), None),
        "logits has shape [0, 3]; expected every axis to have at least one entry"
    );
    assert_eq!(
        refusal(array![[0.0, 1.0], [f32::NAN, 0.0]], None),
        "logits contains NaN at row 1; expected numbers (infinities count as ±10,000)"
    );
    for norm in [0.0, -1.0, f64::INFINITY, f64::NAN, 1e-300] {
        let expected = format!("clip_norm is {norm}; expected a positive finite number");
        assert_eq!(refusal(array![[0.0, 1.0]], Some(norm)), expected);
    }
}
