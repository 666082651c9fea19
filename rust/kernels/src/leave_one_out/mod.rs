//! Leave-one-out likelihood ratios per point: how much more a model's predictions look like those of the shadows
//! trained on the point (IN) than like those of the others (OUT).
//!
//! Every model is compared with all models except the target and itself, so that what a shadow gets and what the
//! target gets mean the same. Per class the ratios are those of one-dimensional Gaussians (Carlini et al. 2022,
//! section IV; online LiRA), with a variance shared by both sides or one for each; over the classes they are
//! summed, and `discriminant` takes the covariances between them into account.

mod comparison;
mod discriminant;
mod empirical_bayes;
mod moments;
mod tridiagonal;

use std::num::NonZeroUsize;

use ndarray::{Array2, Array3, ArrayView1, ArrayView2, ArrayView3, ArrayViewMut2, Axis};

use self::comparison::{Comparer, NAMES};
use self::discriminant::Discriminant;
pub use self::empirical_bayes::{EMPIRICAL_BAYES_FEATURES, Prior, empirical_bayes_features};
use self::moments::{Apart, Moments};
use crate::error::{KernelError, require_models};
use crate::lanes::{LANES, Lane};
use crate::{memory, parallel};

/// Largest magnitude of a feature: far beyond any ratio that tells something, and far from the limits of float32, so
/// that a metaclassifier may square it.
const LARGEST_FEATURE: f64 = 1e6;

/// Lower bound of a mean variance. Models that agree to the last digit about a point have none, and what is measured in
/// its units would be infinite; values are logits, of which a thousandth tells nothing.
const VARIANCE_FLOOR: f64 = 1e-6;

/// Points in one piece of parallel work.
const PIECE: usize = 16;

/// Names of the features of `leave_one_out_features`, in order; the last ones are `lda_<ridge>`.
pub fn leave_one_out_feature_names(ridges: &[f64]) -> Vec<String> {
    let fixed = NAMES.iter().map(|&name| name.to_owned());
    fixed.chain(ridges.iter().map(|ridge| format!("lda_{ridge}"))).collect()
}

/// Leave-one-out statistics of every model at every point, float32 `[models, points, features]`.
///
/// `x` is `[models, points, classes]`, `membership` `[models, points]`; row `target` of both, and what is true in
/// `apart`, `[models, points]`, enter no statistic. The result is a view of points x models x features in memory. Where
/// no IN or no OUT shadow is left, all features but `top_value` are exactly 0; all are finite, limited to ±1,000,000.
///
/// Errors: an axis of length zero, shapes that do not fit, a `target` that is no model, a ridge outside
/// [1e-6, 1e6], an entry of `x` that is not finite.
pub fn leave_one_out_features(
    x: ArrayView3<f32>,
    membership: ArrayView2<bool>,
    target: i64,
    apart: Option<ArrayView2<bool>>,
    ridges: &[f64],
    threads: NonZeroUsize,
) -> Result<Array3<f32>, KernelError> {
    moments::check(x, membership)?;
    let (models, points, _) = x.dim();
    let apart = moments::check_apart(membership, target, apart)?;
    ridges.iter().try_for_each(|&ridge| moments::check_ridge("ridges", ridge))?;
    let mut features: Array3<f32> = memory::zeros((points, models, NAMES.len() + ridges.len()))?;
    parallel::for_each(
        threads,
        features.axis_chunks_iter_mut(Axis(0), PIECE).enumerate().collect(),
        || Workspace::new(x),
        |workspace, (piece, mut features)| {
            for (point, features) in (piece * PIECE..).zip(features.outer_iter_mut()) {
                workspace.moments.load(x, membership, apart, point)?;
                workspace.write_features(ridges, features)?;
            }
            Ok(())
        },
    )?;
    Ok(features.permuted_axes([1, 0, 2]))
}

/// Discriminant scores of some targets, each against all other models, float64 `[targets, points]`.
///
/// Arguments and errors as for `leave_one_out_features`, except that here only the scored target itself is left
/// out. 0 where no IN or no OUT shadow is left.
pub fn gaussian_scores(
    x: ArrayView3<f32>,
    membership: ArrayView2<bool>,
    targets: ArrayView1<i64>,
    ridge: f64,
    threads: NonZeroUsize,
) -> Result<Array2<f64>, KernelError> {
    moments::check(x, membership)?;
    let targets = require_models(targets, x.dim().0)?;
    moments::check_ridge("ridge", ridge)?;
    let mut scores: Array2<f64> = memory::zeros((targets.len(), x.dim().1))?;
    parallel::for_each(
        threads,
        scores.axis_chunks_iter_mut(Axis(1), PIECE).enumerate().collect(),
        || Workspace::new(x),
        |workspace, (piece, mut scores)| {
            for (point, mut scores) in (piece * PIECE..).zip(scores.axis_iter_mut(Axis(1))) {
                workspace.moments.load(x, membership, Apart::default(), point)?;
                let of_models = workspace.scores(ridge)?;
                for (score, &target) in scores.iter_mut().zip(&targets) {
                    *score = of_models[target / LANES][target % LANES];
                }
            }
            Ok(())
        },
    )?;
    Ok(scores)
}

/// Room for the statistics of one point.
struct Workspace {
    moments: Moments,
    comparer: Comparer,
    discriminant: Discriminant,
    /// The features of one chunk of models.
    columns: Vec<Lane>,
}

impl Workspace {
    fn new(x: ArrayView3<f32>) -> Result<Self, KernelError> {
        let moments = Moments::of_shape(x)?;
        let discriminant = Discriminant::for_moments(&moments)?;
        let comparer = Comparer::of_classes(moments.classes)?;
        Ok(Self { comparer, moments, discriminant, columns: Vec::new() })
    }

    /// Features of the loaded point, `[models, features]`.
    fn write_features(
        &mut self,
        ridges: &[f64],
        mut features: ArrayViewMut2<f32>,
    ) -> Result<(), KernelError> {
        let moments = &self.moments;
        self.discriminant.fit(moments);
        for (chunk, features) in features.axis_chunks_iter_mut(Axis(0), LANES).enumerate() {
            let effects = moments.effects(chunk);
            self.columns.clear();
            self.columns.extend(self.comparer.compare(moments, chunk, &effects));
            for &ridge in ridges {
                self.columns.push(self.discriminant.scores(moments, chunk, &effects, ridge)?);
            }
            write_lanes(&self.columns, features);
        }
        Ok(())
    }

    /// Discriminant scores of all models at the loaded point.
    fn scores(&mut self, ridge: f64) -> Result<Vec<Lane>, KernelError> {
        let moments = &self.moments;
        self.discriminant.fit(moments);
        let chunks = 0..moments.chunks;
        chunks.map(|chunk| self.discriminant.scores(moments, chunk, &moments.effects(chunk), ridge)).collect()
    }
}

/// Writes the features of one chunk of models, `columns`, into its rows of the result.
fn write_lanes(columns: &[Lane], mut rows: ArrayViewMut2<f32>) {
    for (lane, mut row) in rows.outer_iter_mut().enumerate() {
        for (out, column) in row.iter_mut().zip(columns) {
            *out = column[lane].clamp(-LARGEST_FEATURE, LARGEST_FEATURE) as f32;
        }
    }
}
