//! How well a model's predictions at a point still tell the label that the point had in pretraining.
//!
//! For each model on its own, labelled points teach a linear discriminant of the labels. A point `p` teaches with the
//! weight `w_p`. The mean of a label is `m_c = (sum_c w_p x_p + m) / (sum_c w_p + 1)`: one pseudo-count pulls it
//! towards the mean `m` of all teachers. With the scatter `S = sum_p w_p (x_p - m_c) (x_p - m_c)^T / sum_p w_p` about
//! these means the covariance is `C = (1 - penalty) S + penalty trace(S) / d I`. The log odds of a point are the log
//! density of its own label minus the logarithm of the sum of the other labels' densities, where the mean of its own
//! label is that without the point: or else a point would be near its label because it is part of it.
//!
//! All labels have the same covariance, so `x^T C^-1 x` cancels: compared are `(x - m_c / 2)^T C^-1 m_c`, which keep
//! their digits at a point that is far from all labels. No membership enters here, so all models are treated alike.
//!
//! All of it are products of predictions with one another, of which `C^-1` only sees what lies in the span of the
//! teachers. So of more features than points the coordinates in that span take their place (see `span`).

use std::num::NonZeroUsize;
use std::ops::Range;

use multiversion::multiversion;
use nalgebra::{Cholesky, DMatrix};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayView3, ArrayViewMut1, Axis, Zip, s};

use crate::error::{KernelError, require_nonempty, require_shape};
use crate::lanes::{LANES, Lane};
use crate::logits::math::exp;
use crate::span::Span;
use crate::{memory, parallel};

/// Points that are worked on together: enough rows for the matrix products to run at full speed.
const PIECE: usize = 64;

/// Features that are worked on together where there are many; so many are few.
const STRIP: usize = 256;

/// Log odds of every point's own label in the predictions of every model, float64 `[models, points]`.
///
/// `x` is `[models, points, features]`, `labels` `[points]` with any numbers for labels, `weights` `[models, points]`,
/// from 0, how much each point teaches the probe of each model; a point without weight has no influence on the others.
/// 0 where no other teacher has the point's own label, where no other label has a teacher, and in a model whose
/// teachers are all alike.
///
/// Errors: an axis of length zero, shapes that do not fit, fewer than 2 distinct labels, an entry of `x` that is not
/// finite, a weight that is negative or not finite, a penalty outside [1e-6, 1], or so small beside the number of
/// features that rounding leaves no positive definite covariance.
pub fn label_probe(
    x: ArrayView3<f32>,
    labels: ArrayView1<i64>,
    weights: ArrayView2<f32>,
    penalty: f64,
    threads: NonZeroUsize,
) -> Result<Array2<f64>, KernelError> {
    require_nonempty("x", x.shape())?;
    require_shape("labels", labels.shape(), &x.shape()[1..2], "points of x")?;
    require_shape("weights", weights.shape(), &x.shape()[..2], "models and points of x")?;
    if !(1e-6..=1.0).contains(&penalty) {
        return Err(wrong_penalty(penalty, "between 1e-6 and 1".to_owned()));
    }
    let mut distinct = labels.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    if let [label] = distinct[..] {
        return Err(KernelError::Argument {
            argument: "labels",
            found: format!("{label} everywhere"),
            expected: "at least 2 distinct labels".to_owned(),
        });
    }
    let labels: Vec<usize> = labels.iter().map(|label| distinct.partition_point(|d| d < label)).collect();
    let mut odds: Array2<f64> = memory::zeros(weights.raw_dim())?;
    let (_, points, features) = x.dim();
    let is_many = features > STRIP.max(points);
    let dimensions = if is_many { points } else { features };
    parallel::for_each(
        threads,
        odds.outer_iter_mut().enumerate().collect(),
        || {
            let reduction = if is_many { Some(Reduction::of_points(points)?) } else { None };
            Ok((Probe::new(&labels, distinct.len(), dimensions, features, penalty)?, reduction))
        },
        |(probe, reduction), (model, odds)| {
            let (x, weights) = (x.index_axis(Axis(0), model), weights.row(model));
            probe.find_heaviest(model, weights)?;
            require_finite(model, x)?;
            match reduction {
                Some(reduction) => {
                    let x = reduction.coordinates(x, weights, probe.origin_point());
                    probe.run(x, weights, odds)
                }
                None => probe.run(x, weights, odds),
            }
        },
    )?;
    Ok(odds)
}

fn require_finite(model: usize, x: ArrayView2<f32>) -> Result<(), KernelError> {
    for (point, x) in x.outer_iter().enumerate() {
        if let Some(value) = x.iter().find(|value| !value.is_finite()) {
            return Err(KernelError::not_finite("x", value, format!("model {model}, point {point}")));
        }
    }
    Ok(())
}

fn wrong_penalty(penalty: f64, expected: String) -> KernelError {
    KernelError::Argument { argument: "penalty", found: penalty.to_string(), expected }
}

/// The probe of one model, and room for the next one's. Predictions are measured from the `origin`.
struct Probe<'a> {
    /// Of each point, as an index.
    labels: &'a [usize],
    /// Features that the predictions have, of which their coordinates are fewer.
    features: usize,
    penalty: f64,
    /// Of each label; up to a multiple of `LANES` there are labels that no point has.
    teachers: Vec<Teachers>,
    /// Weighted sums over the teachers of each label, and over all but the heaviest of each.
    sums: Array2<f64>,
    sums_of_lighter: Array2<f64>,
    /// The heaviest teacher of all: where teachers are all alike, nothing is left of them but exact zeros.
    origin: Array1<f64>,
    mean: Array1<f64>,
    /// Scatter matrix of the teachers, later the inverse of the covariance.
    matrix: Array2<f64>,
    /// The mean of each label, and that times the inverse of the covariance.
    means: Array2<f64>,
    projected_means: Array2<f64>,
    /// `-m_c^T C^-1 m_c / 2` of each label; minus infinity where no teacher has it.
    offsets: Vec<Lane>,
    piece: Piece,
}

/// The points that are worked on together, in rows.
struct Piece {
    values: Array2<f64>,
    /// The mean of each point's own label without the point, and that times the inverse of the covariance.
    means: Array2<f64>,
    projected_means: Array2<f64>,
    /// Log densities of the labels but for what all of them share.
    densities: Array2<f64>,
}

/// The points that teach one label.
///
/// A sum over all but one of them is the sum over all minus that one's part, unless it outweighs the others: then no
/// digits would be left. So the sum without the heaviest is kept.
#[derive(Clone, Default)]
struct Teachers {
    heaviest: Option<usize>,
    largest: f64,
    lighter: f64,
    total: f64,
}

impl Teachers {
    /// The weight of all but one point; exactly 0 if there is no other.
    fn without(&self, point: usize, weight: f64) -> f64 {
        if self.heaviest == Some(point) { self.lighter } else { self.total - weight }
    }
}

impl<'a> Probe<'a> {
    fn new(
        labels: &'a [usize],
        distinct: usize,
        dimensions: usize,
        features: usize,
        penalty: f64,
    ) -> Result<Self, KernelError> {
        let width = distinct.next_multiple_of(LANES);
        let zeros = |rows| memory::zeros((rows, dimensions));
        Ok(Self {
            labels,
            features,
            penalty,
            teachers: memory::filled(Teachers::default(), width)?,
            sums: zeros(width)?,
            sums_of_lighter: zeros(width)?,
            origin: memory::zeros(dimensions)?,
            mean: memory::zeros(dimensions)?,
            matrix: zeros(dimensions)?,
            means: zeros(width)?,
            projected_means: zeros(width)?,
            offsets: memory::filled([0.0; LANES], width / LANES)?,
            piece: Piece {
                values: zeros(PIECE)?,
                means: zeros(PIECE)?,
                projected_means: zeros(PIECE)?,
                densities: memory::zeros((PIECE, width))?,
            },
        })
    }

    /// Fits the probe to one model's predictions or their coordinates, and scores all points.
    fn run<T: Copy + Into<f64>>(
        &mut self,
        x: ArrayView2<T>,
        weights: ArrayView1<f32>,
        odds: ArrayViewMut1<f64>,
    ) -> Result<(), KernelError> {
        self.sum(x, weights);
        if self.teachers.iter().filter(|teachers| teachers.total > 0.0).count() > 1 && self.fit(x, weights)? {
            self.score(x, weights, odds);
        }
        Ok(())
    }

    /// The heaviest teacher of all.
    fn origin_point(&self) -> usize {
        let heaviest = self.teachers.iter().max_by(|a, b| a.largest.total_cmp(&b.largest));
        heaviest.and_then(|teachers| teachers.heaviest).unwrap_or(0)
    }

    /// Finds the heaviest teacher of each label.
    fn find_heaviest(&mut self, model: usize, weights: ArrayView1<f32>) -> Result<(), KernelError> {
        self.teachers.fill(Teachers::default());
        for ((point, &weight), &label) in weights.iter().enumerate().zip(self.labels) {
            if !(weight.is_finite() && weight >= 0.0) {
                return Err(KernelError::Value {
                    array: "weights",
                    found: weight.to_string(),
                    position: format!("model {model}, point {point}"),
                    expected: "finite numbers from 0",
                });
            }
            let (teachers, weight) = (&mut self.teachers[label], f64::from(weight));
            if weight > teachers.largest {
                (teachers.heaviest, teachers.largest) = (Some(point), weight);
            }
        }
        Ok(())
    }

    /// Sums predictions and weights label by label.
    fn sum<T: Copy + Into<f64>>(&mut self, x: ArrayView2<T>, weights: ArrayView1<f32>) {
        let origin = self.origin_point();
        Zip::from(&mut self.origin).and(x.row(origin)).for_each(|origin, &x| *origin = x.into());
        self.sums.fill(0.0);
        self.sums_of_lighter.fill(0.0);
        for (point, (x, &weight)) in x.outer_iter().zip(weights).enumerate() {
            let (label, weight) = (self.labels[point], f64::from(weight));
            let teachers = &mut self.teachers[label];
            let sums = if teachers.heaviest == Some(point) {
                self.sums.row_mut(label)
            } else {
                teachers.lighter += weight;
                self.sums_of_lighter.row_mut(label)
            };
            Zip::from(sums)
                .and(x)
                .and(&self.origin)
                .for_each(|sum, &x, &origin| *sum += weight * (x.into() - origin));
        }
        self.sums += &self.sums_of_lighter;
        for teachers in &mut self.teachers {
            teachers.total = teachers.largest + teachers.lighter;
        }
    }

    /// Means and covariance; false if all teachers are alike.
    fn fit<T: Copy + Into<f64>>(
        &mut self,
        x: ArrayView2<T>,
        weights: ArrayView1<f32>,
    ) -> Result<bool, KernelError> {
        let weight: f64 = self.teachers.iter().map(|teachers| teachers.total).sum();
        self.mean.assign(&(self.sums.sum_axis(Axis(0)) / weight));
        self.sum_scatter(x, weights);
        let trace = self.matrix.diag().sum();
        if trace == 0.0 {
            return Ok(false);
        }
        let (dimensions, features) = (self.mean.len(), self.features);
        let level = self.penalty * trace / features as f64;
        let mut covariance = memory::room_for(dimensions * dimensions)?;
        covariance.extend(self.matrix.t().indexed_iter().map(|((column, row), entry)| {
            let ridge = if row == column { level } else { 0.0 };
            ((1.0 - self.penalty) * entry + ridge) / weight
        }));
        let mut inverse =
            DMatrix::from_vec(dimensions, dimensions, memory::filled(0.0, dimensions * dimensions)?);
        inverse.fill_with_identity();
        let factor =
            Cholesky::new(DMatrix::from_vec(dimensions, dimensions, covariance)).ok_or_else(|| {
                let expected = format!("more, to regularise the covariance of {features} features");
                wrong_penalty(self.penalty, expected)
            })?;
        factor.solve_mut(&mut inverse);
        self.matrix.indexed_iter_mut().for_each(|(position, entry)| *entry = inverse[position]);
        for ((teachers, sums), mut means) in
            self.teachers.iter().zip(self.sums.outer_iter()).zip(self.means.outer_iter_mut())
        {
            Zip::from(&mut means)
                .and(sums)
                .and(&self.mean)
                .for_each(|of_label, sum, mean| *of_label = (sum + mean) / (teachers.total + 1.0));
        }
        general_mat_mul(1.0, &self.means, &self.matrix, 0.0, &mut self.projected_means);
        let offsets = self.offsets.as_flattened_mut().iter_mut();
        for (label, (offset, teachers)) in offsets.zip(&self.teachers).enumerate() {
            *offset = if teachers.total > 0.0 {
                -0.5 * self.means.row(label).dot(&self.projected_means.row(label))
            } else {
                f64::NEG_INFINITY
            };
        }
        Ok(true)
    }

    /// The weighted scatter matrix of all points about the means of their labels.
    ///
    /// Such a deviation is that from the mean without the point, scaled down: so it keeps its digits at a point that
    /// outweighs its label.
    fn sum_scatter<T: Copy + Into<f64>>(&mut self, x: ArrayView2<T>, weights: ArrayView1<f32>) {
        self.matrix.fill(0.0);
        for points in pieces(self.labels.len()) {
            self.load(x, weights, points.clone());
            let mut rows = self.piece.means.slice_mut(s![..points.len(), ..]);
            for ((point, mut row), values) in
                points.zip(rows.outer_iter_mut()).zip(self.piece.values.outer_iter())
            {
                let (teachers, weight) = (&self.teachers[self.labels[point]], f64::from(weights[point]));
                let scale = weight.sqrt() * (teachers.without(point, weight) + 1.0) / (teachers.total + 1.0);
                Zip::from(&mut row).and(values).for_each(|row, value| *row = scale * (value - *row));
            }
            general_mat_mul(1.0, &rows.t(), &rows, 1.0, &mut self.matrix);
        }
    }

    fn score<T: Copy + Into<f64>>(
        &mut self,
        x: ArrayView2<T>,
        weights: ArrayView1<f32>,
        mut odds: ArrayViewMut1<f64>,
    ) {
        for points in pieces(self.labels.len()) {
            self.load(x, weights, points.clone());
            let Piece { values, means, projected_means, densities } = &mut self.piece;
            let rows = s![..points.len(), ..];
            let (values, means) = (values.slice(rows), means.slice(rows));
            let mut projected_means = projected_means.slice_mut(rows);
            general_mat_mul(1.0, &means, &self.matrix, 0.0, &mut projected_means);
            let mut densities = densities.slice_mut(rows);
            general_mat_mul(1.0, &values, &self.projected_means.t(), 0.0, &mut densities);
            for (row, point) in points.enumerate() {
                let label = self.labels[point];
                if self.teachers[label].without(point, f64::from(weights[point])) == 0.0 {
                    continue;
                }
                let own = Zip::from(values.row(row))
                    .and(means.row(row))
                    .and(projected_means.row(row))
                    .fold(0.0, |sum, value, mean, projected| sum + (value - 0.5 * mean) * projected);
                let mut others = densities.row_mut(row);
                others[label] = f64::NEG_INFINITY;
                let others = others.as_slice_mut().expect("rows of an array of our own are contiguous");
                odds[point] = own - log_sum_exp(others, &self.offsets);
            }
        }
    }

    /// Loads points, and the means of their own labels without them.
    fn load<T: Copy + Into<f64>>(
        &mut self,
        x: ArrayView2<T>,
        weights: ArrayView1<f32>,
        points: Range<usize>,
    ) {
        let rows = self.piece.values.outer_iter_mut().zip(self.piece.means.outer_iter_mut());
        for (point, (values, means)) in points.zip(rows) {
            let (label, weight) = (self.labels[point], f64::from(weights[point]));
            let teachers = &self.teachers[label];
            let count = teachers.without(point, weight) + 1.0;
            let (sums, weight) = if teachers.heaviest == Some(point) {
                (self.sums_of_lighter.row(label), 0.0)
            } else {
                (self.sums.row(label), weight)
            };
            Zip::from(values)
                .and(means)
                .and(x.row(point))
                .and(&self.origin)
                .and(sums)
                .and(&self.mean)
                .for_each(|value, own_mean, &x, origin, sum, mean| {
                    *value = x.into() - origin;
                    *own_mean = (sum - weight * *value + mean) / count;
                });
        }
    }
}

/// Of many features: coordinates of all points in the span of the teachers, and room for the next model's.
struct Reduction {
    /// Some of the features, less those of the origin.
    strip: Array2<f64>,
    span: Span,
}

impl Reduction {
    fn of_points(points: usize) -> Result<Self, KernelError> {
        Ok(Self { strip: memory::zeros((points, STRIP))?, span: Span::of_vectors(points)? })
    }

    /// `[points, points]`.
    fn coordinates(
        &mut self,
        x: ArrayView2<f32>,
        weights: ArrayView1<f32>,
        origin: usize,
    ) -> ArrayView2<'_, f64> {
        self.span.gram.fill(0.0);
        for x in x.axis_chunks_iter(Axis(1), STRIP) {
            let mut strip = self.strip.slice_mut(s![.., ..x.ncols()]);
            for (mut row, values) in strip.outer_iter_mut().zip(x.outer_iter()) {
                Zip::from(&mut row)
                    .and(values)
                    .and(x.row(origin))
                    .for_each(|out, &x, &origin| *out = f64::from(x) - f64::from(origin));
            }
            general_mat_mul(1.0, &strip, &strip.t(), 1.0, &mut self.span.gram);
        }
        self.span.decompose(|point| weights[point] > 0.0);
        self.span.coordinates()
    }
}

/// So many points in pieces.
fn pieces(points: usize) -> impl Iterator<Item = Range<usize>> {
    (0..points).step_by(PIECE).map(move |first| first..points.min(first + PIECE))
}

/// `ln sum exp(density + offset)` over labels; at least one of these sums is finite, the others may be minus infinity.
///
/// Within 3e-7 of the truth, as `exp` is float32. Densities are used up.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq", "x86_64+avx2"))]
fn log_sum_exp(densities: &mut [f64], offsets: &[Lane]) -> f64 {
    let (densities, _) = densities.as_chunks_mut::<LANES>();
    let mut tops = [f64::NEG_INFINITY; LANES];
    for (density, offset) in densities.iter_mut().zip(offsets) {
        for l in 0..LANES {
            density[l] += offset[l];
            tops[l] = if density[l] > tops[l] { density[l] } else { tops[l] };
        }
    }
    let top = tops.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let mut sums = [0.0; LANES];
    for density in densities {
        for l in 0..LANES {
            sums[l] += f64::from(exp((density[l] - top) as f32));
        }
    }
    top + sums.iter().sum::<f64>().ln()
}
