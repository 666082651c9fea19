//! Kernels on raw logits against their definitions in float64.

mod reduce;
mod scale;
mod views;

use std::num::NonZeroUsize;

use ndarray::{Array2, ArrayView1, Axis, concatenate};
use proptest::prelude::*;

const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// The numbers of threads that must not make a difference.
fn several() -> [NonZeroUsize; 2] {
    [2, 5].map(|threads| NonZeroUsize::new(threads).expect("positive"))
}

/// The rows many times over: enough of them for several threads.
fn many(rows: &Array2<f32>) -> Array2<f32> {
    concatenate(Axis(0), &vec![rows.view(); 300_usize.div_ceil(rows.nrows())])
        .expect("the classes are the same")
}

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
    fn rows()(rows in 1..24_usize, classes in 2..13_usize)(
        logits in prop::collection::vec(logit(), rows * classes), classes in Just(classes),
    ) -> Array2<f32> {
        Array2::from_shape_vec((logits.len() / classes, classes), logits).expect("the length is the product")
    }
}

fn assert_near(found: f32, truth: f64, tolerance: f64) {
    let error = (f64::from(found) - truth).abs();
    assert!(error <= tolerance * truth.abs().max(1.0), "{found} is not {truth}");
}
