//! `apply_view`.

use ndarray::{Array2, ArrayView1};
use proptest::prelude::*;
use tmi_kernels::{View, apply_view};

use crate::{ONE, many, rows, several};

/// Probabilities in float64, none below what float32 tells apart.
fn softmax(z: ArrayView1<f32>) -> Vec<f64> {
    let z: Vec<f64> = z.iter().map(|&z| f64::from(z).clamp(-1e4, 1e4)).collect();
    let largest = z.iter().copied().fold(f64::MIN, f64::max);
    let sum: f64 = z.iter().map(|z| (z - largest).exp()).sum();
    z.iter().map(|z| ((z - largest).exp() / sum).max((-87.0_f64).exp())).collect()
}

/// Classes in the order of falling logits and, among equal ones, of rising classes.
fn order(z: ArrayView1<f32>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..z.len()).collect();
    order.sort_by(|&a, &b| z[b].clamp(-1e4, 1e4).total_cmp(&(z[a] + 0.0).clamp(-1e4, 1e4)).then(a.cmp(&b)));
    order
}

/// What each class that is not among the `k` largest gets.
fn equal_share(p: &[f64], order: &[usize], k: usize) -> f64 {
    let mass: f64 = order[..k].iter().map(|&class| p[class]).sum();
    ((1.0 - mass).max(2_f64.powi(-25)) / (p.len() - k).max(1) as f64).min(p[order[k - 1]])
}

fn seen(logits: &Array2<f32>, view: View) -> Array2<f32> {
    apply_view(logits.view(), view, ONE).expect("good logits")
}

/// Logarithms within 1e-5, or probabilities that float32 sums do not tell apart.
fn assert_seen(found: f32, truth: f64) {
    let error = (f64::from(found) - truth.ln()).abs();
    let is_near = error <= 1e-5 * truth.ln().abs().max(1.0) || (f64::from(found).exp() - truth).abs() <= 1e-6;
    assert!(is_near, "{found} is not ln {truth}");
}

proptest! {
    #[test]
    fn all_probabilities(logits in rows()) {
        let seen = seen(&logits, View::Probabilities);
        for (found, logits) in seen.outer_iter().zip(logits.outer_iter()) {
            for (&found, truth) in found.iter().zip(softmax(logits)) {
                assert!((f64::from(found) - truth.ln()).abs() <= 1e-5 * truth.ln().abs().max(1.0));
            }
        }
    }

    #[test]
    fn the_largest_and_equal_shares_of_the_rest(logits in rows(), k in 1..13_usize) {
        let k = k.min(logits.ncols());
        let (named, unnamed) = (seen(&logits, View::Top(k)), seen(&logits, View::TopUnnamed(k)));
        for (row, logits) in logits.outer_iter().enumerate() {
            let (p, order) = (softmax(logits), order(logits));
            let share = equal_share(&p, &order, k);
            for (rank, &class) in order.iter().enumerate() {
                let truth = if rank < k { p[class] } else { share };
                assert_seen(named[[row, class]], truth);
                assert_seen(unnamed[[row, rank]], truth);
            }
        }
    }

    #[test]
    fn the_label_is_the_first_of_the_largest(logits in rows()) {
        let seen = seen(&logits, View::Label);
        for (found, logits) in seen.outer_iter().zip(logits.outer_iter()) {
            let label = order(logits)[0];
            for (class, &found) in found.iter().enumerate() {
                assert_seen(found, if class == label { 1.0 } else { 1e-3 });
            }
        }
    }

    #[test]
    fn rounded_probabilities_have_so_many_decimals(logits in rows(), decimals in 1..8_i32) {
        let units = 10_f64.powi(decimals);
        let seen = seen(&logits, View::Rounded(decimals));
        for (found, logits) in seen.outer_iter().zip(logits.outer_iter()) {
            for (&found, truth) in found.iter().zip(softmax(logits)) {
                let p = f64::from(found).exp();
                // float32 has the logarithm within 1e-6, and its own probability within as much.
                prop_assert!((p - truth).abs() <= 0.5 / units + 2e-6, "{p} is not {truth}, rounded");
                let multiple = if p * units < 0.75 { 0.5 } else { (p * units).round() };
                prop_assert!((p * units - multiple).abs() <= 1e-6 * multiple.max(1.0), "{p} has more decimals");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn threads_change_no_bit(logits in rows(), k in 1..3_usize) {
        let logits = many(&logits);
        for view in [View::Probabilities, View::Top(k), View::TopUnnamed(k), View::Label, View::Rounded(3)] {
            let expected = seen(&logits, view);
            for threads in several() {
                prop_assert_eq!(&apply_view(logits.view(), view, threads)?, &expected);
            }
        }
    }
}

#[test]
fn nan_is_located() {
    let mut logits = Array2::<f32>::zeros((300, 3));
    logits[[277, 1]] = f32::NAN;
    let error = apply_view(logits.view(), View::Label, ONE).expect_err("there is a NaN");
    assert!(error.to_string().starts_with("logits contains NaN at row 277;"), "{error}");
}
