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

use multiversion::multiversion;
use ndarray::{ArrayView1, ArrayView2};

use crate::error::{KernelError, require_shape};
use crate::lanes::{LANES, Lane};
use crate::leave_one_out::VARIANCE_FLOOR;
use crate::leave_one_out::discriminant::Discriminant;
use crate::leave_one_out::moments::{Effects, Moments, Picked, Sides};
use crate::leave_one_out::tridiagonal::{HalfSolver, VECTORS, Vectors};
use crate::memory;

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

/// What is known about the shift before the predictions at a point are seen, and how far the covariance is shrunken.
pub struct Prior<'a> {
    /// `[points, classes]`, mean.
    pub mean: ArrayView2<'a, f64>,
    /// `[classes]`, variance about it.
    pub variance: ArrayView1<'a, f64>,
    /// Of the identity in the covariance, in (0, 1).
    pub share: f64,
}

impl Prior<'_> {
    /// Fails unless it fits `x` of so many points and classes, is finite, and no variance is below 0.
    pub(crate) fn check(&self, points: usize, classes: usize) -> Result<(), KernelError> {
        require_shape("prior_mean", self.mean.shape(), &[points, classes], "points and classes of x")?;
        require_shape("prior_variance", self.variance.shape(), &[classes], "classes of x")?;
        let refuse = |argument, found: &f64, expected: &str| {
            Err(KernelError::Argument { argument, found: found.to_string(), expected: expected.to_owned() })
        };
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return refuse("prior_mean", mean, "finite numbers");
        }
        let is_variance = |variance: &&f64| variance.is_finite() && **variance >= 0.0;
        if let Some(variance) = self.variance.iter().find(|variance| !is_variance(variance)) {
            return refuse("prior_variance", variance, "finite numbers from 0");
        }
        if !(self.share > 0.0 && self.share < 1.0) {
            return refuse("share", &self.share, "between 0 and 1");
        }
        Ok(())
    }
}

/// Which of the vectors of each lane is what: the posterior mean of the shift, the values about the midpoint between IN
/// and OUT as the posterior and as the prior mean has it, and the prior mean.
const SHIFT: usize = 0;
const FROM_SHRUNKEN: usize = 1;
const FROM_EXPECTED: usize = 2;
const EXPECTED: usize = 3;

/// Room for the vectors of `LANES` models at one point.
pub(crate) struct Posterior {
    solver: HalfSolver,
    /// Each of the vectors, class by class.
    plain: [Vec<Lane>; VECTORS],
    /// In the dimensions in which the discriminant works, and room for their products on the way there.
    along: [Vec<Lane>; VECTORS],
    products: Vec<Lane>,
    /// The halves of these that `HalfSolver` makes, and of the deviations.
    half: Vec<Vectors>,
    deviations: Vec<Lane>,
}

impl Posterior {
    pub(crate) fn new(classes: usize, discriminant: &Discriminant) -> Result<Self, KernelError> {
        let size = discriminant.size();
        let room = |length| memory::filled([0.0; LANES], length);
        let vectors = |length| Ok([room(length)?, room(length)?, room(length)?, room(length)?]);
        Ok(Self {
            solver: HalfSolver::of_size(size)?,
            plain: vectors(classes)?,
            along: vectors(size)?,
            products: room(size)?,
            half: memory::filled([[0.0; LANES]; VECTORS], size)?,
            deviations: room(size)?,
        })
    }

    /// Whether the statistics of the point hardly have anything but one model: it is to be scored from others that are
    /// made without it.
    pub(crate) fn is_dominant(discriminant: &Discriminant, trace: f64, picked: &Picked, lane: usize) -> bool {
        let least = if discriminant.is_span() { LEAST_TRACE_LEFT_OF_MANY } else { LEAST_TRACE_LEFT };
        picked.effects.comparable[lane] && picked.traces_left[lane] < least * trace
    }

    /// The features of the models that are picked, whose deviations are `rotated`; 0 where nothing can be compared.
    pub(crate) fn features(
        &mut self,
        discriminant: &Discriminant,
        moments: &Moments,
        picked: &Picked,
        rotated: &[Lane],
        prior: &Prior,
        point: usize,
    ) -> [Lane; 3] {
        let (effects, share) = (&picked.effects, prior.share.max(LEAST_SHARE));
        let classes = moments.classes as f64;
        let variances: Lane = std::array::from_fn(|l| {
            (picked.traces_left[l] / (effects.freedom[l] * classes)).max(VARIANCE_FLOOR)
        });
        let expected = Expected { mean: prior.mean.row(point), variance: prior.variance, share };
        shrink(&moments.sides, picked, &variances, &expected, &mut self.plain);
        // C = (1 - a) / f (W + s I), so s gathers what a puts on the diagonal.
        let odds = share / (1.0 - share);
        let least = LEAST_DIAGONAL * moments.trace();
        let diagonal: Lane = std::array::from_fn(|l| (odds * effects.freedom[l] * variances[l]).max(least));
        discriminant.factors().prepare(&diagonal, &mut self.solver);
        self.deviations.copy_from_slice(rotated);
        self.solver.apply(&mut self.deviations);
        for (plain, along) in self.plain.iter().zip(&mut self.along) {
            discriminant.project(moments, plain, &mut self.products, along);
        }
        for (dimension, half) in self.half.iter_mut().enumerate() {
            *half = std::array::from_fn(|vector| self.along[vector][dimension]);
        }
        discriminant.factors().rotate_vectors(&mut self.half);
        self.solver.apply_vectors(&mut self.half);
        let mut products = products(&self.half, &self.deviations);
        if discriminant.is_span() {
            // Across all deviations of models the matrix is what is on its diagonal.
            for (among, (a, b)) in products.among.iter_mut().zip(PAIRS) {
                let plain = sum_of_products(&self.plain[a], &self.plain[b]);
                let along = sum_of_products(&self.along[a], &self.along[b]);
                for l in 0..LANES {
                    among[l] += (plain[l] - along[l]) / diagonal[l];
                }
            }
        }
        let scale: Lane = std::array::from_fn(|l| effects.freedom[l] / (1.0 - share));
        let [expected, shrunken, square] = without_models(&products, effects, &scale);
        [expected, shrunken, square.map(|square| square.max(0.0).sqrt())]
    }
}

/// What is expected of one point: mean and variance of the shift, class by class, and the share of the identity in the
/// covariance.
struct Expected<'a> {
    mean: ArrayView1<'a, f64>,
    variance: ArrayView1<'a, f64>,
    share: f64,
}

/// Fills in the vectors of the models that are picked.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq", "x86_64+avx2"))]
fn shrink(
    sides: &[Sides],
    picked: &Picked,
    variances: &Lane,
    expected: &Expected,
    vectors: &mut [Vec<Lane>; VECTORS],
) {
    let (effects, share) = (&picked.effects, expected.share);
    let (mut of_counts, mut part_in) = ([0.0; LANES], [0.0; LANES]);
    for l in 0..LANES {
        let (count_in, count_out) = (effects.count_in[l].max(1.0), effects.count_out[l].max(1.0));
        of_counts[l] = 1.0 / count_in + 1.0 / count_out;
        part_in[l] = count_in / (count_in + count_out);
    }
    let [shift, from_shrunken, from_expected, expectation] = vectors;
    for (class, sides) in sides.iter().enumerate() {
        let (x, u) = (&picked.values[class], &picked.deviations[class]);
        let f = expected.mean[class].clamp(-LARGEST_SHIFT, LARGEST_SHIFT);
        let t = expected.variance[class].min(LARGEST_SHIFT * LARGEST_SHIFT);
        for l in 0..LANES {
            let mean_in = sides.mean_in - effects.shift_in[l] * u[l];
            let mean_out = sides.mean_out - effects.shift_out[l] * u[l];
            let drop = effects.drop_in[l] + effects.drop_out[l];
            let left = sides.squares_in + sides.squares_out - drop * u[l] * u[l];
            let squares = if left > 0.0 { left } else { 0.0 };
            let covariance = (1.0 - share) * squares / effects.freedom[l] + share * variances[l];
            let sampling = of_counts[l] * covariance;
            let shrunken = ((mean_in - mean_out) * t + f * sampling) / (t + sampling);
            let from_mean = x[l] - (part_in[l] * mean_in + (1.0 - part_in[l]) * mean_out);
            shift[class][l] = shrunken;
            expectation[class][l] = f;
            from_shrunken[class][l] = from_mean + (part_in[l] - 0.5) * shrunken;
            from_expected[class][l] = from_mean + (part_in[l] - 0.5) * f;
        }
    }
}

/// The pairs of vectors whose products are the features.
const PAIRS: [(usize, usize); 3] = [(EXPECTED, FROM_EXPECTED), (SHIFT, FROM_SHRUNKEN), (SHIFT, SHIFT)];

/// Products of the halves of vectors: of `PAIRS`, of each vector with the deviations, and of these with themselves.
struct Products {
    among: [Lane; PAIRS.len()],
    with_deviations: Vectors,
    of_deviations: Lane,
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq", "x86_64+avx2"))]
fn products(half: &[Vectors], deviations: &[Lane]) -> Products {
    let zero = [0.0; LANES];
    let mut sums =
        Products { among: [zero; PAIRS.len()], with_deviations: [zero; VECTORS], of_deviations: zero };
    for (vectors, u) in half.iter().zip(deviations) {
        for (sum, (a, b)) in sums.among.iter_mut().zip(PAIRS) {
            for l in 0..LANES {
                sum[l] += vectors[a][l] * vectors[b][l];
            }
        }
        for (sum, vector) in sums.with_deviations.iter_mut().zip(vectors) {
            for l in 0..LANES {
                sum[l] += vector[l] * u[l];
            }
        }
        for l in 0..LANES {
            sums.of_deviations[l] += u[l] * u[l];
        }
    }
    sums
}

/// The products of `PAIRS` with each model taken out of the matrix.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq", "x86_64+avx2"))]
fn without_models(products: &Products, effects: &Effects, scale: &Lane) -> [Lane; PAIRS.len()] {
    let mut without = [[0.0; LANES]; PAIRS.len()];
    for ((without, (a, b)), among) in without.iter_mut().zip(PAIRS).zip(&products.among) {
        let (along_a, along_b) = (&products.with_deviations[a], &products.with_deviations[b]);
        for l in 0..LANES {
            let drop = effects.drop_in[l] + effects.drop_out[l];
            let remainder = 1.0 - drop * products.of_deviations[l];
            let weight = drop / if remainder > LEAST_REMAINDER { remainder } else { LEAST_REMAINDER };
            let product = scale[l] * (among[l] + weight * along_a[l] * along_b[l]);
            without[l] = if effects.comparable[l] { product } else { 0.0 };
        }
    }
    without
}

/// Sums over the classes of `a b`, in each lane.
fn sum_of_products(a: &[Lane], b: &[Lane]) -> Lane {
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for l in 0..LANES {
            sums[l] += a[l] * b[l];
        }
    }
    sums
}
