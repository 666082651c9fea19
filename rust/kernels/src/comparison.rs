//! Class-by-class comparison of models with the shadows on both sides of a point, each model left out itself.

use multiversion::multiversion;

use crate::lanes::{LANES, Lane};
use crate::math::ln;
use crate::moments::{Effects, Moments, Sides};

/// No variance is below this share of the point's mean pooled variance, nor below the absolute floor.
const RELATIVE_FLOOR: f64 = 1e-3;
const ABSOLUTE_FLOOR: f64 = 1e-6;

/// Share of the pooled variance in each side's own.
const SHRINKAGE: f64 = 0.3;

/// Names of what `Comparison::features` gives, in the same order.
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

/// How the models of one chunk compare, over all classes and at the `top` one, where the model's answer is largest.
pub(crate) struct Comparison {
    /// Log-likelihood ratios IN - OUT with the pooled variance and with each side's own: sums and extremes.
    llr_shared: Lane,
    llr_separate: Lane,
    llr_largest: Lane,
    llr_smallest: Lane,
    /// Squared distances in units of the pooled variance: IN from OUT mean, the model from either.
    separation: Lane,
    distance_out: Lane,
    distance_in: Lane,
    top: Top,
}

/// The class with a model's largest answer.
struct Top {
    value: Lane,
    llr_shared: Lane,
    llr_separate: Lane,
    from_out: Lane,
    from_in: Lane,
    precision: Lane,
}

impl Comparison {
    /// Compares the models of `chunk`, each of which `effects` says how to leave out.
    pub(crate) fn of_chunk(moments: &Moments, chunk: usize, effects: &Effects) -> Self {
        let floors = variance_floors(moments, chunk, effects);
        let mut comparison = Self::default();
        for (class, sides) in moments.sides.iter().enumerate() {
            let at = class * moments.chunks + chunk;
            add_class(
                &mut comparison,
                &moments.values[at],
                &moments.deviations[at],
                sides,
                effects,
                &floors,
            );
        }
        comparison
    }

    /// One value per model of each of `NAMES`; 0, but for the last, where no IN or no OUT shadow is left.
    pub(crate) fn features(self, effects: &Effects) -> [Lane; NAMES.len()] {
        let top = &self.top;
        let at_top = |feature: fn(&Top, usize) -> f64| std::array::from_fn(|l| feature(top, l));
        let mut features = [
            self.llr_shared,
            self.llr_separate,
            top.llr_shared,
            top.llr_separate,
            at_top(|top, l| top.from_out[l] * top.precision[l].sqrt()),
            at_top(|top, l| top.from_in[l] * top.precision[l].sqrt()),
            at_top(|top, l| (top.from_out[l] - top.from_in[l]) * top.precision[l].sqrt()),
            self.separation,
            self.llr_largest,
            self.llr_smallest,
            self.distance_out.map(f64::sqrt),
            self.distance_in.map(f64::sqrt),
            [0.0; LANES],
        ];
        for feature in &mut features {
            for (value, comparable) in feature.iter_mut().zip(effects.comparable) {
                *value = if comparable { *value } else { 0.0 };
            }
        }
        features[NAMES.len() - 1] = self.top.value;
        features
    }
}

impl Default for Comparison {
    fn default() -> Self {
        let zero = [0.0; LANES];
        Self {
            llr_shared: zero,
            llr_separate: zero,
            llr_largest: [f64::NEG_INFINITY; LANES],
            llr_smallest: [f64::INFINITY; LANES],
            separation: zero,
            distance_out: zero,
            distance_in: zero,
            top: Top {
                value: [f64::NEG_INFINITY; LANES],
                llr_shared: zero,
                llr_separate: zero,
                from_out: zero,
                from_in: zero,
                precision: zero,
            },
        }
    }
}

/// Lower bounds of the variances, with each model left out.
fn variance_floors(moments: &Moments, chunk: usize, effects: &Effects) -> Lane {
    let traces = moments.traces_left(chunk, effects);
    std::array::from_fn(|l| {
        let mean_variance = traces[l] / (effects.freedom[l] * moments.classes as f64);
        (RELATIVE_FLOOR * mean_variance).max(ABSOLUTE_FLOOR)
    })
}

/// Compares the models in one more class, where they have the answers `x` and deviate by `u` from their sides.
#[multiversion(targets("x86_64+avx2"))]
fn add_class(
    comparison: &mut Comparison,
    x: &Lane,
    u: &Lane,
    sides: &Sides,
    effects: &Effects,
    floors: &Lane,
) {
    let mut ratios = [0.0_f32; LANES];
    let mut llr_shared = [0.0; LANES];
    let mut llr_separate = [0.0; LANES];
    let mut from_in = [0.0; LANES];
    let mut from_out = [0.0; LANES];
    let mut precision = [0.0; LANES];
    for l in 0..LANES {
        let square = u[l] * u[l];
        let squares_in = (sides.squares_in - effects.drop_in[l] * square).max(0.0);
        let squares_out = (sides.squares_out - effects.drop_out[l] * square).max(0.0);
        let shared = ((squares_in + squares_out) / effects.freedom[l]).max(floors[l]);
        let own = |squares: f64, freedom: f64| {
            (1.0 - SHRINKAGE) * (squares / freedom).max(floors[l]) + SHRINKAGE * shared
        };
        let (variance_in, variance_out) = (
            own(squares_in, effects.freedom_in[l]),
            own(squares_out, effects.freedom_out[l]),
        );
        precision[l] = 1.0 / shared;
        from_in[l] = x[l] - (sides.mean_in - effects.shift_in[l] * u[l]);
        from_out[l] = x[l] - (sides.mean_out - effects.shift_out[l] * u[l]);
        let (square_in, square_out) = (from_in[l] * from_in[l], from_out[l] * from_out[l]);
        llr_shared[l] = 0.5 * (square_out - square_in) * precision[l];
        llr_separate[l] = square_out / variance_out - square_in / variance_in;
        // Both variances contain the pooled one, so their ratio is far from the limits of float32.
        ratios[l] = (variance_out / variance_in) as f32;
    }
    for l in 0..LANES {
        llr_separate[l] = 0.5 * (llr_separate[l] + f64::from(ln(ratios[l])));
    }
    for l in 0..LANES {
        let shift = from_out[l] - from_in[l];
        comparison.llr_shared[l] += llr_shared[l];
        comparison.llr_separate[l] += llr_separate[l];
        comparison.llr_largest[l] = comparison.llr_largest[l].max(llr_shared[l]);
        comparison.llr_smallest[l] = comparison.llr_smallest[l].min(llr_shared[l]);
        comparison.separation[l] += shift * shift * precision[l];
        comparison.distance_out[l] += from_out[l] * from_out[l] * precision[l];
        comparison.distance_in[l] += from_in[l] * from_in[l] * precision[l];
    }
    let top = &mut comparison.top;
    for l in 0..LANES {
        let better = x[l] > top.value[l];
        let keep = |old: f64, new: f64| if better { new } else { old };
        top.llr_shared[l] = keep(top.llr_shared[l], llr_shared[l]);
        top.llr_separate[l] = keep(top.llr_separate[l], llr_separate[l]);
        top.from_out[l] = keep(top.from_out[l], from_out[l]);
        top.from_in[l] = keep(top.from_in[l], from_in[l]);
        top.precision[l] = keep(top.precision[l], precision[l]);
        top.value[l] = keep(top.value[l], x[l]);
    }
}
