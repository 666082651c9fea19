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

use std::num::NonZeroUsize;

use multiversion::multiversion;
use ndarray::{
    Array2, Array3, ArrayView, ArrayView2, ArrayView3, ArrayView4, ArrayViewMut1, ArrayViewMut2,
    Axis, Dimension,
};

use crate::element::Element;
use crate::error::{KernelError, require_classes};
use crate::math::{exp, ln};
use crate::parallel;

/// How many rows are worked on side by side, one in each lane of the vector instructions.
pub(crate) const LANES: usize = 16;

/// The same number of each of `LANES` rows.
pub(crate) type Lane = [f32; LANES];

/// Largest magnitude of a logit; see the module's documentation.
const LARGEST_LOGIT: f32 = 1e4;

/// Rows of `scale_logits` and points of `reduce_logits` in one piece of parallel work.
const PIECE: usize = 8 * LANES;

/// The class with the largest logit, the first of them on ties, and its scaled logit.
pub(crate) struct Top {
    pub(crate) class: [u32; LANES],
    pub(crate) value: Lane,
}

/// Scales the logits of `LANES` rows in place; `z[c]` holds class `c` of all rows, `scratch` is as long as `z`.
#[multiversion(targets("x86_64+avx2"))]
pub(crate) fn scale_lanes(z: &mut [Lane], scratch: &mut [Lane]) -> Top {
    let mut first = [f32::NEG_INFINITY; LANES];
    let mut second = [f32::NEG_INFINITY; LANES];
    let mut class = [0_u32; LANES];
    for (c, z) in (0_u32..).zip(z.iter_mut()) {
        for l in 0..LANES {
            let value = z[l].clamp(-LARGEST_LOGIT, LARGEST_LOGIT);
            z[l] = value;
            class[l] = if value > first[l] { c } else { class[l] };
            second[l] = second[l].max(first[l].min(value));
            first[l] = first[l].max(value);
        }
    }
    let mut rest = [0.0; LANES];
    for ((c, z), e) in (0_u32..).zip(z.iter()).zip(scratch.iter_mut()) {
        for l in 0..LANES {
            let value = exp(z[l] - second[l]);
            e[l] = if class[l] == c { 0.0 } else { value };
            rest[l] += e[l];
        }
    }
    let mut top = [0.0; LANES];
    let mut gap = [0.0; LANES];
    for l in 0..LANES {
        top[l] = first[l] - second[l] - ln(rest[l]);
        gap[l] = exp(second[l] - first[l]);
    }
    for ((c, z), e) in (0_u32..).zip(z.iter_mut()).zip(scratch.iter()) {
        for l in 0..LANES {
            let other = z[l] - first[l] - ln(1.0 + gap[l] * (rest[l] - e[l]));
            z[l] = if class[l] == c { top[l] } else { other };
        }
    }
    Top { class, value: top }
}

/// What rows of scaled logits are multiplied with so that no Euclidean norm is above `limit`.
#[inline(always)]
fn clip_factors(scaled: &[Lane], limit: f32) -> Lane {
    let mut squares = [0.0; LANES];
    for s in scaled {
        for l in 0..LANES {
            squares[l] += s[l] * s[l];
        }
    }
    squares.map(|square: f32| limit / square.sqrt().max(limit))
}

/// Adds one augmentation's scaled logits to the sums of them as they are and clipped to norm 1.
#[multiversion(targets("x86_64+avx2"))]
fn add_lanes(augmentation: &[Lane], scaled: &mut [Lane], clipped: &mut [Lane]) {
    let factors = clip_factors(augmentation, 1.0);
    for ((&s, scaled), clipped) in augmentation.iter().zip(scaled).zip(clipped) {
        let (mut scaled_sum, mut clipped_sum) = (*scaled, *clipped);
        for l in 0..LANES {
            scaled_sum[l] += s[l];
            clipped_sum[l] += s[l] * factors[l];
        }
        (*scaled, *clipped) = (scaled_sum, clipped_sum);
    }
}

/// The logits of up to `LANES` items (rows, points or models), one per lane, and room to scale them.
pub(crate) struct Block {
    classes: usize,
    /// Augmentation by augmentation, within it class by class.
    values: Vec<Lane>,
    scratch: Vec<Lane>,
    buffer: Vec<f32>,
}

/// What `Block::load` found; its caller knows where.
pub(crate) struct FoundNan;

impl FoundNan {
    pub(crate) fn at(self, array: &'static str, position: String) -> KernelError {
        let expected = "numbers (infinities count as ±10,000)";
        KernelError::Value {
            array,
            found: "NaN".to_owned(),
            position,
            expected,
        }
    }
}

impl Block {
    pub(crate) fn new(augmentations: usize, classes: usize) -> Self {
        Self {
            classes,
            values: vec![[0.0; LANES]; augmentations * classes],
            scratch: vec![[0.0; LANES]; classes],
            buffer: Vec::new(),
        }
    }

    /// Puts the logits of one item, `[augmentations, classes]` or `[classes]`, into `lane`.
    pub(crate) fn load<T: Element, D: Dimension>(
        &mut self,
        lane: usize,
        logits: ArrayView<T, D>,
    ) -> Result<(), FoundNan> {
        let mut has_nan = false;
        for (value, &logit) in self
            .values
            .iter_mut()
            .zip(T::widen(logits, &mut self.buffer))
        {
            value[lane] = logit;
            has_nan |= logit.is_nan();
        }
        if has_nan { Err(FoundNan) } else { Ok(()) }
    }

    /// Scales the logits of one augmentation in place.
    pub(crate) fn scale(&mut self, augmentation: usize) -> Top {
        let start = augmentation * self.classes;
        scale_lanes(
            &mut self.values[start..start + self.classes],
            &mut self.scratch,
        )
    }

    /// One augmentation's values, class by class.
    pub(crate) fn augmentation(&self, augmentation: usize) -> &[Lane] {
        &self.values[augmentation * self.classes..][..self.classes]
    }
}

/// Scaled logits of all classes of every row, float32 `[rows, classes]`.
///
/// With `clip_norm` the rows with a larger Euclidean norm are scaled down to it. Errors: no rows, fewer than 2
/// classes, a NaN, a `clip_norm` that is not positive and finite.
pub fn scale_logits<T: Element>(
    logits: ArrayView2<T>,
    clip_norm: Option<f64>,
    threads: NonZeroUsize,
) -> Result<Array2<f32>, KernelError> {
    require_classes("logits", logits.shape())?;
    let limit = clip_norm.map(check_clip_norm).transpose()?;
    let classes = logits.ncols();
    let mut scaled = Array2::zeros(logits.raw_dim());
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
            let chunks = logits
                .axis_chunks_iter(Axis(0), LANES)
                .zip(scaled.axis_chunks_iter_mut(Axis(0), LANES));
            for (chunk, (logits, scaled)) in chunks.enumerate() {
                scale_rows(block, logits, limit, scaled, piece * PIECE + chunk * LANES)?;
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

/// `scale_logits` of at most `LANES` rows, of which the first has the number `first_row`.
fn scale_rows<T: Element>(
    block: &mut Block,
    logits: ArrayView2<T>,
    limit: Option<f32>,
    mut scaled: ArrayViewMut2<f32>,
    first_row: usize,
) -> Result<(), KernelError> {
    for (lane, row) in logits.outer_iter().enumerate() {
        block
            .load(lane, row)
            .map_err(|found| found.at("logits", format!("row {}", first_row + lane)))?;
    }
    block.scale(0);
    let values = block.augmentation(0);
    let factors = limit.map_or([1.0; LANES], |limit| clip_factors(values, limit));
    for (lane, mut row) in scaled.outer_iter_mut().enumerate() {
        for (out, value) in row.iter_mut().zip(values) {
            *out = value[lane] * factors[lane];
        }
    }
    Ok(())
}

/// What the attacks need of every model's answers at every point.
#[derive(Debug, Clone, PartialEq)]
pub struct Reduced {
    /// Mean over the augmentations of the scaled logits, float32 `[models, points, classes]`.
    pub scaled: Array3<f32>,
    /// The same of the scaled logits clipped to Euclidean norm 1, `[models, points, classes]`.
    pub clipped: Array3<f32>,
    /// Standard deviation (divisor M) over the M augmentations of the largest scaled logit, `[models, points]`.
    pub spread: Array2<f32>,
}

/// Reduces predictions `[models, points, augmentations, classes]` over the augmentations in one pass.
///
/// Errors: an axis of length zero, fewer than 2 classes, a NaN.
pub fn reduce_logits<T: Element>(
    predictions: ArrayView4<T>,
    threads: NonZeroUsize,
) -> Result<Reduced, KernelError> {
    require_classes("predictions", predictions.shape())?;
    let (models, points, augmentations, classes) = predictions.dim();
    let mut reduced = Reduced {
        scaled: Array3::zeros((models, points, classes)),
        clipped: Array3::zeros((models, points, classes)),
        spread: Array2::zeros((models, points)),
    };
    let pieces = predictions
        .outer_iter()
        .zip(reduced.scaled.outer_iter_mut())
        .zip(reduced.clipped.outer_iter_mut())
        .zip(reduced.spread.outer_iter_mut())
        .enumerate()
        .collect();
    parallel::for_each(
        threads,
        pieces,
        || Reduction::new(augmentations, classes),
        |reduction, (model, (((predictions, mut scaled), mut clipped), mut spread))| {
            let chunks = predictions
                .axis_chunks_iter(Axis(0), LANES)
                .zip(scaled.axis_chunks_iter_mut(Axis(0), LANES))
                .zip(clipped.axis_chunks_iter_mut(Axis(0), LANES))
                .zip(spread.axis_chunks_iter_mut(Axis(0), LANES))
                .enumerate();
            for (chunk, (((predictions, scaled), clipped), spread)) in chunks {
                reduction.load(predictions, model, chunk * LANES)?;
                reduction.run();
                reduction.write(scaled, clipped, spread);
            }
            Ok(())
        },
    )?;
    Ok(reduced)
}

/// `LANES` points of one model on their way from all augmentations to means and spread.
struct Reduction {
    block: Block,
    /// Means of the scaled and of the clipped logits, class by class.
    scaled: Vec<Lane>,
    clipped: Vec<Lane>,
    /// Largest scaled logit, augmentation by augmentation.
    largest: Vec<Lane>,
    spread: Lane,
}

impl Reduction {
    fn new(augmentations: usize, classes: usize) -> Self {
        Self {
            block: Block::new(augmentations, classes),
            scaled: vec![[0.0; LANES]; classes],
            clipped: vec![[0.0; LANES]; classes],
            largest: vec![[0.0; LANES]; augmentations],
            spread: [0.0; LANES],
        }
    }

    fn load<T: Element>(
        &mut self,
        predictions: ArrayView3<T>,
        model: usize,
        first_point: usize,
    ) -> Result<(), KernelError> {
        for (lane, logits) in predictions.outer_iter().enumerate() {
            self.block.load(lane, logits).map_err(|found| {
                found.at(
                    "predictions",
                    format!("model {model}, point {}", first_point + lane),
                )
            })?;
        }
        Ok(())
    }

    fn run(&mut self) {
        self.scaled.fill([0.0; LANES]);
        self.clipped.fill([0.0; LANES]);
        for (augmentation, largest) in self.largest.iter_mut().enumerate() {
            *largest = self.block.scale(augmentation).value;
            add_lanes(
                self.block.augmentation(augmentation),
                &mut self.scaled,
                &mut self.clipped,
            );
        }
        let share = 1.0 / self.largest.len() as f32;
        for sum in self.scaled.iter_mut().chain(&mut self.clipped).flatten() {
            *sum *= share;
        }
        self.spread = standard_deviation(&self.largest);
    }

    fn write(
        &self,
        mut scaled: ArrayViewMut2<f32>,
        mut clipped: ArrayViewMut2<f32>,
        mut spread: ArrayViewMut1<f32>,
    ) {
        for (lane, spread) in spread.iter_mut().enumerate() {
            *spread = self.spread[lane];
            write_lane(&self.scaled, lane, scaled.row_mut(lane));
            write_lane(&self.clipped, lane, clipped.row_mut(lane));
        }
    }
}

fn write_lane(values: &[Lane], lane: usize, mut row: ArrayViewMut1<f32>) {
    for (out, value) in row.iter_mut().zip(values) {
        *out = value[lane];
    }
}

/// Standard deviation (divisor n) of the n rows, lane by lane.
fn standard_deviation(rows: &[Lane]) -> Lane {
    let share = 1.0 / rows.len() as f32;
    let sum = |rows: &mut dyn Iterator<Item = Lane>| {
        rows.fold([0.0; LANES], |sum, row| {
            std::array::from_fn(|l| sum[l] + row[l])
        })
    };
    let mean = sum(&mut rows.iter().copied()).map(|sum| sum * share);
    let squares = sum(&mut rows
        .iter()
        .map(|row| std::array::from_fn(|l| (row[l] - mean[l]).powi(2))));
    squares.map(|square| (square * share).sqrt())
}
