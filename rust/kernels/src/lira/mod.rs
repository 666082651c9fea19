//! Adapted LiRA, the baseline of the attack on transfer learning (arXiv 2306.01181, section 5): the likelihood ratio
//! of Carlini et al. 2022 with multivariate Gaussians over the augmentations, applied to what a finetuned model
//! predicts at points of the pretraining data.
//!
//! Those have no label among the downstream classes. The class of a point is, for each augmentation, the one that
//! the target holds most likely; the scaled logits of that class are compared.

mod slots;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::str::FromStr;

use multiversion::multiversion;
use ndarray::{Array2, ArrayView1, ArrayView2, ArrayView4, Axis};

use self::slots::{LANES_PER_BLOCK, Slots, most_blocks};
use crate::error::{KernelError, require_classes, require_models, require_shape};
use crate::lanes::{LANES, Lane, dot};
use crate::logits::{BLOCK, Logit};
use crate::{memory, parallel};

/// Added to each variance as a share of the mean variance at the point, and at least: so that queries that repeat
/// one another, or fewer shadows than augmentations, leave the covariance invertible. It is the same for IN and
/// OUT, so directions without any variance cancel out.
const JITTER: f64 = 1e-6;
const LEAST_JITTER: f64 = 1e-9;

/// Share of the mean variance in the pooled covariance.
const SHRINKAGE: f64 = 0.3;

/// Points in one piece of parallel work: their predictions lie side by side in memory for each model, and are read
/// together.
const PIECE: usize = 4;

/// Which Gaussians are fitted to the IN and the OUT shadows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covariance {
    /// A full covariance for each side, as in the paper.
    Full,
    /// One covariance for both, shrunk to a multiple of the identity by 0.3.
    Pooled,
    /// Variances only, for each side.
    Diagonal,
}

impl FromStr for Covariance {
    type Err = KernelError;

    fn from_str(name: &str) -> Result<Self, KernelError> {
        match name {
            "full" => Ok(Self::Full),
            "pooled" => Ok(Self::Pooled),
            "diagonal" => Ok(Self::Diagonal),
            _ => Err(KernelError::Argument {
                argument: "covariance",
                found: format!("{name:?}"),
                expected: "\"full\", \"pooled\" or \"diagonal\"".to_owned(),
            }),
        }
    }
}

/// Adapted LiRA scores `ln p(target's logits | IN) - ln p(... | OUT)`, float64 `[targets, points]`.
///
/// `predictions` are raw logits `[models, points, augmentations, classes]`, `membership` is `[models, points]`; all
/// models but the target scored are its shadows. Covariances are unbiased; a side with one shadow has none of its
/// own and takes the pooled one. 0 where no IN or no OUT shadow is left.
///
/// Errors: an axis of length zero, fewer than 2 classes, shapes that do not fit, a target that is no model, a NaN.
pub fn adapted_lira<T: Logit>(
    predictions: ArrayView4<T>,
    membership: ArrayView2<bool>,
    targets: ArrayView1<i64>,
    covariance: Covariance,
    threads: NonZeroUsize,
) -> Result<Array2<f64>, KernelError> {
    require_classes("predictions", predictions.shape())?;
    let expected = &predictions.shape()[..2];
    require_shape("membership", membership.shape(), expected, "models and points of predictions")?;
    let targets = require_models(targets, predictions.dim().0)?;
    let mut scores: Array2<f64> = memory::zeros((targets.len(), predictions.dim().1))?;
    parallel::for_each(
        threads,
        scores.axis_chunks_iter_mut(Axis(1), PIECE).enumerate().collect(),
        || {
            let slots: Result<Vec<_>, _> = (0..PIECE).map(|_| Slots::for_predictions(predictions)).collect();
            Ok((slots?, Gaussians::for_predictions(predictions)?))
        },
        |(slots, gaussians), (piece, mut scores)| {
            let points = piece * PIECE..piece * PIECE + scores.ncols();
            let slots = &mut slots[..points.len()];
            load(slots, predictions, membership, points)?;
            for (slots, mut scores) in slots.iter_mut().zip(scores.axis_iter_mut(Axis(1))) {
                slots.find_odds();
                for (score, &target) in scores.iter_mut().zip(&targets) {
                    *score = gaussians.score(slots, target, covariance);
                }
            }
            Ok(())
        },
    )?;
    Ok(scores)
}

/// Takes over the predictions of all models at some points.
fn load<T: Logit>(
    slots: &mut [Slots],
    predictions: ArrayView4<T>,
    membership: ArrayView2<bool>,
    points: Range<usize>,
) -> Result<(), KernelError> {
    for (slots, point) in slots.iter_mut().zip(points.clone()) {
        slots.assign_slots(membership.column(point));
    }
    for (model, predictions) in predictions.outer_iter().enumerate() {
        for (slots, point) in slots.iter_mut().zip(points.clone()) {
            let loaded = slots.load(model, predictions.index_axis(Axis(0), point));
            loaded.map_err(|nan| nan.at("predictions", format!("model {model}, point {point}")))?;
        }
    }
    Ok(())
}

/// Gaussians over the augmentations, fitted to both sides of a point for one target.
struct Gaussians {
    augmentations: usize,
    /// 1 in the slots that hold a shadow, else 0.
    shadows: Vec<Lane>,
    /// Scaled logits, then their deviations from the mean of the side; `shadows.len()` lanes for each augmentation.
    deviations: Vec<Lane>,
    /// IN and OUT.
    sides: [Side; 2],
}

/// The shadows of one side, as seen by one target.
struct Side {
    count: usize,
    /// Scatter matrix, later covariance, row by row; only the lower triangle is meaningful.
    matrix: Vec<f64>,
    /// The target's logits minus the mean.
    offset: Vec<f64>,
}

impl Gaussians {
    fn for_predictions<T>(predictions: ArrayView4<T>) -> Result<Self, KernelError> {
        let (models, _, augmentations, _) = predictions.dim();
        let lanes = most_blocks(models) * LANES_PER_BLOCK;
        let side = || -> Result<Side, KernelError> {
            Ok(Side {
                count: 0,
                matrix: memory::filled(0.0, augmentations * augmentations)?,
                offset: memory::filled(0.0, augmentations)?,
            })
        };
        Ok(Self {
            augmentations,
            shadows: memory::filled([0.0; LANES], lanes)?,
            deviations: memory::filled([0.0; LANES], lanes * augmentations)?,
            sides: [side()?, side()?],
        })
    }

    /// The score of one target at the point that `slots` holds.
    fn score(&mut self, slots: &mut Slots, target: usize, covariance: Covariance) -> f64 {
        let slot = slots.of_model[target];
        self.shadows.copy_from_slice(&slots.filled);
        self.shadows[slot / LANES][slot % LANES] = 0.0;
        for (side, range) in slots.ranges.iter().enumerate() {
            let is_target_here = range.contains(&(slot / LANES));
            self.sides[side].count = slots.counts[side] - usize::from(is_target_here);
        }
        if self.sides.iter().any(|side| side.count == 0) {
            return 0.0;
        }
        self.centre(slots, slot);
        self.sum_scatter(&slots.ranges);
        let jitter = self.estimate(covariance);
        let [inside, outside] = &mut self.sides;
        match covariance {
            Covariance::Diagonal => inside.log_density_diagonal() - outside.log_density_diagonal(),
            Covariance::Full | Covariance::Pooled => inside.log_density(jitter) - outside.log_density(jitter),
        }
    }

    /// Deviations of the shadows and offsets of the target from the means.
    fn centre(&mut self, slots: &mut Slots, slot: usize) {
        let lanes = self.shadows.len();
        for (augmentation, row) in self.deviations.chunks_exact_mut(lanes).enumerate() {
            let blocks = row.chunks_exact_mut(LANES_PER_BLOCK);
            for (block, lanes) in slots.of_top_class(slot, augmentation).zip(blocks) {
                widen(block, lanes.as_flattened_mut());
            }
            let own = row[slot / LANES][slot % LANES];
            for (side, range) in self.sides.iter_mut().zip(&slots.ranges) {
                let (row, shadows) = (&mut row[range.clone()], &self.shadows[range.clone()]);
                let mean = dot(row, shadows) / side.count as f64;
                side.offset[augmentation] = own - mean;
                subtract(row, shadows, mean);
            }
        }
    }

    /// The scatter matrices of both sides.
    fn sum_scatter(&mut self, ranges: &[Range<usize>; 2]) {
        let lanes = self.shadows.len();
        for (side, range) in self.sides.iter_mut().zip(ranges) {
            let deviations = |augmentation| &self.deviations[augmentation * lanes..][range.clone()];
            for row in 0..self.augmentations {
                for column in 0..=row {
                    side.matrix[row * self.augmentations + column] = dot(deviations(row), deviations(column));
                }
            }
        }
    }

    /// Turns the scatter matrices into covariances with jitter on the diagonal, and returns the jitter.
    fn estimate(&mut self, covariance: Covariance) -> f64 {
        let size = self.augmentations;
        let [inside, outside] = &mut self.sides;
        let freedom = (inside.count + outside.count).saturating_sub(2).max(1) as f64;
        let trace: f64 =
            [&inside.matrix, &outside.matrix].iter().flat_map(|matrix| matrix.iter().step_by(size + 1)).sum();
        let mean_variance = trace / (freedom * size as f64);
        let jitter = (JITTER * mean_variance).max(LEAST_JITTER);
        let own = |scatter: f64, count: usize, pooled: f64| match count {
            1 => pooled,
            _ => scatter / (count - 1) as f64,
        };
        for (index, (a, b)) in inside.matrix.iter_mut().zip(&mut outside.matrix).enumerate() {
            let is_diagonal = index % (size + 1) == 0;
            let pooled = (*a + *b) / freedom;
            (*a, *b) = if covariance == Covariance::Pooled {
                let aim = if is_diagonal { mean_variance } else { 0.0 };
                let shrunk = (1.0 - SHRINKAGE) * pooled + SHRINKAGE * aim;
                (shrunk, shrunk)
            } else {
                (own(*a, inside.count, pooled), own(*b, outside.count, pooled))
            };
            if is_diagonal {
                *a += jitter;
                *b += jitter;
            }
        }
        jitter
    }
}

impl Side {
    /// Log-density of the target, but for a constant, with the whole covariance, which is used up.
    ///
    /// Cholesky decomposition and forward substitution row by row. In exact arithmetic no pivot is below the
    /// `jitter` that is part of the diagonal.
    fn log_density(&mut self, jitter: f64) -> f64 {
        let size = self.offset.len();
        let mut twice_negated = 0.0;
        for i in 0..size {
            let (above, row) = self.matrix.split_at_mut(i * size);
            for j in 0..i {
                let factor = &above[j * size..=j * size + j];
                row[j] = (row[j] - inner(&row[..j], &factor[..j])) / factor[j];
            }
            let pivot = (row[i] - inner(&row[..i], &row[..i])).max(jitter);
            row[i] = pivot.sqrt();
            self.offset[i] = (self.offset[i] - inner(&row[..i], &self.offset[..i])) / row[i];
            twice_negated += self.offset[i] * self.offset[i] + pivot.ln();
        }
        -0.5 * twice_negated
    }

    /// The same with the variances alone.
    fn log_density_diagonal(&self) -> f64 {
        let variances = self.matrix.iter().step_by(self.offset.len() + 1);
        let twice_negated: f64 = variances
            .zip(&self.offset)
            .map(|(variance, offset)| offset * offset / variance + variance.ln())
            .sum();
        -0.5 * twice_negated
    }
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[multiversion(targets("x86_64+avx2"))]
fn widen(from: &[f32; BLOCK], to: &mut [f64]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = f64::from(from);
    }
}

/// Values of the shadows minus `mean`, and 0 for all others.
#[multiversion(targets("x86_64+avx2"))]
fn subtract(values: &mut [Lane], shadows: &[Lane], mean: f64) {
    for (value, shadow) in values.iter_mut().zip(shadows) {
        for l in 0..LANES {
            value[l] = (value[l] - mean) * shadow[l];
        }
    }
}
