//! Predictions of all models reduced over the augmentations of each point, in one pass.

use std::num::NonZeroUsize;

use multiversion::multiversion;
use ndarray::{Array2, Array3, ArrayView3, ArrayView4, ArrayViewMut1, ArrayViewMut2, Axis};

use crate::error::{KernelError, require_classes};
use crate::logits::{BLOCK, Block, Items, Logit, clip_factors};
use crate::{memory, parallel};

/// What the attacks need of every model's predictions at every point.
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
pub fn reduce_logits<T: Logit>(
    predictions: ArrayView4<T>,
    threads: NonZeroUsize,
) -> Result<Reduced, KernelError> {
    require_classes("predictions", predictions.shape())?;
    let (models, points, augmentations, classes) = predictions.dim();
    let mut reduced = Reduced {
        scaled: memory::zeros((models, points, classes))?,
        clipped: memory::zeros((models, points, classes))?,
        spread: memory::zeros((models, points))?,
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
                .axis_chunks_iter(Axis(0), BLOCK)
                .zip(scaled.axis_chunks_iter_mut(Axis(0), BLOCK))
                .zip(clipped.axis_chunks_iter_mut(Axis(0), BLOCK))
                .zip(spread.axis_chunks_iter_mut(Axis(0), BLOCK))
                .enumerate();
            for (chunk, (((predictions, scaled), clipped), spread)) in chunks {
                reduction.load(predictions, model, chunk * BLOCK)?;
                reduction.run();
                reduction.write(scaled, clipped, spread);
            }
            Ok(())
        },
    )?;
    Ok(reduced)
}

/// `BLOCK` points of one model on their way from all augmentations to means and spread.
struct Reduction {
    block: Block,
    /// Means of the scaled and of the clipped logits, class by class.
    scaled: Vec<Items>,
    clipped: Vec<Items>,
    /// Largest scaled logit, augmentation by augmentation.
    largest: Vec<Items>,
    spread: Items,
}

impl Reduction {
    fn new(augmentations: usize, classes: usize) -> Result<Self, KernelError> {
        Ok(Self {
            block: Block::new(augmentations, classes)?,
            scaled: memory::filled([0.0; BLOCK], classes)?,
            clipped: memory::filled([0.0; BLOCK], classes)?,
            largest: memory::filled([0.0; BLOCK], augmentations)?,
            spread: [0.0; BLOCK],
        })
    }

    fn load<T: Logit>(
        &mut self,
        predictions: ArrayView3<T>,
        model: usize,
        first_point: usize,
    ) -> Result<(), KernelError> {
        for (lane, logits) in predictions.outer_iter().enumerate() {
            self.block.load(lane, logits).map_err(|found| {
                found.at("predictions", format!("model {model}, point {}", first_point + lane))
            })?;
        }
        Ok(())
    }

    fn run(&mut self) {
        self.scaled.fill([0.0; BLOCK]);
        self.clipped.fill([0.0; BLOCK]);
        for (augmentation, largest) in self.largest.iter_mut().enumerate() {
            *largest = self.block.scale(augmentation).top;
            add_lanes(self.block.augmentation(augmentation), &mut self.scaled, &mut self.clipped);
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

/// Adds one augmentation's scaled logits to the sums of them as they are and clipped to norm 1.
#[multiversion(targets("x86_64+avx2"))]
fn add_lanes(augmentation: &[Items], scaled: &mut [Items], clipped: &mut [Items]) {
    let factors = clip_factors(augmentation, 1.0);
    for ((&s, scaled), clipped) in augmentation.iter().zip(scaled).zip(clipped) {
        let (mut scaled_sum, mut clipped_sum) = (*scaled, *clipped);
        for l in 0..BLOCK {
            scaled_sum[l] += s[l];
            clipped_sum[l] += s[l] * factors[l];
        }
        (*scaled, *clipped) = (scaled_sum, clipped_sum);
    }
}

fn write_lane(values: &[Items], lane: usize, mut row: ArrayViewMut1<f32>) {
    for (out, value) in row.iter_mut().zip(values) {
        *out = value[lane];
    }
}

/// Standard deviation (divisor n) of the n rows, lane by lane.
fn standard_deviation(rows: &[Items]) -> Items {
    let share = 1.0 / rows.len() as f32;
    let sum = |rows: &mut dyn Iterator<Item = Items>| {
        rows.fold([0.0; BLOCK], |sum, row| std::array::from_fn(|l| sum[l] + row[l]))
    };
    let mean = sum(&mut rows.iter().copied()).map(|sum| sum * share);
    let squares = sum(&mut rows.iter().map(|row| std::array::from_fn(|l| (row[l] - mean[l]).powi(2))));
    squares.map(|square| (square * share).sqrt())
}
