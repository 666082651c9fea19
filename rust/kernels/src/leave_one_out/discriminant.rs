//! Gaussian log-likelihood ratio with one shrunken covariance for IN and OUT (linear discriminant analysis), for
//! every model of a point with that model left out.
//!
//! With the scatter matrix `W` of the shadows about the means of their sides, its degrees of freedom `f` and
//! `C = W / f + ridge * max(trace(W / f) / K, 1e-6) I`, the score of a model with values `x` is
//! `(mean_in - mean_out)^T C^-1 (x - (mean_in + mean_out) / 2)`, where neither means nor `W`, `f` or the trace
//! know the model itself.
//!
//! Leaving it out is exact and needs no factorisation of its own. Let `u` be its deviation from the mean of its
//! side of n models, `d` the difference of the means of all, `t = 1 / (n - 1)` and `b = n / (n - 1)`. Without
//! the model `W` becomes `W - b u u^T`, the difference `d - g t u` and the deviation from the centre
//! `g d / 2 + (1 + t / 2) u`, with g = 1 for IN and -1 for OUT: all vectors lie in the plane of `d` and `u`. With
//! the shifted `A = W + s I` tridiagonal, and `dd = d^T A^-1 d` and so on, the Sherman-Morrison formula for
//! `A - b u u^T` collapses the score to
//! `f (g / 2 (dd + b du^2 / q) + du / q - g t (1 + t / 2) uu / q)` with `q = 1 - b uu`.

use multiversion::multiversion;

use crate::lanes::{LANES, Lane, dot};
use crate::leave_one_out::VARIANCE_FLOOR;
use crate::leave_one_out::moments::{Effects, Moments, Role};
use crate::leave_one_out::tridiagonal::{Forms, Tridiagonal};

/// Below this `q`, or where less than this share of the trace is left, the model dominates the scatter matrix and
/// the digits that matter have cancelled: such a model, an extreme outlier, is scored from scratch.
const LEAST_REMAINDER: f64 = 1e-4;

/// The discriminant of one point, and room for the next point's.
pub(crate) struct Discriminant {
    classes: usize,
    scatter: Vec<f64>,
    weighted: Vec<Lane>,
    factors: Tridiagonal,
    /// Difference of the means, rotated.
    difference: Vec<f64>,
    /// Deviations of the models, rotated; chunk by chunk, within it dimension by dimension.
    deviations: Vec<Lane>,
}

impl Discriminant {
    pub(crate) fn for_moments(moments: &Moments) -> Self {
        let classes = moments.classes;
        Self {
            classes,
            scatter: vec![0.0; classes * classes],
            weighted: vec![[0.0; LANES]; moments.chunks],
            factors: Tridiagonal::of_size(classes),
            difference: vec![0.0; classes],
            deviations: vec![[0.0; LANES]; moments.chunks * classes],
        }
    }

    /// Prepares for the point that `moments` holds.
    pub(crate) fn fit(&mut self, moments: &Moments) {
        self.sum_scatter(moments);
        self.factors.factorise(&mut self.scatter);
        for (difference, sides) in self.difference.iter_mut().zip(&moments.sides) {
            *difference = sides.mean_in - sides.mean_out;
        }
        self.factors.rotate(&mut self.difference);
        for (chunk, rotated) in self.deviations.chunks_exact_mut(self.classes).enumerate() {
            let deviations = moments.deviations.iter().skip(chunk).step_by(moments.chunks);
            for (rotated, deviation) in rotated.iter_mut().zip(deviations) {
                *rotated = *deviation;
            }
            self.factors.rotate_lanes(rotated);
        }
    }

    /// The factors of the scatter matrix of all shadows.
    pub(crate) fn factors(&self) -> &Tridiagonal {
        &self.factors
    }

    /// The rotated deviations of the models of one chunk from the mean of their side, dimension by dimension.
    pub(crate) fn rotated_deviations(&self, chunk: usize) -> &[Lane] {
        &self.deviations[chunk * self.classes..][..self.classes]
    }

    /// The scatter matrix of the shadows about the means of their sides.
    fn sum_scatter(&mut self, moments: &Moments) {
        let (classes, chunks) = (self.classes, moments.chunks);
        for row in 0..classes {
            let deviations = &moments.deviations[row * chunks..][..chunks];
            weigh(deviations, &moments.is_in, &moments.is_out, &mut self.weighted);
            for column in 0..=row {
                let product = dot(&self.weighted, &moments.deviations[column * chunks..][..chunks]);
                self.scatter[row * classes + column] = product;
                self.scatter[column * classes + row] = product;
            }
        }
    }

    /// The scores of the models in one chunk; 0 where no IN or no OUT shadow is left.
    pub(crate) fn scores(&self, moments: &Moments, chunk: usize, effects: &Effects, ridge: f64) -> Lane {
        let traces = moments.traces_left(chunk, effects);
        let shift = shifts(&traces, effects, self.classes, ridge);
        let deviations = self.rotated_deviations(chunk);
        let forms = self.factors.forms(&self.difference, deviations, &shift);
        let (mut scores, remainders) = downdate(&forms, effects);
        let trace = moments.trace();
        for l in 0..LANES {
            if !effects.comparable[l] {
                scores[l] = 0.0;
            } else if remainders[l] < LEAST_REMAINDER || traces[l] < LEAST_REMAINDER * trace {
                scores[l] = score_alone(moments, (chunk, l), effects, ridge);
            }
        }
        scores
    }
}

/// The score of one model from nothing but the values of the others.
fn score_alone(moments: &Moments, place: (usize, usize), effects: &Effects, ridge: f64) -> f64 {
    let classes = moments.classes;
    let [(mean_in, scatter_in), (mean_out, scatter_out)] =
        [Role::In, Role::Out].map(|role| mean_and_scatter(&moments.values_of_side(role, place), classes));
    let mut scatter: Vec<f64> = scatter_in.iter().zip(scatter_out).map(|(a, b)| a + b).collect();
    let trace: f64 = scatter.iter().step_by(classes + 1).sum();
    let mut difference: Vec<f64> = mean_in.iter().zip(&mean_out).map(|(a, b)| a - b).collect();
    let centre = mean_in.iter().zip(&mean_out).map(|(a, b)| 0.5 * (a + b));
    let mut centred: Vec<Lane> =
        moments.values_of(place).iter().zip(centre).map(|(x, centre)| [x - centre; LANES]).collect();

    let mut factors = Tridiagonal::of_size(classes);
    factors.factorise(&mut scatter);
    factors.rotate(&mut difference);
    factors.rotate_lanes(&mut centred);
    let shift = shifts(&[trace; LANES], effects, classes, ridge);
    let (_, lane) = place;
    effects.freedom[lane] * factors.forms(&difference, &centred, &[shift[lane]; LANES]).du[lane]
}

/// Mean of some rows and their scatter matrix about it, row by row.
fn mean_and_scatter(rows: &[Vec<f64>], classes: usize) -> (Vec<f64>, Vec<f64>) {
    let mean: Vec<f64> =
        (0..classes).map(|k| rows.iter().map(|row| row[k]).sum::<f64>() / rows.len() as f64).collect();
    let mut scatter = vec![0.0; classes * classes];
    for row in rows {
        let u: Vec<f64> = row.iter().zip(&mean).map(|(x, mean)| x - mean).collect();
        for (entries, u_row) in scatter.chunks_exact_mut(classes).zip(&u) {
            for (entry, u_column) in entries.iter_mut().zip(&u) {
                *entry += u_row * u_column;
            }
        }
    }
    (mean, scatter)
}

/// What `ridge` adds to the diagonal of a scatter matrix with the given trace.
fn shifts(traces: &Lane, effects: &Effects, classes: usize, ridge: f64) -> Lane {
    std::array::from_fn(|l| {
        let variance = traces[l] / (effects.freedom[l] * classes as f64);
        ridge * effects.freedom[l] * variance.max(VARIANCE_FLOOR)
    })
}

/// The scores from the products with all models in the scatter matrix, and the `q` of each.
#[inline(always)]
fn downdate(forms: &Forms, effects: &Effects) -> (Lane, Lane) {
    let (mut scores, mut remainders) = ([0.0; LANES], [0.0; LANES]);
    for l in 0..LANES {
        let Forms { dd, du, uu } = forms;
        let side = effects.side[l];
        let shift = effects.shift_in[l] + effects.shift_out[l];
        let drop = effects.drop_in[l] + effects.drop_out[l];
        let remainder = 1.0 - drop * uu[l];
        let (du_left, uu_left) = (du[l] / remainder, uu[l] / remainder);
        let dd_left = dd[l] + drop * du[l] * du_left;
        let score = 0.5 * side * dd_left + du_left - side * shift * (1.0 + 0.5 * shift) * uu_left;
        scores[l] = effects.freedom[l] * score;
        remainders[l] = remainder;
    }
    (scores, remainders)
}

/// Deviations of the shadows of either side, 0 for the models apart.
#[multiversion(targets("x86_64+avx2"))]
fn weigh(deviations: &[Lane], is_in: &[Lane], is_out: &[Lane], weighted: &mut [Lane]) {
    for (((u, is_in), is_out), weighted) in deviations.iter().zip(is_in).zip(is_out).zip(weighted) {
        for l in 0..LANES {
            weighted[l] = u[l] * (is_in[l] + is_out[l]);
        }
    }
}
