//! Eight float64 numbers side by side, one of each of eight models.

use multiversion::multiversion;

/// How many models are worked on side by side.
pub(crate) const LANES: usize = 8;

/// The same number of each of `LANES` models.
pub(crate) type Lane = [f64; LANES];

/// Sum over all lanes of the products of `a` and `b`, always in the same order.
#[multiversion(targets("x86_64+avx2"))]
pub(crate) fn dot(a: &[Lane], b: &[Lane]) -> f64 {
    dot_in_lanes(a, b)
}

/// The same within a function that is compiled for several instruction sets itself.
#[inline(always)]
pub(crate) fn dot_in_lanes(a: &[Lane], b: &[Lane]) -> f64 {
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for l in 0..LANES {
            sums[l] += a[l] * b[l];
        }
    }
    sums.iter().sum()
}
