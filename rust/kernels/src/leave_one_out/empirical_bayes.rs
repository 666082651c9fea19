//! Discriminants along an IN - OUT shift that is shrunken towards what the other points lead one to expect.
//!
//! With few shadows the difference of the means at one point is mostly noise. Let it be `D` with the sampling
//! variance `v` per class, and let the true shift be normal about an expected one `f` with variance `t`. Its
//! posterior mean is `h = (D t + f v) / (t + v)` (empirical Bayes: Efron 2010, Large-Scale Inference, chapter 1),
//! and the log-likelihood ratio of values `x` along it
//! `h^T C^-1 (x - m + (p - 1/2) h)`, where `m` is the mean of all shadows, `p` the share of the IN ones, and
//! `C = (1 - a) S + a trace(S) / K I` the pooled covariance shrunken towards the identity: the values are
//! expected to be whitened by the mean covariance over points.
//!
//! As everywhere, target and model are left out exactly. The model's part of the scatter matrix is removed by the
//! Sherman-Morrison formula as in `discriminant`; where it is nearly all of it, the matrix is made without the model.

use std::num::NonZeroUsize;

use ndarray::{Array3, ArrayView1, ArrayView2, ArrayView3, ArrayViewMut2, Axis, s};

use crate::error::{KernelError, require_shape};
use crate::lanes::{LANES, Lane};
use crate::leave_one_out::discriminant::Discriminant;
use crate::leave_one_out::moments::{self, Apart, Effects, Moments};
use crate::leave_one_out::tridiagonal::HalfSolver;
use crate::leave_one_out::{VARIANCE_FLOOR, write_lanes};
use crate::{memory, parallel};

/// Names of the features, in order.
pub const EMPIRICAL_BAYES_FEATURES: [&str; 3] = ["expected", "shrunken", "certainty"];

/// No two float32 numbers are further apart: a prior mean beyond it counts as it, and a prior variance as its square.
const LARGEST_SHIFT: f64 = 2.0 * f32::MAX as f64;

/// A smaller share of the identity counts as this: what it adds to the diagonal must be seen beside the rest.
const LEAST_SHARE: f64 = 1e-9;

/// A model without which less than this share of the trace is left is scored from a scatter matrix made without it:
/// what the formula subtracts has cancelled the digits that matter.
const LEAST_TRACE_LEFT: f64 = 1e-6;

/// The same of many classes, each of which has a smaller share of the trace on the diagonal.
const LEAST_TRACE_LEFT_OF_MANY: f64 = 1e-2;

/// What is added to the diagonal is at least this share of the trace, well above the rounding of the factorisation: or
/// else a matrix that is singular but for it might not come out as positive definite.
const LEAST_DIAGONAL: f64 = 1e-12;

/// Lower bound of the `q` of the Sherman-Morrison formula, which is positive but for rounding.
const LEAST_REMAINDER: f64 = 1e-12;

/// Points in one piece of parallel work.
const PIECE: usize = 16;

/// What is known about the shift before the predictions at a point are seen.
pub struct Prior<'a> {
    /// `[points, classes]`, mean.
    pub mean: ArrayView2<'a, f64>,
    /// `[classes]`, variance about it.
    pub variance: ArrayView1<'a, f64>,
}

/// The features of `EMPIRICAL_BAYES_FEATURES` of every model at every point, float32 `[models, points, 3]`.
///
/// `expected` is the likelihood ratio along the prior mean, `shrunken` along the posterior mean of the shift, and
/// `certainty` the norm `sqrt(h^T C^-1 h)` of the latter. `x` is `[models, points, classes]`, whitened; row
/// `target` of it and of `membership`, and what is true in `apart`, `[models, points]`, enter no statistic. `share` is
/// `a`, in (0, 1). All features are finite, limited to ±1,000,000, and 0 where no IN or no OUT shadow is left.
///
/// Errors: an axis of length zero, shapes that do not fit, a `target` that is no model, a `share` outside (0, 1), a
/// variance of the prior below 0, numbers that are not finite.
pub fn empirical_bayes_features(
    x: ArrayView3<f32>,
    membership: ArrayView2<bool>,
    target: i64,
    apart: Option<ArrayView2<bool>>,
    prior: &Prior,
    share: f64,
    threads: NonZeroUsize,
) -> Result<Array3<f32>, KernelError> {
    moments::check(x, membership)?;
    let (models, points, classes) = x.dim();
    let apart = moments::check_apart(membership, target, apart)?;
    check_prior(prior, points, classes)?;
    if !(share > 0.0 && share < 1.0) {
        let expected = "between 0 and 1".to_owned();
        return Err(KernelError::Argument { argument: "share", found: share.to_string(), expected });
    }
    let share = share.max(LEAST_SHARE);
    let mut features: Array3<f32> = memory::zeros((points, models, EMPIRICAL_BAYES_FEATURES.len()))?;
    let pieces = features.axis_chunks_iter_mut(Axis(0), PIECE).enumerate().collect();
    parallel::for_each(
        threads,
        pieces,
        || Posterior::new(x),
        |posterior, (piece, mut features)| {
            for (point, mut features) in (piece * PIECE..).zip(features.outer_iter_mut()) {
                let expected = Expected { mean: prior.mean.row(point), variance: prior.variance, share };
                posterior.moments.load(x, membership, apart, point)?;
                for model in posterior.write(&expected, features.view_mut()) {
                    let apart = Apart { model: Some(model), ..apart };
                    posterior.moments.load(x, membership, apart, point)?;
                    posterior.write_model(&expected, model, features.view_mut());
                }
            }
            Ok(())
        },
    )?;
    Ok(features.permuted_axes([1, 0, 2]))
}

fn check_prior(prior: &Prior, points: usize, classes: usize) -> Result<(), KernelError> {
    require_shape("prior_mean", prior.mean.shape(), &[points, classes], "points and classes of x")?;
    require_shape("prior_variance", prior.variance.shape(), &[classes], "classes of x")?;
    let refuse = |argument, found: &f64, expected: &str| {
        Err(KernelError::Argument { argument, found: found.to_string(), expected: expected.to_owned() })
    };
    if let Some(mean) = prior.mean.iter().find(|mean| !mean.is_finite()) {
        return refuse("prior_mean", mean, "finite numbers");
    }
    if let Some(variance) =
        prior.variance.iter().find(|variance| !(variance.is_finite() && **variance >= 0.0))
    {
        return refuse("prior_variance", variance, "finite numbers from 0");
    }
    Ok(())
}

/// What is expected of one point.
struct Expected<'a> {
    /// Mean and variance of the shift, class by class.
    mean: ArrayView1<'a, f64>,
    variance: ArrayView1<'a, f64>,
    /// Of the identity in the covariance.
    share: f64,
}

/// Room for the statistics of one point, and for the vectors of one chunk of models.
struct Posterior {
    moments: Moments,
    discriminant: Discriminant,
    solver: HalfSolver,
    /// The posterior mean of the shift.
    shift: Vectors,
    /// The values about the midpoint between IN and OUT as the posterior and as the prior mean has it.
    from_shrunken: Vectors,
    from_expected: Vectors,
    expected: Vectors,
    /// The halves of the deviations, as the discriminant has them.
    deviations: Vec<Lane>,
}

/// A vector in each lane.
struct Vectors {
    /// Class by class.
    plain: Vec<Lane>,
    /// In the dimensions in which the discriminant works.
    along: Vec<Lane>,
    /// The half of that which `HalfSolver` makes.
    half: Vec<Lane>,
}

impl Posterior {
    fn new(x: ArrayView3<f32>) -> Result<Self, KernelError> {
        let moments = Moments::of_shape(x)?;
        let discriminant = Discriminant::for_moments(&moments)?;
        let vectors = || -> Result<Vectors, KernelError> {
            let plain = memory::filled([0.0; LANES], moments.classes)?;
            let room = || memory::filled([0.0; LANES], discriminant.size());
            Ok(Vectors { plain, along: room()?, half: room()? })
        };
        Ok(Self {
            solver: HalfSolver::of_size(discriminant.size())?,
            shift: vectors()?,
            from_shrunken: vectors()?,
            from_expected: vectors()?,
            expected: vectors()?,
            deviations: memory::filled([0.0; LANES], discriminant.size())?,
            discriminant,
            moments,
        })
    }

    /// Features of the loaded point, `[models, 3]`; returns the models that `write_model` has to write.
    fn write(&mut self, expected: &Expected, mut features: ArrayViewMut2<f32>) -> Vec<usize> {
        self.discriminant.fit(&self.moments);
        let least = if self.discriminant.is_span() { LEAST_TRACE_LEFT_OF_MANY } else { LEAST_TRACE_LEFT };
        let least = least * self.moments.trace();
        let mut dominant = Vec::new();
        for (chunk, features) in features.axis_chunks_iter_mut(Axis(0), LANES).enumerate() {
            let effects = self.moments.effects(chunk);
            let traces = self.moments.traces_left(chunk, &effects);
            let is_dominant = |&l: &usize| effects.comparable[l] && traces[l] < least;
            dominant.extend((0..features.nrows()).filter(is_dominant).map(|l| chunk * LANES + l));
            write_lanes(&self.columns(chunk, &effects, &traces, expected), features);
        }
        dominant
    }

    /// Features of one model, which is apart at the loaded point.
    fn write_model(&mut self, expected: &Expected, model: usize, mut features: ArrayViewMut2<f32>) {
        self.discriminant.fit(&self.moments);
        let (chunk, lane) = (model / LANES, model % LANES);
        let effects = self.moments.effects(chunk);
        let traces = self.moments.traces_left(chunk, &effects);
        let columns = self.columns(chunk, &effects, &traces, expected).map(|column| [column[lane]; LANES]);
        write_lanes(&columns, features.slice_mut(s![model..=model, ..]));
    }

    /// The features of one chunk of models.
    fn columns(&mut self, chunk: usize, effects: &Effects, traces: &Lane, expected: &Expected) -> [Lane; 3] {
        let classes = self.moments.classes as f64;
        let variances: Lane =
            std::array::from_fn(|l| (traces[l] / (effects.freedom[l] * classes)).max(VARIANCE_FLOOR));
        self.shrink(chunk, effects, &variances, expected);
        self.products(chunk, effects, &variances, expected.share)
    }

    /// Fills the vectors of one chunk.
    fn shrink(&mut self, chunk: usize, effects: &Effects, variances: &Lane, expected: &Expected) {
        let (moments, share) = (&self.moments, expected.share);
        for (class, sides) in moments.sides.iter().enumerate() {
            let at = class * moments.chunks + chunk;
            let (x, u) = (&moments.values[at], &moments.deviations[at]);
            let f = expected.mean[class].clamp(-LARGEST_SHIFT, LARGEST_SHIFT);
            let t = expected.variance[class].min(LARGEST_SHIFT * LARGEST_SHIFT);
            for l in 0..LANES {
                let (count_in, count_out) = (effects.count_in[l].max(1.0), effects.count_out[l].max(1.0));
                let mean_in = sides.mean_in - effects.shift_in[l] * u[l];
                let mean_out = sides.mean_out - effects.shift_out[l] * u[l];
                let drop = effects.drop_in[l] + effects.drop_out[l];
                let squares = (sides.squares_in + sides.squares_out - drop * u[l] * u[l]).max(0.0);
                let covariance = (1.0 - share) * squares / effects.freedom[l] + share * variances[l];
                let sampling = (1.0 / count_in + 1.0 / count_out) * covariance;
                let shift = ((mean_in - mean_out) * t + f * sampling) / (t + sampling);
                let part_in = count_in / (count_in + count_out);
                let from_mean = x[l] - (part_in * mean_in + (1.0 - part_in) * mean_out);
                self.shift.plain[class][l] = shift;
                self.expected.plain[class][l] = f;
                self.from_shrunken.plain[class][l] = from_mean + (part_in - 0.5) * shift;
                self.from_expected.plain[class][l] = from_mean + (part_in - 0.5) * f;
            }
        }
    }

    /// The features of one chunk from its vectors; 0 where nothing can be compared.
    fn products(&mut self, chunk: usize, effects: &Effects, variances: &Lane, share: f64) -> [Lane; 3] {
        let Self { discriminant, moments, solver, .. } = self;
        // C = (1 - a) / f (W + s I), so s gathers what a puts on the diagonal.
        let odds = share / (1.0 - share);
        let least = LEAST_DIAGONAL * moments.trace();
        let diagonal: Lane = std::array::from_fn(|l| (odds * effects.freedom[l] * variances[l]).max(least));
        discriminant.factors().prepare(&diagonal, solver);
        self.deviations.copy_from_slice(discriminant.rotated_deviations(chunk));
        solver.apply(&mut self.deviations);
        for vectors in [&mut self.shift, &mut self.from_shrunken, &mut self.from_expected, &mut self.expected]
        {
            discriminant.project(moments, &vectors.plain, &mut vectors.half, &mut vectors.along);
            vectors.half.copy_from_slice(&vectors.along);
            discriminant.factors().rotate_lanes(&mut vectors.half);
            solver.apply(&mut vectors.half);
        }
        let is_span = discriminant.is_span();
        let among = |a: &Vectors, b: &Vectors| -> Lane {
            let within = products(&a.half, &b.half);
            if !is_span {
                return within;
            }
            // Across all deviations of models the matrix is what is on its diagonal.
            let (plain, along) = (products(&a.plain, &b.plain), products(&a.along, &b.along));
            std::array::from_fn(|l| within[l] + (plain[l] - along[l]) / diagonal[l])
        };
        let u = &self.deviations;
        let uu = products(u, u);
        let weight: Lane = std::array::from_fn(|l| {
            let drop = effects.drop_in[l] + effects.drop_out[l];
            drop / (1.0 - drop * uu[l]).max(LEAST_REMAINDER)
        });
        let scale: Lane = std::array::from_fn(|l| effects.freedom[l] / (1.0 - share));
        let without_model = |a: &Vectors, b: &Vectors| -> Lane {
            let (ab, au, ub) = (among(a, b), products(&a.half, u), products(u, &b.half));
            std::array::from_fn(|l| match effects.comparable[l] {
                true => scale[l] * (ab[l] + weight[l] * au[l] * ub[l]),
                false => 0.0,
            })
        };
        [
            without_model(&self.expected, &self.from_expected),
            without_model(&self.shift, &self.from_shrunken),
            without_model(&self.shift, &self.shift).map(|square| square.max(0.0).sqrt()),
        ]
    }
}

/// Sums over the classes of `a b`, in each lane.
fn products(a: &[Lane], b: &[Lane]) -> Lane {
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for l in 0..LANES {
            sums[l] += a[l] * b[l];
        }
    }
    sums
}
