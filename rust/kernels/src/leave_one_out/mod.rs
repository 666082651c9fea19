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

use ndarray::{Array2, ArrayView1, ArrayView2, ArrayView3, ArrayViewMut1, Axis};

use self::comparison::{Comparer, NAMES};
use self::discriminant::Discriminant;
use self::empirical_bayes::Posterior;
pub use self::empirical_bayes::{EMPIRICAL_BAYES_FEATURES, Prior};
use self::moments::{Apart, Moments, Picked};
use crate::error::{KernelError, require_models, require_shape};
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

/// Names of the features of `leave_one_out_features` without a prior, in order; the last ones are `lda_<ridge>`.
pub fn leave_one_out_feature_names(ridges: &[f64]) -> Vec<String> {
    let fixed = NAMES.iter().map(|&name| name.to_owned());
    fixed.chain(ridges.iter().map(|ridge| format!("lda_{ridge}"))).collect()
}

/// Who is compared with whom.
#[derive(Debug, Clone, Copy)]
pub struct Compared<'a> {
    /// The model that enters no statistic anywhere.
    pub target: i64,
    /// `[models, points]`: what else enters none.
    pub apart: Option<ArrayView2<'a, bool>>,
    /// `[models, points]`: whose features are asked for; everyone's everywhere if there is none.
    pub wanted: Option<ArrayView2<'a, bool>>,
}

/// Leave-one-out statistics of models at points, float32 `[rows, features]`: a row for each model at each point, or for
/// those that are wanted, in the order of the models and, of one model, of the points.
///
/// `x` is `[models, points, classes]`, `membership` `[models, points]`; row `target` of both, and what is true in
/// `apart`, enter no statistic. With a `prior` the features of `EMPIRICAL_BAYES_FEATURES` follow behind those that
/// `leave_one_out_feature_names` names: `expected` is the likelihood ratio along the prior mean, `shrunken` along the
/// posterior mean of the shift, and `certainty` the norm `sqrt(h^T C^-1 h)` of the latter, of an `x` that is whitened.
/// Where no IN or no OUT shadow is left, all features but `top_value` are exactly 0; all are finite, limited to
/// ±1,000,000.
///
/// Errors: an axis of length zero, shapes that do not fit, a `target` that is no model, a ridge outside
/// [1e-6, 1e6], an entry of `x` that is not finite, a prior that is not finite, with a variance below 0, or with a share
/// outside (0, 1).
pub fn leave_one_out_features(
    x: ArrayView3<f32>,
    membership: ArrayView2<bool>,
    compared: &Compared,
    ridges: &[f64],
    prior: Option<&Prior>,
    threads: NonZeroUsize,
) -> Result<Array2<f32>, KernelError> {
    moments::check(x, membership)?;
    let (models, points, classes) = x.dim();
    let apart = moments::check_apart(membership, compared.target, compared.apart)?;
    ridges.iter().try_for_each(|&ridge| moments::check_ridge("ridges", ridge))?;
    if let Some(prior) = prior {
        prior.check(points, classes)?;
    }
    if let Some(wanted) = compared.wanted {
        require_shape("wanted", wanted.shape(), membership.shape(), "models and points of x")?;
    }
    let is_wanted = |model: usize, point: usize| compared.wanted.is_none_or(|wanted| wanted[[model, point]]);
    let of_prior = if prior.is_some() { EMPIRICAL_BAYES_FEATURES.len() } else { 0 };
    let width = NAMES.len() + ridges.len() + of_prior;
    // Point by point first: so each thread writes to a part of its own.
    let mut counts = memory::filled(0, points)?;
    for (point, count) in counts.iter_mut().enumerate() {
        *count = (0..models).filter(|&model| is_wanted(model, point)).count();
    }
    let rows = counts.iter().sum::<usize>();
    let mut by_point = memory::filled(0.0_f32, rows.saturating_mul(width))?;
    let (mut pieces, mut rest) = (Vec::new(), &mut by_point[..]);
    for (piece, counts) in counts.chunks(PIECE).enumerate() {
        let (features, after) = rest.split_at_mut(counts.iter().sum::<usize>() * width);
        pieces.push((piece * PIECE..piece * PIECE + counts.len(), features));
        rest = after;
    }
    parallel::for_each(
        threads,
        pieces,
        || Ok((Workspace::new(x)?, memory::room_for(models)?)),
        |(workspace, wanted): &mut (Workspace, Vec<usize>), (points, mut features)| {
            for point in points {
                wanted.clear();
                wanted.extend((0..models).filter(|&model| is_wanted(model, point)));
                let (here, after) = features.split_at_mut(wanted.len() * width);
                let at = Place { x, membership, apart, point };
                workspace.write_features(at, wanted, ridges, prior, width, here)?;
                features = after;
            }
            Ok(())
        },
    )?;
    let mut features = memory::room_for(by_point.len())?;
    let mut next = memory::room_for(points)?;
    next.extend(counts.iter().scan(0, |sum, count| {
        *sum += count;
        Some(*sum - count)
    }));
    for model in 0..models {
        for (point, next) in next.iter_mut().enumerate() {
            if !is_wanted(model, point) {
                continue;
            }
            features.extend_from_slice(&by_point[*next * width..][..width]);
            *next += 1;
        }
    }
    Ok(Array2::from_shape_vec((rows, width), features).expect("so many rows were written"))
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
                workspace.write_scores(&targets, ridge, scores.view_mut())?;
            }
            Ok(())
        },
    )?;
    Ok(scores)
}

/// One point of the input.
#[derive(Clone, Copy)]
struct Place<'a> {
    x: ArrayView3<'a, f32>,
    membership: ArrayView2<'a, bool>,
    apart: Apart<'a>,
    point: usize,
}

/// Room for the statistics of one point.
struct Workspace {
    moments: Moments,
    comparer: Comparer,
    discriminant: Discriminant,
    posterior: Posterior,
    /// The models that are looked at side by side, and their rotated deviations.
    picked: Picked,
    rotated: Vec<Lane>,
    /// Their features.
    columns: Vec<Lane>,
}

impl Workspace {
    fn new(x: ArrayView3<f32>) -> Result<Self, KernelError> {
        let moments = Moments::of_shape(x)?;
        let discriminant = Discriminant::for_moments(&moments)?;
        Ok(Self {
            comparer: Comparer::of_classes(moments.classes)?,
            posterior: Posterior::new(moments.classes, &discriminant)?,
            picked: Picked::of_classes(moments.classes)?,
            rotated: memory::filled([0.0; LANES], discriminant.size())?,
            columns: Vec::new(),
            moments,
            discriminant,
        })
    }

    /// Features of some models at one point, so many (`width`) of each.
    fn write_features(
        &mut self,
        at: Place,
        wanted: &[usize],
        ridges: &[f64],
        prior: Option<&Prior>,
        width: usize,
        features: &mut [f32],
    ) -> Result<(), KernelError> {
        let Place { x, membership, apart, point } = at;
        self.moments.load(x, membership, apart, point)?;
        self.discriminant.fit(&self.moments);
        let mut dominant = Vec::new();
        for (chunk, models) in wanted.chunks(LANES).enumerate() {
            self.pick(models);
            let Self { moments, comparer, discriminant, posterior, picked, rotated, columns } = self;
            columns.clear();
            columns.extend(comparer.compare(moments, picked));
            for &ridge in ridges {
                columns.push(discriminant.scores(moments, picked, rotated, ridge)?);
            }
            if let Some(prior) = prior {
                columns.extend(posterior.features(discriminant, moments, picked, rotated, prior, point));
                let trace = moments.trace();
                let is_dominant = |l: &usize| Posterior::is_dominant(discriminant, trace, picked, *l);
                dominant.extend((0..models.len()).filter(is_dominant).map(|l| chunk * LANES + l));
            }
            for (lane, row) in features.chunks_exact_mut(width).skip(chunk * LANES).take(LANES).enumerate() {
                write_lane(columns, lane, row);
            }
        }
        let Some(prior) = prior else { return Ok(()) };
        for row in dominant {
            let apart = Apart { model: Some(wanted[row]), ..apart };
            self.moments.load(x, membership, apart, point)?;
            self.discriminant.fit(&self.moments);
            self.pick(&wanted[row..=row]);
            let Self { moments, discriminant, posterior, picked, rotated, .. } = self;
            let columns = posterior.features(discriminant, moments, picked, rotated, prior, point);
            write_lane(&columns, 0, &mut features[(row + 1) * width - columns.len()..][..columns.len()]);
        }
        Ok(())
    }

    /// Discriminant scores of the targets at the loaded point.
    fn write_scores(
        &mut self,
        targets: &[usize],
        ridge: f64,
        mut scores: ArrayViewMut1<f64>,
    ) -> Result<(), KernelError> {
        self.discriminant.fit(&self.moments);
        for (targets, mut scores) in targets.chunks(LANES).zip(scores.axis_chunks_iter_mut(Axis(0), LANES)) {
            self.pick(targets);
            let found = self.discriminant.scores(&self.moments, &self.picked, &self.rotated, ridge)?;
            scores.iter_mut().zip(found).for_each(|(score, found)| *score = found);
        }
        Ok(())
    }

    fn pick(&mut self, models: &[usize]) {
        self.moments.pick(models, &mut self.picked);
        self.discriminant.rotate_deviations(&self.picked, &mut self.rotated);
    }
}

/// Writes the features of one model, `columns`, into a row of the result.
fn write_lane(columns: &[Lane], lane: usize, row: &mut [f32]) {
    for (out, column) in row.iter_mut().zip(columns) {
        *out = column[lane].clamp(-LARGEST_FEATURE, LARGEST_FEATURE) as f32;
    }
}
