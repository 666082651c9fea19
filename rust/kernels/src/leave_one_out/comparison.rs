//! Class-by-class comparison of models with the shadows on both sides of a point, each model left out itself.

use multiversion::multiversion;

use crate::error::KernelError;
use crate::lanes::{LANES, Lane};
use crate::leave_one_out::VARIANCE_FLOOR;
use crate::leave_one_out::moments::{Effects, Moments, Picked, Sides};
use crate::logits::math::ln;
use crate::memory;

/// No variance is below this share of the point's mean pooled variance, nor below `VARIANCE_FLOOR`.
const RELATIVE_FLOOR: f64 = 1e-3;

/// Share of the pooled variance in each side's own.
const SHRINKAGE: f64 = 0.3;

/// Names of what `compare` gives, in the same order.
pub(crate) const NAMES: [&str; 13] = [
    "llr_shared",
    "llr_separate",
    "top_llr_shared",
    "top_llr_separate",
    "top_z_out",
    "top_z_in",
    "top_shift",
    "separation",
    "max_llr",
    "min_llr",
    "distance_out",
    "distance_in",
    "top_value",
];

/// Compares `LANES` models at a time; keeps room for it between calls.
pub(crate) struct Comparer {
    /// Ratios of the OUT and IN variances, class by class; later their logarithms.
    ratios: Vec<[f32; LANES]>,
}

impl Comparer {
    pub(crate) fn of_classes(classes: usize) -> Result<Self, KernelError> {
        Ok(Self { ratios: memory::filled([0.0; LANES], classes)? })
    }

    /// One value per model for each of `NAMES`; 0, but for the last, where no IN or no OUT shadow is left.
    pub(crate) fn compare(&mut self, moments: &Moments, picked: &Picked) -> [Lane; NAMES.len()] {
        let effects = &picked.effects;
        let scales = Scales::new(&picked.traces_left, effects, moments.classes);
        let mut comparison = Comparison::at_top(Top::of_values(&picked.values));
        add_classes(&mut comparison, picked, &moments.sides, &scales, &mut self.ratios);
        ln_all(self.ratios.as_flattened_mut());
        for (class, logarithms) in self.ratios.iter().enumerate() {
            comparison.add_log_ratios(class as f64, logarithms);
        }
        comparison.features(effects)
    }
}

/// The class with the largest value of each model, as a float64 that fits the lanes, and that value.
struct Top {
    class: Lane,
    value: Lane,
}

impl Top {
    fn of_values(values: &[Lane]) -> Self {
        let mut top = Self { class: [0.0; LANES], value: [f64::NEG_INFINITY; LANES] };
        for (class, x) in values.iter().enumerate() {
            for l in 0..LANES {
                let is_larger = x[l] > top.value[l];
                top.class[l] = if is_larger { class as f64 } else { top.class[l] };
                top.value[l] = if is_larger { x[l] } else { top.value[l] };
            }
        }
        top
    }
}

/// What turns sums of squares into variances, with each model left out.
struct Scales {
    /// Lower bounds.
    floors: Lane,
    /// One over the degrees of freedom: of the pooled variance and of either side's own.
    pooled: Lane,
    inside: Lane,
    outside: Lane,
}

impl Scales {
    fn new(traces: &Lane, effects: &Effects, classes: usize) -> Self {
        let inverse = |freedom: f64| 1.0 / freedom;
        let pooled = effects.freedom.map(inverse);
        let mean_variance = |l: usize| traces[l] * pooled[l] / classes as f64;
        Self {
            floors: std::array::from_fn(|l| (RELATIVE_FLOOR * mean_variance(l)).max(VARIANCE_FLOOR)),
            pooled,
            inside: effects.freedom_in.map(inverse),
            outside: effects.freedom_out.map(inverse),
        }
    }
}

/// How models compare over all classes, and in the one where a model's value is largest.
struct Comparison {
    /// Log-likelihood ratios IN - OUT with the pooled variance, and with each side's own.
    llr_shared: Lane,
    llr_largest: Lane,
    llr_smallest: Lane,
    llr_separate: Lane,
    /// Squared distances in units of the pooled variance: between the means, and of the model from either.
    separation: Lane,
    distance_out: Lane,
    distance_in: Lane,
    top: Top,
    top_llr_shared: Lane,
    top_llr_separate: Lane,
    /// The value minus the means, and one over the pooled variance.
    top_from_out: Lane,
    top_from_in: Lane,
    top_precision: Lane,
}

/// The values of one class, and how far that is from the mean of their side.
struct Values<'a> {
    class: f64,
    x: &'a Lane,
    u: &'a Lane,
}

impl Comparison {
    /// Nothing compared yet.
    fn at_top(top: Top) -> Self {
        let zero = [0.0; LANES];
        Self {
            llr_shared: zero,
            llr_largest: [f64::NEG_INFINITY; LANES],
            llr_smallest: [f64::INFINITY; LANES],
            llr_separate: zero,
            separation: zero,
            distance_out: zero,
            distance_in: zero,
            top,
            top_llr_shared: zero,
            top_llr_separate: zero,
            top_from_out: zero,
            top_from_in: zero,
            top_precision: zero,
        }
    }

    /// Adds the part of the ratios with separate variances that does not depend on the values.
    fn add_log_ratios(&mut self, class: f64, logarithms: &[f32; LANES]) {
        for l in 0..LANES {
            let half = 0.5 * f64::from(logarithms[l]);
            self.llr_separate[l] += half;
            self.top_llr_separate[l] += if self.top.class[l] == class { half } else { 0.0 };
        }
    }

    /// The features in the order of `NAMES`.
    fn features(&self, effects: &Effects) -> [Lane; NAMES.len()] {
        let root = self.top_precision.map(f64::sqrt);
        let lanes = |value: &dyn Fn(usize) -> f64| -> Lane { std::array::from_fn(value) };
        let mut features = [
            self.llr_shared,
            self.llr_separate,
            self.top_llr_shared,
            self.top_llr_separate,
            lanes(&|l| self.top_from_out[l] * root[l]),
            lanes(&|l| self.top_from_in[l] * root[l]),
            lanes(&|l| (self.top_from_out[l] - self.top_from_in[l]) * root[l]),
            self.separation,
            self.llr_largest,
            self.llr_smallest,
            self.distance_out.map(f64::sqrt),
            self.distance_in.map(f64::sqrt),
            self.top.value,
        ];
        for feature in &mut features[..NAMES.len() - 1] {
            *feature = std::array::from_fn(|l| if effects.comparable[l] { feature[l] } else { 0.0 });
        }
        features
    }
}

/// Compares the models in all classes; fills in the ratios of the OUT to the IN variance, whose logarithms are missing.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq", "x86_64+avx2"))]
fn add_classes(
    comparison: &mut Comparison,
    picked: &Picked,
    sides: &[Sides],
    scales: &Scales,
    ratios: &mut [[f32; LANES]],
) {
    let each = picked.values.iter().zip(&picked.deviations).zip(sides).zip(ratios);
    for (class, (((x, u), sides), ratios)) in each.enumerate() {
        *ratios = add_class(comparison, Values { class: class as f64, x, u }, sides, &picked.effects, scales);
    }
}

/// The same in one class.
#[inline(always)]
fn add_class(
    comparison: &mut Comparison,
    values: Values,
    sides: &Sides,
    effects: &Effects,
    scales: &Scales,
) -> [f32; LANES] {
    let Values { class, x, u } = values;
    let mut ratios = [0.0; LANES];
    for l in 0..LANES {
        let square = u[l] * u[l];
        let squares_in = larger(sides.squares_in - effects.drop_in[l] * square, 0.0);
        let squares_out = larger(sides.squares_out - effects.drop_out[l] * square, 0.0);
        let floor = scales.floors[l];
        let shared = larger((squares_in + squares_out) * scales.pooled[l], floor);
        let variance_in =
            (1.0 - SHRINKAGE) * larger(squares_in * scales.inside[l], floor) + SHRINKAGE * shared;
        let variance_out =
            (1.0 - SHRINKAGE) * larger(squares_out * scales.outside[l], floor) + SHRINKAGE * shared;
        // One division for three: the product of three sums of squares of float32 is far from overflow in float64.
        let inverse = 1.0 / (shared * variance_in * variance_out);
        let precision = inverse * variance_in * variance_out;
        let precision_in = inverse * shared * variance_out;
        let precision_out = inverse * shared * variance_in;
        // Both contain the pooled variance, so their ratio is far from the limits of float32.
        ratios[l] = (variance_out * precision_in) as f32;

        let from_in = x[l] - (sides.mean_in - effects.shift_in[l] * u[l]);
        let from_out = x[l] - (sides.mean_out - effects.shift_out[l] * u[l]);
        let (square_in, square_out) = (from_in * from_in, from_out * from_out);
        let llr_shared = 0.5 * (square_out - square_in) * precision;
        let llr_separate = 0.5 * (square_out * precision_out - square_in * precision_in);
        let shift = from_out - from_in;
        comparison.llr_shared[l] += llr_shared;
        comparison.llr_largest[l] = larger(comparison.llr_largest[l], llr_shared);
        comparison.llr_smallest[l] = -larger(-comparison.llr_smallest[l], -llr_shared);
        comparison.llr_separate[l] += llr_separate;
        comparison.separation[l] += shift * shift * precision;
        comparison.distance_out[l] += square_out * precision;
        comparison.distance_in[l] += square_in * precision;

        // Added where it is the top class, else nothing: no branches, which would be taken at random.
        let is_top = if comparison.top.class[l] == class { 1.0 } else { 0.0 };
        comparison.top_llr_shared[l] += is_top * llr_shared;
        comparison.top_llr_separate[l] += is_top * llr_separate;
        comparison.top_from_out[l] += is_top * from_out;
        comparison.top_from_in[l] += is_top * from_in;
        comparison.top_precision[l] += is_top * precision;
    }
    ratios
}

/// The larger of two numbers, as one instruction: unlike `f64::max` it does not care about NaN.
#[inline(always)]
fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq", "x86_64+avx2"))]
fn ln_all(values: &mut [f32]) {
    for value in values {
        *value = ln(*value);
    }
}
