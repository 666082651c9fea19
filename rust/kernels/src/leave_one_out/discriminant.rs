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
//!
//! Of more classes than models all these vectors lie in the span of the models' deviations and `d`. Their coordinates in it
//! take the place of the classes (see `span`), so that no matrix is larger than models by models.

use multiversion::multiversion;
use ndarray::linalg::{general_mat_mul, general_mat_vec_mul};
use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut2, s};

use crate::error::KernelError;
use crate::lanes::{LANES, Lane, dot_in_lanes};
use crate::leave_one_out::VARIANCE_FLOOR;
use crate::leave_one_out::moments::{Effects, Moments, Picked, Role};
use crate::leave_one_out::tridiagonal::{Forms, Tridiagonal};
use crate::memory;
use crate::span::Span;

/// Below this `q`, or where less than this share of the trace is left, the model dominates the scatter matrix and
/// the digits that matter have cancelled: such a model, an extreme outlier, is scored from scratch.
const LEAST_REMAINDER: f64 = 1e-4;

/// The same of many classes: the more there are, the smaller it is for models of which none dominates.
const LEAST_REMAINDER_OF_MANY: f64 = 1e-8;

/// Up to so many classes the scatter matrix is made even where there are fewer models: it is small.
const FEW_CLASSES: usize = 256;

/// The discriminant of one point, and room for the next point's.
pub(crate) struct Discriminant {
    classes: usize,
    /// In how many dimensions it works: the classes, or one per model, lane that none fills, and the difference.
    size: usize,
    scatter: Vec<f64>,
    weighted: Vec<Lane>,
    factors: Tridiagonal,
    /// Difference of the means, rotated.
    difference: Vec<f64>,
    /// Of the deviations and, last, the difference, where there are many classes.
    span: Option<Span>,
    /// The coordinates of the shadows' deviations in it.
    shadows: Array2<f64>,
}

impl Discriminant {
    pub(crate) fn for_moments(moments: &Moments) -> Result<Self, KernelError> {
        let (classes, slots) = (moments.classes, moments.chunks * LANES);
        let is_many = classes > FEW_CLASSES.max(slots);
        let size = if is_many { slots + 1 } else { classes };
        let length = size.saturating_mul(size);
        Ok(Self {
            classes,
            size,
            scatter: memory::filled(0.0, length)?,
            weighted: memory::filled([0.0; LANES], moments.chunks)?,
            factors: Tridiagonal::of_size(size)?,
            difference: memory::filled(0.0, classes)?,
            span: if is_many { Some(Span::of_vectors(size)?) } else { None },
            shadows: memory::zeros(if is_many { (slots, size) } else { (0, 0) })?,
        })
    }

    /// Prepares for the point that `moments` holds.
    pub(crate) fn fit(&mut self, moments: &Moments) {
        for (difference, sides) in self.difference.iter_mut().zip(&moments.sides) {
            *difference = sides.mean_in - sides.mean_out;
        }
        if self.span.is_some() {
            self.sum_scatter_in_span(moments);
        } else {
            self.sum_scatter(moments);
        }
        self.factors.factorise(&mut self.scatter);
        self.factors.rotate(&mut self.difference[..self.size]);
    }

    /// The deviations of models from the mean of their side, rotated, dimension by dimension.
    pub(crate) fn rotate_deviations(&self, picked: &Picked, rotated: &mut [Lane]) {
        if let Some(span) = &self.span {
            let coordinates = span.coordinates();
            for (dimension, rotated) in rotated.iter_mut().enumerate() {
                *rotated = picked.models.map(|model| coordinates[[model, dimension]]);
            }
        } else {
            rotated.copy_from_slice(&picked.deviations);
        }
        self.factors.rotate_lanes(rotated);
    }

    /// The scatter matrix and the difference in the coordinates of their span.
    fn sum_scatter_in_span(&mut self, moments: &Moments) {
        let Some(span) = &mut self.span else { return };
        let (deviations, difference) = (class_by_class(moments), ArrayView1::from(&self.difference[..]));
        let slots = deviations.ncols();
        let products = span.gram.slice_mut(s![..slots, ..slots]);
        general_mat_mul(1.0, &deviations.t(), &deviations, 0.0, &mut { products });
        let along = span.gram.slice_mut(s![slots, ..slots]);
        general_mat_vec_mul(1.0, &deviations.t(), &difference, 0.0, &mut { along });
        for slot in 0..slots {
            span.gram[[slot, slots]] = span.gram[[slots, slot]];
        }
        span.gram[[slots, slots]] = difference.dot(&difference);
        span.decompose(|slot| slot < moments.models || slot == slots);
        let coordinates = span.coordinates();
        for (slot, (mut row, coordinates)) in
            self.shadows.outer_iter_mut().zip(coordinates.outer_iter()).enumerate()
        {
            row.assign(&(moments.is_shadow(slot) * &coordinates));
        }
        let scatter = ArrayViewMut2::from_shape((self.size, self.size), &mut self.scatter);
        let mut scatter = scatter.expect("it has as many entries");
        general_mat_mul(1.0, &self.shadows.t(), &self.shadows, 0.0, &mut scatter);
        for (out, coordinate) in self.difference.iter_mut().zip(coordinates.row(slots)) {
            *out = *coordinate;
        }
    }

    /// The factors of the scatter matrix of all shadows.
    pub(crate) fn factors(&self) -> &Tridiagonal {
        &self.factors
    }

    /// In how many dimensions it works.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Whether these are not the classes, and vectors may lie across all of them.
    pub(crate) fn is_span(&self) -> bool {
        self.span.is_some()
    }

    /// Vectors in lanes, class by class, in the dimensions in which it works; `products` is room for their products.
    pub(crate) fn project(
        &self,
        moments: &Moments,
        vectors: &[Lane],
        products: &mut [Lane],
        projected: &mut [Lane],
    ) {
        let Some(span) = &self.span else { return projected.copy_from_slice(vectors) };
        let deviations = class_by_class(moments);
        let slots = deviations.ncols();
        let vectors = ArrayView2::from_shape((self.classes, LANES), vectors.as_flattened());
        let vectors = vectors.expect("a lane a class");
        let room = ArrayViewMut2::from_shape((self.size, LANES), products.as_flattened_mut());
        let mut room = room.expect("a lane a dimension");
        general_mat_mul(1.0, &deviations.t(), &vectors, 0.0, &mut room.slice_mut(s![..slots, ..]));
        let mut along = [0.0; LANES];
        for (sides, vectors) in moments.sides.iter().zip(vectors.outer_iter()) {
            for l in 0..LANES {
                along[l] += (sides.mean_in - sides.mean_out) * vectors[l];
            }
        }
        products[slots] = along;
        span.project(products, projected);
    }

    /// The scatter matrix of the shadows about the means of their sides.
    fn sum_scatter(&mut self, moments: &Moments) {
        sum_products(moments, &mut self.weighted, &mut self.scatter);
    }

    /// The scores of models, whose deviations are `rotated`; 0 where no IN or no OUT shadow is left.
    pub(crate) fn scores(
        &self,
        moments: &Moments,
        picked: &Picked,
        rotated: &[Lane],
        ridge: f64,
    ) -> Result<Lane, KernelError> {
        let (traces, effects) = (&picked.traces_left, &picked.effects);
        let shift = shifts(traces, effects, self.classes, ridge);
        let forms = self.factors.forms(&self.difference[..self.size], rotated, &shift);
        let (mut scores, remainders) = downdate(&forms, effects);
        let trace = moments.trace();
        let least = if self.is_span() { LEAST_REMAINDER_OF_MANY } else { LEAST_REMAINDER };
        for l in 0..picked.count {
            if !effects.comparable[l] {
                scores[l] = 0.0;
            } else if remainders[l] < least || traces[l] < LEAST_REMAINDER * trace {
                scores[l] = self.score_alone(moments, (picked.models[l], l), effects, ridge)?;
            }
        }
        Ok(scores)
    }

    /// The score of one model, in one lane, from nothing but the values of the others.
    fn score_alone(
        &self,
        moments: &Moments,
        (model, lane): (usize, usize),
        effects: &Effects,
        ridge: f64,
    ) -> Result<f64, KernelError> {
        let classes = moments.classes;
        let side = |role| centred(moments.values_of_side(role, model)?, classes);
        let ((mean_in, rows_in), (mean_out, rows_out)) = (side(Role::In)?, side(Role::Out)?);
        let mut difference = mean_in;
        let mut from_centre = memory::filled([0.0; LANES], classes)?;
        for ((difference, mean_out), (from_centre, x)) in
            difference.iter_mut().zip(mean_out).zip(from_centre.iter_mut().zip(moments.values_of(model)?))
        {
            *from_centre = [x - 0.5 * (*difference + mean_out); LANES];
            *difference -= mean_out;
        }
        let freedom = effects.freedom[lane];
        if self.span.is_none() {
            let (scatter_in, scatter_out) = (scatter_of(&rows_in, classes)?, scatter_of(&rows_out, classes)?);
            let mut scatter: Vec<f64> = scatter_in.iter().zip(scatter_out).map(|(a, b)| a + b).collect();
            let trace: f64 = scatter.iter().step_by(classes + 1).sum();
            let mut factors = Tridiagonal::of_size(classes)?;
            factors.factorise(&mut scatter);
            factors.rotate(&mut difference);
            factors.rotate_lanes(&mut from_centre);
            let shift = shifts(&[trace; LANES], effects, classes, ridge);
            return Ok(freedom * factors.forms(&difference, &from_centre, &[shift[lane]; LANES]).du[lane]);
        }
        // With the deviations as the rows of U the matrix is A = U^T U + s I, and by the Woodbury formula
        // a^T A^-1 b = (a^T b - (U a)^T (U U^T + s I)^-1 U b) / s.
        let rows = [rows_in, rows_out].concat();
        let from_centre: Vec<f64> = from_centre.iter().map(|x| x[0]).collect();
        let mut gram = memory::filled(0.0, rows.len() * rows.len())?;
        for (row, entries) in rows.iter().zip(gram.chunks_exact_mut(rows.len())) {
            for (other, entry) in rows.iter().zip(entries) {
                *entry = inner(row, other);
            }
        }
        let trace: f64 = gram.iter().step_by(rows.len() + 1).sum();
        let mut along: Vec<f64> = rows.iter().map(|row| inner(row, &difference)).collect();
        let mut along_centre: Vec<Lane> = rows.iter().map(|row| [inner(row, &from_centre); LANES]).collect();
        let mut factors = Tridiagonal::of_size(rows.len())?;
        factors.factorise(&mut gram);
        factors.rotate(&mut along);
        factors.rotate_lanes(&mut along_centre);
        let shift = shifts(&[trace; LANES], effects, classes, ridge)[lane];
        let taken = factors.forms(&along, &along_centre, &[shift; LANES]).du[lane];
        Ok(freedom * (inner(&difference, &from_centre) - taken) / shift)
    }
}

/// The deviations of all models, classes by models.
fn class_by_class(moments: &Moments) -> ArrayView2<'_, f64> {
    let shape = (moments.classes, moments.chunks * LANES);
    ArrayView2::from_shape(shape, moments.deviations.as_flattened()).expect("a lane a chunk and class")
}

/// Mean of some rows, and the rows less it.
fn centred(mut rows: Vec<Vec<f64>>, classes: usize) -> Result<(Vec<f64>, Vec<Vec<f64>>), KernelError> {
    let mut mean = memory::room_for(classes)?;
    mean.extend((0..classes).map(|k| rows.iter().map(|row| row[k]).sum::<f64>() / rows.len() as f64));
    for row in &mut rows {
        for (x, mean) in row.iter_mut().zip(&mean) {
            *x -= mean;
        }
    }
    Ok((mean, rows))
}

/// Scatter matrix of centred rows, row by row.
fn scatter_of(rows: &[Vec<f64>], classes: usize) -> Result<Vec<f64>, KernelError> {
    let mut scatter = memory::filled(0.0, classes * classes)?;
    for u in rows {
        for (entries, u_row) in scatter.chunks_exact_mut(classes).zip(u) {
            for (entry, u_column) in entries.iter_mut().zip(u) {
                *entry += u_row * u_column;
            }
        }
    }
    Ok(scatter)
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
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

/// Products of the shadows' deviations in all pairs of classes, summed; `weighted` is room for a class.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq", "x86_64+avx2"))]
fn sum_products(moments: &Moments, weighted: &mut [Lane], scatter: &mut [f64]) {
    let Moments { classes, chunks, is_in, is_out, deviations, .. } = moments;
    for (row, of_row) in deviations.chunks_exact(*chunks).enumerate() {
        for (((u, is_in), is_out), weighted) in of_row.iter().zip(is_in).zip(is_out).zip(weighted.iter_mut())
        {
            for l in 0..LANES {
                weighted[l] = u[l] * (is_in[l] + is_out[l]);
            }
        }
        for (column, of_column) in deviations.chunks_exact(*chunks).take(row + 1).enumerate() {
            let product = dot_in_lanes(weighted, of_column);
            scatter[row * classes + column] = product;
            scatter[column * classes + row] = product;
        }
    }
}
