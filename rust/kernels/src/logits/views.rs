//! What an adversary sees of a prediction, where that is less than the raw logits.
//!
//! A view takes raw logits and returns, for every class, the natural logarithm of the probability that is seen of it:
//! again logit-like, so that every attack works on every view. With `p` the softmax in float32:
//!
//! - `Probabilities`: `p`
//! - `Top(k)`: `p` of the `k` largest classes; every other class an equal share of the rest, `1 - sum of them`
//! - `TopUnnamed(k)`: the same without names: the `k` largest in descending order, then the equal shares
//! - `Label`: 1 for the largest class, 0 for the others
//! - `Rounded(d)`: `p` rounded to `d` decimals, ties to even
//!
//! The largest classes are those of the largest logits; of equal logits the lower class comes first. A seen zero has
//! a logarithm only with a floor, which is half the last digit that is seen:
//!
//! - of a float32 probability nothing is told apart below e^-87, about 1.6e-38 (`SMALLEST`)
//! - the rest in `Top` is at least 2^-25, half the spacing of float32 numbers below 1; and since the classes that are
//!   not seen are smaller than the ones seen, no share is above the smallest of those
//! - `Rounded(d)` has half of the last decimal, `Label` has `LABEL_FLOOR`

use std::array::from_fn;
use std::num::NonZeroUsize;

use multiversion::multiversion;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};

use crate::error::{KernelError, require_classes};
use crate::logits::math::{exp, ln};
use crate::logits::{BLOCK, Block, Items, LARGEST_LOGIT, Logit, larger, smaller};
use crate::{memory, parallel};

/// The smallest probability: what `exp` gives at the end of its domain.
const SMALLEST: f32 = 1.645_811_4e-38;

/// Half the spacing of the float32 numbers below 1.
const SMALLEST_REST: f32 = 1.0 / (1 << 25) as f32;

/// What a class counts as if another one is the label. A choice: far from 1, and not so far that the label is all
/// that a mean over several queries can tell.
const LABEL_FLOOR: f32 = 1e-3;

/// The most decimals that a float32 probability has.
const MOST_DECIMALS: i64 = 7;

/// Rows in one piece of parallel work.
const PIECE: usize = 8 * BLOCK;

/// What an adversary sees of a prediction; see the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// All probabilities.
    Probabilities,
    /// The largest probabilities and their classes.
    Top(usize),
    /// The largest probabilities without their classes.
    TopUnnamed(usize),
    /// The class with the largest probability.
    Label,
    /// All probabilities, rounded to a number of decimals.
    Rounded(i32),
}

impl View {
    /// The view of that kind: `parameter` is the number of classes seen by `top` and `top-unnamed`, the number of
    /// decimals of `rounded`, and 0 for `probabilities` and `label`.
    ///
    /// Errors: another kind, a parameter outside the kind's domain (as far as that is known without the classes).
    pub fn new(kind: &str, parameter: i64) -> Result<Self, KernelError> {
        let out_of_domain = |expected: &str| KernelError::Argument {
            argument: "parameter",
            found: parameter.to_string(),
            expected: format!("{expected} for the view {kind:?}"),
        };
        let classes = || {
            usize::try_from(parameter)
                .ok()
                .filter(|&k| k >= 1)
                .ok_or_else(|| out_of_domain("at least 1 class"))
        };
        match kind {
            "top" => Ok(Self::Top(classes()?)),
            "top-unnamed" => Ok(Self::TopUnnamed(classes()?)),
            "rounded" if (1..=MOST_DECIMALS).contains(&parameter) => Ok(Self::Rounded(parameter as i32)),
            "rounded" => Err(out_of_domain("1 to 7 decimals")),
            "probabilities" if parameter == 0 => Ok(Self::Probabilities),
            "label" if parameter == 0 => Ok(Self::Label),
            "probabilities" | "label" => Err(out_of_domain("0")),
            _ => Err(KernelError::Argument {
                argument: "kind",
                found: format!("{kind:?}"),
                expected: r#""probabilities", "top", "top-unnamed", "label" or "rounded""#.to_owned(),
            }),
        }
    }

    fn require_enough_classes(self, classes: usize) -> Result<(), KernelError> {
        match self {
            Self::Top(k) | Self::TopUnnamed(k) if k > classes => Err(KernelError::Argument {
                argument: "parameter",
                found: k.to_string(),
                expected: format!("at most {classes}, the number of classes"),
            }),
            _ => Ok(()),
        }
    }
}

/// Logarithms of the probabilities that are seen, float32 `[rows, classes]`.
///
/// Errors: no rows, fewer than 2 classes, a NaN, a view of more classes than there are.
pub fn apply_view<T: Logit>(
    logits: ArrayView2<T>,
    view: View,
    threads: NonZeroUsize,
) -> Result<Array2<f32>, KernelError> {
    require_classes("logits", logits.shape())?;
    let classes = logits.ncols();
    view.require_enough_classes(classes)?;
    let mut seen: Array2<f32> = memory::zeros(logits.raw_dim())?;
    let pieces = logits
        .axis_chunks_iter(Axis(0), PIECE)
        .zip(seen.axis_chunks_iter_mut(Axis(0), PIECE))
        .enumerate()
        .collect();
    parallel::for_each(
        threads,
        pieces,
        || Sight::new(view, classes),
        |sight, (piece, (logits, mut seen))| {
            let chunks =
                logits.axis_chunks_iter(Axis(0), BLOCK).zip(seen.axis_chunks_iter_mut(Axis(0), BLOCK));
            for (chunk, (logits, seen)) in chunks.enumerate() {
                sight.load(logits, piece * PIECE + chunk * BLOCK)?;
                sight.look();
                sight.write(seen);
            }
            Ok(())
        },
    )?;
    Ok(seen)
}

/// Up to `BLOCK` rows on their way from logits to what is seen of them.
struct Sight {
    view: View,
    block: Block,
    /// Bounded logits, class by class.
    logits: Vec<Items>,
    /// What is seen, class by class.
    seen: Vec<Items>,
}

impl Sight {
    fn new(view: View, classes: usize) -> Result<Self, KernelError> {
        Ok(Self {
            view,
            block: Block::new(1, classes)?,
            logits: memory::filled([0.0; BLOCK], classes)?,
            seen: memory::filled([0.0; BLOCK], classes)?,
        })
    }

    fn load<T: Logit>(&mut self, logits: ArrayView2<T>, first_row: usize) -> Result<(), KernelError> {
        for (lane, row) in logits.outer_iter().enumerate() {
            self.block
                .load(lane, row)
                .map_err(|found| found.at("logits", format!("row {}", first_row + lane)))?;
        }
        for (bounded, raw) in self.logits.iter_mut().zip(self.block.augmentation(0)) {
            *bounded = raw.map(|z| z.clamp(-LARGEST_LOGIT, LARGEST_LOGIT));
        }
        Ok(())
    }

    fn look(&mut self) {
        let (logits, seen) = (&self.logits, &mut self.seen);
        match self.view {
            View::Probabilities => see_probabilities(logits, seen),
            View::Top(k) => see_top(logits, k, true, seen),
            View::TopUnnamed(k) => see_top(logits, k, false, seen),
            View::Label => see_label(logits, seen),
            View::Rounded(decimals) => see_rounded(logits, decimals, seen),
        }
    }

    fn write(&self, mut seen: ArrayViewMut2<f32>) {
        for (lane, mut row) in seen.outer_iter_mut().enumerate() {
            for (out, value) in row.iter_mut().zip(&self.seen) {
                *out = value[lane];
            }
        }
    }
}

/// What makes probabilities of logits, row by row.
struct Softmax {
    largest: Items,
    sum: Items,
}

impl Softmax {
    #[inline(always)]
    fn of(logits: &[Items]) -> Self {
        let mut largest = [f32::NEG_INFINITY; BLOCK];
        for z in logits {
            for l in 0..BLOCK {
                largest[l] = larger(largest[l], z[l]);
            }
        }
        let mut sum = [0.0; BLOCK];
        for z in logits {
            for l in 0..BLOCK {
                sum[l] += exp(z[l] - largest[l]);
            }
        }
        Self { largest, sum }
    }

    /// One probability of each row.
    #[inline(always)]
    fn probability(&self, z: &Items) -> Items {
        from_fn(|l| larger(exp(z[l] - self.largest[l]) / self.sum[l], SMALLEST))
    }
}

/// An entry of each row, and so the place at which the descending order of the row is cut.
#[derive(Clone, Copy)]
struct Cut {
    value: Items,
    class: [u32; BLOCK],
}

impl Cut {
    /// Before the first entry.
    const START: Self = Self { value: [f32::INFINITY; BLOCK], class: [0; BLOCK] };

    /// The next entry in the order of falling logits and, among equal ones, of rising classes.
    #[inline(always)]
    fn next(&self, logits: &[Items]) -> Self {
        let mut best = Self { value: [f32::NEG_INFINITY; BLOCK], class: [0; BLOCK] };
        for (c, z) in (0_u32..).zip(logits) {
            for (l, &z) in z.iter().enumerate() {
                let takes = !self.covers(l, c, z) & (z > best.value[l]);
                best.value[l] = if takes { z } else { best.value[l] };
                best.class[l] = if takes { c } else { best.class[l] };
            }
        }
        best
    }

    /// Whether an entry comes before the cut or is the one at it.
    #[inline(always)]
    fn covers(&self, lane: usize, class: u32, z: f32) -> bool {
        (z > self.value[lane]) | ((z == self.value[lane]) & (class <= self.class[lane]))
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2"))]
fn see_probabilities(logits: &[Items], seen: &mut [Items]) {
    let softmax = Softmax::of(logits);
    for (seen, z) in seen.iter_mut().zip(logits) {
        *seen = softmax.probability(z).map(ln);
    }
}

/// The `k` largest by `k` passes over the classes: `BLOCK` rows at a time, that beats any sort for the few classes
/// that an interface shows.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2"))]
fn see_top(logits: &[Items], k: usize, named: bool, seen: &mut [Items]) {
    let softmax = Softmax::of(logits);
    let mut cut = Cut::START;
    let mut smallest = [1.0; BLOCK];
    let mut mass = [0.0; BLOCK];
    for seen in seen.iter_mut().take(k) {
        cut = cut.next(logits);
        smallest = softmax.probability(&cut.value);
        mass = from_fn(|l| mass[l] + smallest[l]);
        *seen = smallest.map(ln);
    }
    let share = equal_share(&mass, &smallest, logits.len() - k).map(ln);
    if !named {
        seen[k..].fill(share);
        return;
    }
    for ((c, seen), z) in (0_u32..).zip(seen.iter_mut()).zip(logits) {
        let own = softmax.probability(z).map(ln);
        *seen = from_fn(|l| if cut.covers(l, c, z[l]) { own[l] } else { share[l] });
    }
}

/// What each of `others` classes gets of the mass that is left, at most the smallest probability seen.
#[inline(always)]
fn equal_share(mass: &Items, smallest: &Items, others: usize) -> Items {
    let others = others.max(1) as f32; // where no class is left, nobody gets the share
    from_fn(|l| smaller(larger(1.0 - mass[l], SMALLEST_REST) / others, smallest[l]))
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2"))]
fn see_label(logits: &[Items], seen: &mut [Items]) {
    let label = Cut::START.next(logits);
    let floor = ln(LABEL_FLOOR);
    for (c, seen) in (0_u32..).zip(seen) {
        *seen = label.class.map(|class| if class == c { 0.0 } else { floor });
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2"))]
fn see_rounded(logits: &[Items], decimals: i32, seen: &mut [Items]) {
    let softmax = Softmax::of(logits);
    // In float64, as a program that prints decimals does: products of float32 would make ties of their own.
    let units = 10_f64.powi(decimals);
    let floor = (0.5 / units) as f32;
    for (seen, z) in seen.iter_mut().zip(logits) {
        let rounded = softmax.probability(z).map(|p| (f64::from(p) * units).round_ties_even() / units);
        *seen = rounded.map(|p| ln(larger(p as f32, floor)));
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn seen(logits: ArrayView2<f32>, kind: &str, parameter: i64) -> Vec<Vec<f32>> {
        let view = View::new(kind, parameter).expect("a view");
        let seen = apply_view(logits, view, NonZeroUsize::MIN).expect("good logits");
        seen.outer_iter().map(|row| row.iter().map(|x| x.exp()).collect()).collect()
    }

    fn assert_close(found: &[f32], expected: &[f32]) {
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 2e-6 * b;
        let all = found.len() == expected.len() && found.iter().zip(expected).all(close);
        assert!(all, "{found:?} is not {expected:?}");
    }

    #[test]
    fn every_view_of_one_prediction() {
        let prediction = array![[0.08_f32.ln(), 0.5_f32.ln(), 0.16_f32.ln(), 0.26_f32.ln()]];
        let view = |kind, parameter| seen(prediction.view(), kind, parameter).remove(0);
        assert_close(&view("probabilities", 0), &[0.08, 0.5, 0.16, 0.26]);
        assert_close(&view("top", 1), &[0.5 / 3.0, 0.5, 0.5 / 3.0, 0.5 / 3.0]);
        assert_close(&view("top", 2), &[0.12, 0.5, 0.12, 0.26]);
        assert_close(&view("top-unnamed", 2), &[0.5, 0.26, 0.12, 0.12]);
        assert_close(&view("top-unnamed", 4), &[0.5, 0.26, 0.16, 0.08]);
        assert_close(&view("label", 0), &[1e-3, 1.0, 1e-3, 1e-3]);
        assert_close(&view("rounded", 1), &[0.1, 0.5, 0.2, 0.3]);
    }

    #[test]
    fn of_equal_logits_the_lower_class_comes_first() {
        let tied = array![[0.0, 3.0, 3.0, 3.0]];
        let top = &seen(tied.view(), "top", 2)[0];
        assert!(top[1] == top[2] && top[1] > top[3]);
        assert_eq!(seen(tied.view(), "label", 0)[0][1], 1.0);
        let infinite = array![[f32::INFINITY, 1.0, 2e4, f32::NEG_INFINITY]];
        assert_eq!(seen(infinite.view(), "label", 0)[0][0], 1.0);
    }

    #[test]
    fn a_certain_prediction_has_the_floors() {
        let certain = array![[50.0, 0.0, -900.0, -900.0]];
        let view = |kind, parameter| {
            let view = View::new(kind, parameter).expect("a view");
            apply_view(certain.view(), view, NonZeroUsize::MIN).expect("good logits")
        };
        assert_eq!(view("probabilities", 0)[[0, 0]], 0.0);
        assert!((view("probabilities", 0)[[0, 3]] + 87.0).abs() < 1e-5);
        // The rest of top-1 is at least 2^-25; no share of top-2 is above what is seen second.
        assert!((view("top", 1)[[0, 2]] - (SMALLEST_REST / 3.0).ln()).abs() < 1e-5);
        assert!((view("top", 2)[[0, 2]] + 50.0).abs() < 1e-5);
        assert!((view("rounded", 3)[[0, 1]] - 5e-4_f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn parameters_outside_their_domain_are_refused() {
        let refusal = |kind, parameter| View::new(kind, parameter).unwrap_err().to_string();
        assert_eq!(refusal("top", 0), r#"parameter is 0; expected at least 1 class for the view "top""#);
        assert_eq!(
            refusal("rounded", 8),
            r#"parameter is 8; expected 1 to 7 decimals for the view "rounded""#
        );
        assert_eq!(refusal("label", 1), r#"parameter is 1; expected 0 for the view "label""#);
        assert!(refusal("logits", 0).starts_with(r#"kind is "logits"; expected "prob"#));
        let error = apply_view(array![[0.0_f32, 1.0]].view(), View::Top(3), NonZeroUsize::MIN);
        assert_eq!(
            error.unwrap_err().to_string(),
            "parameter is 3; expected at most 2, the number of classes"
        );
    }
}
