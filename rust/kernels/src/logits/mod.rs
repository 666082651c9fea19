//! Stable logit scaling: the log-odds of every class, from raw logits.
//!
//! For logits `z` the scaled logit of class `c` is
//! `s_c = ln(p_c / (1 - p_c)) = z_c - ln(sum over j != c of exp(z_j))`
//! (Carlini et al. 2022, section IV-C; the attack on transfer learning uses it for all classes, arXiv 2306.01181,
//! section 4). Computed through `p` it breaks down from a margin of 15 on in float32. Here nothing is subtracted
//! that could cancel. With `a` the largest class, `b` the second largest, `E_j = exp(z_j - z_b)` and
//! `R = sum over j != a of E_j`, which lies in `[1, K - 1]`:
//!
//! - `s_a = (z_a - z_b) - ln R`
//! - `s_c = (z_c - z_a) - ln(1 + exp(z_b - z_a) (R - E_c))` for every other class
//!
//! so each exponent is at most 0, each logarithm is of a number between 1 and K, and each class costs one of both.
//!
//! Logits are limited to ±10,000 first: infinities (a class that is masked out) and absurdly large values get a
//! defined, finite, still ordered result.

mod element;
pub(crate) mod math;
mod reduce;
mod views;

use std::num::NonZeroUsize;

use multiversion::multiversion;
use ndarray::{Array2, ArrayView, ArrayView2, ArrayViewMut2, Axis, Dimension};

pub use self::element::Logit;
use self::math::{exp, ln};
pub use self::reduce::{Reduced, reduce_logits};
pub use self::views::{View, apply_view};
use crate::error::{KernelError, require_classes};
use crate::{memory, parallel};

/// How many items (rows, points or models) are worked on side by side, one in each lane of the vector instructions.
pub(crate) const BLOCK: usize = 16;

/// The same number of each item of a block.
pub(crate) type Items = [f32; BLOCK];

/// Largest magnitude of a logit; see the module's documentation.
pub(crate) const LARGEST_LOGIT: f32 = 1e4;

/// Rows in one piece of parallel work.
const PIECE: usize = 8 * BLOCK;

/// What the scaled logits of `BLOCK` items depend on besides the logit of the class at hand.
#[derive(Clone, Default)]
pub(crate) struct Odds {
    /// The class with the largest logit, the first of them on ties, and its scaled logit.
    pub(crate) top_class: [u32; BLOCK],
    pub(crate) top: Items,
    /// The largest and the second largest logit, `z_a` and `z_b`.
    first: Items,
    second: Items,
    /// `R`, and `exp(z_b - z_a)`.
    rest: Items,
    gap: Items,
}

/// Limits the logits of `BLOCK` items, where `z[c]` is class `c` of all rows, and finds their odds; `e[c]` becomes `E_c`.
#[inline(always)]
fn odds(z: &mut [Items], e: &mut [Items]) -> Odds {
    let mut first = [f32::NEG_INFINITY; BLOCK];
    let mut second = [f32::NEG_INFINITY; BLOCK];
    let mut top_class = [0_u32; BLOCK];
    for (c, z) in (0_u32..).zip(z.iter_mut()) {
        let mut row = *z;
        for l in 0..BLOCK {
            row[l] = row[l].clamp(-LARGEST_LOGIT, LARGEST_LOGIT);
            top_class[l] = if row[l] > first[l] { c } else { top_class[l] };
            second[l] = larger(second[l], smaller(first[l], row[l]));
            first[l] = larger(first[l], row[l]);
        }
        *z = row;
    }
    let mut rest = [0.0; BLOCK];
    for ((c, z), e) in (0_u32..).zip(z.iter()).zip(e.iter_mut()) {
        let mut row = *z;
        for l in 0..BLOCK {
            row[l] = exp(row[l] - second[l]);
            rest[l] += if top_class[l] == c { 0.0 } else { row[l] };
        }
        *e = row;
    }
    let (mut top, mut gap) = ([0.0; BLOCK], [0.0; BLOCK]);
    for l in 0..BLOCK {
        top[l] = first[l] - second[l] - ln(rest[l]);
        gap[l] = exp(second[l] - first[l]);
    }
    Odds { top_class, top, first, second, rest, gap }
}

/// The scaled logits of class `c` of `BLOCK` items from its logits `z` and their `E_c`.
#[inline(always)]
fn scaled(c: u32, z: &Items, e: &Items, odds: &Odds) -> Items {
    let mut scaled = [0.0; BLOCK];
    for l in 0..BLOCK {
        let other = z[l] - odds.first[l] - ln(1.0 + odds.gap[l] * (odds.rest[l] - e[l]));
        scaled[l] = if odds.top_class[l] == c { odds.top[l] } else { other };
    }
    scaled
}

// The three that follow are worth an AVX-512 version, which takes two thirds of the time of the AVX2 one. Every version
// gives the same bits, since nothing is fused or reordered.

/// Scales the logits of `BLOCK` items in place; `scratch` is as long as `z`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2"))]
fn scale_lanes(z: &mut [Items], scratch: &mut [Items]) -> Odds {
    let odds = odds(z, scratch);
    for ((c, z), e) in (0_u32..).zip(z.iter_mut()).zip(scratch.iter()) {
        *z = scaled(c, z, e, &odds);
    }
    odds
}

/// `odds`, for those who go on to scale few of the classes.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2"))]
fn find_odds(z: &mut [Items], scratch: &mut [Items]) -> Odds {
    odds(z, scratch)
}

/// Scales one class in place.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2"))]
fn scale_class(c: u32, z: &mut Items, odds: &Odds) {
    let mut e = *z;
    for l in 0..BLOCK {
        e[l] = exp(e[l] - odds.second[l]);
    }
    *z = scaled(c, z, &e, odds);
}

/// The larger of two numbers, as one instruction: unlike `f32::max` it does not care about NaN.
#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
pub(crate) fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// What rows of scaled logits are multiplied with so that no Euclidean norm is above `limit`.
#[inline(always)]
pub(crate) fn clip_factors(scaled: &[Items], limit: f32) -> Items {
    let mut squares = [0.0; BLOCK];
    for s in scaled {
        for l in 0..BLOCK {
            squares[l] += s[l] * s[l];
        }
    }
    squares.map(|square: f32| limit / square.sqrt().max(limit))
}

/// The logits of up to `BLOCK` items, one per lane, and room to scale them.
pub(crate) struct Block {
    classes: usize,
    /// Augmentation by augmentation, within it class by class.
    values: Vec<Items>,
    scratch: Vec<Items>,
    buffer: Vec<f32>,
}

/// What `Block::load` found; its caller knows where.
pub(crate) struct FoundNan;

impl FoundNan {
    pub(crate) fn at(self, array: &'static str, position: String) -> KernelError {
        let expected = "numbers (infinities count as ±10,000)";
        KernelError::Value { array, found: "NaN".to_owned(), position, expected }
    }
}

impl Block {
    pub(crate) fn new(augmentations: usize, classes: usize) -> Result<Self, KernelError> {
        Ok(Self {
            classes,
            values: memory::filled([0.0; BLOCK], augmentations * classes)?,
            scratch: memory::filled([0.0; BLOCK], classes)?,
            buffer: memory::room_for(augmentations * classes)?,
        })
    }

    /// Puts the logits of one item, `[augmentations, classes]` or `[classes]`, into `lane`.
    pub(crate) fn load<T: Logit, D: Dimension>(
        &mut self,
        lane: usize,
        logits: ArrayView<T, D>,
    ) -> Result<(), FoundNan> {
        let mut has_nan = false;
        for (value, &logit) in self.values.iter_mut().zip(T::widen(logits, &mut self.buffer)) {
            value[lane] = logit;
            has_nan |= logit.is_nan();
        }
        if has_nan { Err(FoundNan) } else { Ok(()) }
    }

    /// Scales the logits of one augmentation in place.
    pub(crate) fn scale(&mut self, augmentation: usize) -> Odds {
        let start = augmentation * self.classes;
        scale_lanes(&mut self.values[start..start + self.classes], &mut self.scratch)
    }

    /// Limits the logits of one augmentation and finds their odds, for `scale_class`.
    pub(crate) fn find_odds(&mut self, augmentation: usize) -> Odds {
        let start = augmentation * self.classes;
        find_odds(&mut self.values[start..start + self.classes], &mut self.scratch)
    }

    /// Scales the logits of one class in place.
    pub(crate) fn scale_class(&mut self, augmentation: usize, class: usize, odds: &Odds) {
        scale_class(class as u32, &mut self.values[augmentation * self.classes + class], odds);
    }

    /// One augmentation's values, class by class.
    pub(crate) fn augmentation(&self, augmentation: usize) -> &[Items] {
        &self.values[augmentation * self.classes..][..self.classes]
    }
}

/// Scaled logits of all classes of every row, float32 `[rows, classes]`.
///
/// With `clip_norm` the rows with a larger Euclidean norm are scaled down to it. Errors: no rows, fewer than 2
/// classes, a NaN, a `clip_norm` that is not positive and finite.
pub fn scale_logits<T: Logit>(
    logits: ArrayView2<T>,
    clip_norm: Option<f64>,
    threads: NonZeroUsize,
) -> Result<Array2<f32>, KernelError> {
    require_classes("logits", logits.shape())?;
    let limit = clip_norm.map(check_clip_norm).transpose()?;
    let classes = logits.ncols();
    let mut scaled: Array2<f32> = memory::zeros(logits.raw_dim())?;
    let pieces = logits
        .axis_chunks_iter(Axis(0), PIECE)
        .zip(scaled.axis_chunks_iter_mut(Axis(0), PIECE))
        .enumerate()
        .collect();
    parallel::for_each(
        threads,
        pieces,
        || Block::new(1, classes),
        |block, (piece, (logits, mut scaled))| {
            let chunks =
                logits.axis_chunks_iter(Axis(0), BLOCK).zip(scaled.axis_chunks_iter_mut(Axis(0), BLOCK));
            for (chunk, (logits, scaled)) in chunks.enumerate() {
                scale_rows(block, logits, limit, scaled, piece * PIECE + chunk * BLOCK)?;
            }
            Ok(())
        },
    )?;
    Ok(scaled)
}

fn check_clip_norm(norm: f64) -> Result<f32, KernelError> {
    let limit = norm as f32;
    if limit.is_normal() && limit > 0.0 {
        return Ok(limit);
    }
    Err(KernelError::Argument {
        argument: "clip_norm",
        found: norm.to_string(),
        expected: "a positive finite number".to_owned(),
    })
}

/// `scale_logits` of at most `BLOCK` rows, of which the first has the number `first_row`.
fn scale_rows<T: Logit>(
    block: &mut Block,
    logits: ArrayView2<T>,
    limit: Option<f32>,
    mut scaled: ArrayViewMut2<f32>,
    first_row: usize,
) -> Result<(), KernelError> {
    for (lane, row) in logits.outer_iter().enumerate() {
        block.load(lane, row).map_err(|found| found.at("logits", format!("row {}", first_row + lane)))?;
    }
    block.scale(0);
    let values = block.augmentation(0);
    let factors = limit.map_or([1.0; BLOCK], |limit| clip_factors(values, limit));
    for (lane, mut row) in scaled.outer_iter_mut().enumerate() {
        for (out, value) in row.iter_mut().zip(values) {
            *out = value[lane] * factors[lane];
        }
    }
    Ok(())
}
