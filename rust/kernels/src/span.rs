//! Few vectors of many dimensions by their products alone.
//!
//! Whatever only asks for products of vectors in the span of a few of them may take their coordinates in that span
//! instead, which are as few as the vectors: nothing grows with the square of the dimensions.

use ndarray::{Array2, ArrayView2, s};

use crate::error::KernelError;
use crate::lanes::{LANES, Lane};
use crate::memory;

/// Share of its squared length that must be left of a vector across the axes so far: the rest of it is rounding.
const LEAST_LEFT: f64 = 1e-13;

/// A pivoted Cholesky decomposition of a Gram matrix, and room for the next one of the same size.
///
/// Each axis is what lies of one vector, the pivot, across the axes before. Rounding is relative to the length of each
/// vector by itself, so that one which is far longer than the others takes no digits from them.
pub(crate) struct Span {
    /// Products of all vectors with one another.
    pub(crate) gram: Array2<f64>,
    /// A row per vector.
    coordinates: Array2<f64>,
    /// What lies across the axes so far, squared.
    left: Vec<f64>,
    pivots: Vec<usize>,
    of_pivot: Vec<f64>,
}

impl Span {
    pub(crate) fn of_vectors(count: usize) -> Result<Self, KernelError> {
        Ok(Self {
            gram: memory::zeros((count, count))?,
            coordinates: memory::zeros((count, count))?,
            left: memory::filled(0.0, count)?,
            pivots: memory::room_for(count)?,
            of_pivot: memory::filled(0.0, count)?,
        })
    }

    /// Finds the coordinates from `gram`. Only some vectors span; of the others it is what lies in that span.
    pub(crate) fn decompose(&mut self, spans: impl Fn(usize) -> bool) {
        let Self { gram, coordinates, left, pivots, of_pivot } = self;
        coordinates.fill(0.0);
        pivots.clear();
        left.iter_mut().zip(gram.diag()).for_each(|(left, square)| *left = *square);
        for axis in 0..left.len() {
            let spanning = left
                .iter()
                .enumerate()
                .filter(|&(vector, &left)| spans(vector) && left > LEAST_LEFT * gram[[vector, vector]]);
            let Some((pivot, &square)) = spanning.max_by(|a, b| a.1.total_cmp(b.1)) else { break };
            let root = square.sqrt();
            let before = &mut of_pivot[..axis];
            before.iter_mut().zip(coordinates.row(pivot)).for_each(|(copy, coordinate)| *copy = *coordinate);
            for (vector, mut row) in coordinates.outer_iter_mut().enumerate() {
                if left[vector] == f64::NEG_INFINITY {
                    continue; // an earlier pivot, of which nothing is left
                }
                let row = row.as_slice_mut().expect("rows of an array of our own are contiguous");
                row[axis] = (gram[[vector, pivot]] - inner(&row[..axis], before)) / root;
                left[vector] -= row[axis] * row[axis];
            }
            left[pivot] = f64::NEG_INFINITY;
            pivots.push(pivot);
        }
    }

    /// The coordinates of all vectors, `[vectors, axes]`, 0 on axes that are too many.
    pub(crate) fn coordinates(&self) -> ArrayView2<'_, f64> {
        self.coordinates.view()
    }

    /// What lies in the span of further vectors, one in each lane, from their products with those of the span.
    pub(crate) fn project(&self, products: &[Lane], coordinates: &mut [Lane]) {
        coordinates.fill([0.0; LANES]);
        for (axis, &pivot) in self.pivots.iter().enumerate() {
            let row = self.coordinates.slice(s![pivot, ..=axis]);
            let (before, own) = coordinates.split_at_mut(axis);
            let mut rest = products[pivot];
            for (coordinate, before) in row.iter().zip(before) {
                for l in 0..LANES {
                    rest[l] -= coordinate * before[l];
                }
            }
            own[0] = rest.map(|rest| rest / row[axis]);
        }
    }
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
