//! Hostile input for every kernel: one target each, a function of the bytes that decide everything about its case.
//!
//! A target calls its kernel with arrays of any shape (axes of length zero, shapes that do not fit), any values (NaN,
//! infinities, the limits of the type, ties) and any strides. It panics where the kernel breaks what it promises: not
//! to panic; to refuse exactly what it says; no NaN or infinity in a result; the same bits for any number of threads
//! and any memory layout. A panic of the kernel itself is the same finding, and an end of the process is one too.
//!
//! `make fuzz` drives the targets with seeded bytes (`main.rs`). With cargo-fuzz, which needs a nightly compiler, each
//! is one line: `fuzz_target!(|bytes: &[u8]| tmi_fuzz::condition(bytes));`.

mod input;
mod outcome;

use half::f16;
use ndarray::{Array1, Array2, Array3, ArrayView2, ArrayView4, Ix1, Ix2, Ix3, Ix4};
use tmi_kernels::{self as kernels, Compared, Covariance, EMPIRICAL_BAYES_FEATURES, Prior, View};

use crate::input::{Bytes, Laid, next};
use crate::outcome::{expect, must_agree, on_any_threads, within};

/// One kernel and its target.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 11] = [
    ("scale_logits", scale_logits),
    ("reduce_logits", reduce_logits),
    ("apply_view", apply_view),
    ("leave_one_out_features", leave_one_out_features),
    ("gaussian_scores", gaussian_scores),
    ("adapted_lira", adapted_lira),
    ("roc_curve", roc_curve),
    ("roc_metrics", roc_metrics),
    ("roc_resample", roc_resample),
    ("condition", condition),
    ("label_probe", label_probe),
];

/// The bytes of one case.
pub fn bytes_of_case(case: u64) -> Vec<u8> {
    let mut state = case;
    (0..64).flat_map(|_| next(&mut state).to_le_bytes()).collect()
}

/// Runs the body with logits of either type.
macro_rules! with_logits {
    ($bytes:ident, $shape:expr, $dimension:ty, |$logits:ident| $body:expr) => {
        if $bytes.once_in(3) {
            let $logits: Laid<f16, $dimension> = $bytes.array($shape);
            $body
        } else {
            let $logits: Laid<f32, $dimension> = $bytes.array($shape);
            $body
        }
    };
}

/// The kernel of that name.
pub fn scale_logits(bytes: &[u8]) {
    let bytes = &mut Bytes::new(bytes);
    let shape = bytes.shape([300, 40]);
    let norm =
        bytes.once_in(2).then(|| bytes.parameter(0.1..20.0, &[0.0, -1.0, 1e-38, 1e38, 1e39, f64::NAN]));
    with_logits!(bytes, shape, Ix2, |logits| {
        let run =
            |logits: ArrayView2<_>| on_any_threads(|threads| kernels::scale_logits(logits, norm, threads));
        let is_legal = has_odds(&shape)
            && !logits.any(is_nan)
            && norm.is_none_or(|norm| norm > 0.0 && (norm as f32).is_normal());
        let result = run(logits.view());
        must_agree("another layout", &result, &run(logits.plain().view()));
        let Some(scaled) = expect(result, is_legal) else { return };
        // A logit is limited to 10,000 either way, and the rest of the odds to the logarithm of the classes.
        within(&scaled, -20_010.0..=20_010.0);
        // float32 squares of smaller numbers underflow.
        let Some(norm) = norm.filter(|&norm| norm > 1e-15) else { return };
        for row in scaled.outer_iter() {
            let found = row.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>().sqrt();
            assert!(found <= norm * 1.00001, "the norm {found} is above {norm}");
        }
    });
}

/// The kernel of that name.
pub fn reduce_logits(bytes: &[u8]) {
    let bytes = &mut Bytes::new(bytes);
    let shape = bytes.shape([4, 40, 5, 20]);
    with_logits!(bytes, shape, Ix4, |predictions| {
        let run = |predictions: ArrayView4<_>| {
            on_any_threads(|threads| kernels::reduce_logits(predictions, threads))
        };
        let result = run(predictions.view());
        must_agree("another layout", &result, &run(predictions.plain().view()));
        let Some(reduced) = expect(result, has_odds(&shape) && !predictions.any(is_nan)) else { return };
        within(&reduced.scaled, -20_010.0..=20_010.0);
        within(&reduced.clipped, -1.00001..=1.00001);
        within(&reduced.spread, 0.0..=20_010.0);
    });
}

/// The kernel of that name.
pub fn apply_view(bytes: &[u8]) {
    let bytes = &mut Bytes::new(bytes);
    let shape = bytes.shape([300, 40]);
    let kind = bytes.pick(&["probabilities", "top", "top-unnamed", "label", "rounded", "Top"]);
    let parameter = bytes.pick(&[0, 0, 1, 1, 2, 3, 7, 8, 40, -1, i64::MIN, i64::MAX]);
    let is_legal = match kind {
        "probabilities" | "label" => parameter == 0,
        "top" | "top-unnamed" => parameter >= 1,
        "rounded" => (1..8).contains(&parameter),
        _ => false,
    };
    let Some(view) = expect(View::new(kind, parameter), is_legal) else { return };
    with_logits!(bytes, shape, Ix2, |logits| {
        let run =
            |logits: ArrayView2<_>| on_any_threads(|threads| kernels::apply_view(logits, view, threads));
        let result = run(logits.view());
        must_agree("another layout", &result, &run(logits.plain().view()));
        let has_enough = !kind.starts_with("top") || parameter <= shape[1] as i64;
        let is_legal = has_odds(&shape) && has_enough && !logits.any(is_nan);
        let Some(seen) = expect(result, is_legal) else { return };
        // Logarithms of probabilities; float32 tells none apart below e^-87.
        within(&seen, -88.0..=1e-6);
    });
}

/// A pool of models: values, membership and whether they are legal.
struct Pool {
    x: Laid<f32, Ix3>,
    membership: Laid<bool, Ix2>,
    is_legal: bool,
}

impl Pool {
    fn new(bytes: &mut Bytes) -> Self {
        // So many classes that kernels make no matrix of them, or few.
        let longest = if bytes.once_in(6) { [12, 3, 600] } else { [24, 40, 12] };
        let shape = bytes.shape(longest);
        let of_membership = bytes.nearly([shape[0], shape[1]]);
        let (x, membership) = (bytes.array(shape), bytes.array(of_membership));
        let is_legal = !shape.contains(&0) && of_membership == shape[..2] && !x.any(|x: f32| !x.is_finite());
        Self { x, membership, is_legal }
    }

    fn models(&self) -> usize {
        self.x.view().dim().0
    }

    /// Models that are kept apart, if any, and whether they are legal.
    fn apart(&self, bytes: &mut Bytes) -> (Option<Laid<bool, Ix2>>, bool) {
        let shape = [self.models(), self.x.view().dim().1];
        let of_apart = bytes.nearly(shape);
        let apart = bytes.once_in(2).then(|| bytes.array(of_apart));
        let is_legal = apart.is_none() || of_apart == shape;
        (apart, is_legal)
    }

    /// Whether an IN and an OUT shadow model of a point are left without some models.
    fn is_comparable(&self, point: usize, is_without: impl Fn(usize) -> bool) -> bool {
        let membership = self.membership.view();
        let left = |side| (0..self.models()).any(|n| membership[[n, point]] == side && !is_without(n));
        left(true) && left(false)
    }

    /// Fails unless features are 0 where nothing can be compared, but those of the model itself.
    fn must_be_neutral(
        &self,
        features: &Array3<f32>,
        target: i64,
        apart: &Option<Laid<bool, Ix2>>,
        own: usize,
    ) {
        let apart = apart.as_ref().map(Laid::view);
        for ((model, point, feature), &value) in features.indexed_iter() {
            let is_apart = |n| apart.is_some_and(|apart| apart[[n, point]]);
            let is_without = |n| n == model || n as i64 == target || is_apart(n);
            let is_neutral = feature != own && !self.is_comparable(point, is_without);
            assert!(!is_neutral || value == 0.0, "{value} where nothing can be compared");
        }
    }
}

/// The kernel of that name.
pub fn leave_one_out_features(bytes: &[u8]) {
    let bytes = &mut Bytes::new(bytes);
    let pool = Pool::new(bytes);
    let (_, points, classes) = pool.x.view().dim();
    let target = bytes.target(pool.models());
    let ridges: Vec<f64> =
        (0..bytes.below(3)).map(|_| bytes.parameter(0.1..3.0, &[1e-6, 1e6, 0.0, f64::NAN])).collect();
    let has_prior = bytes.once_in(2);
    let (of_mean, of_variance) = (bytes.nearly([points, classes]), bytes.nearly([classes]));
    let mean: Laid<f64, Ix2> = bytes.array(of_mean);
    let mut variance = bytes.array::<f64, Ix1>(of_variance).plain();
    if !bytes.once_in(20) {
        variance.mapv_inplace(f64::abs);
    }
    let variance = bytes.lay(variance);
    let share =
        bytes.parameter(0.01..0.99, &[0.0, 1.0, 5e-324, 1e-300, 1e-9, 1.0 - f64::EPSILON / 2.0, f64::NAN]);
    let (apart, is_apart_legal) = pool.apart(bytes);
    let (wanted, is_wanted_legal) = pool.apart(bytes);
    let run = |x, membership, apart, wanted, mean, variance| {
        let prior = has_prior.then_some(Prior { mean, variance, share });
        let compared = Compared { target, apart, wanted };
        on_any_threads(|threads| {
            kernels::leave_one_out_features(x, membership, &compared, &ridges, prior.as_ref(), threads)
        })
    };
    let flags = |flags: &Option<Laid<bool, Ix2>>| flags.as_ref().map(Laid::plain);
    let (plain_apart, plain_wanted) = (flags(&apart), flags(&wanted));
    let of_apart = apart.as_ref().map(Laid::view);
    let (x, membership) = (pool.x.view(), pool.membership.view());
    let result = run(x, membership, of_apart, wanted.as_ref().map(Laid::view), mean.view(), variance.view());
    let plain = (pool.x.plain(), pool.membership.plain(), mean.plain(), variance.plain());
    let of_apart = plain_apart.as_ref().map(|apart| apart.view());
    let of_wanted = plain_wanted.as_ref().map(|wanted| wanted.view());
    let again = run(plain.0.view(), plain.1.view(), of_apart, of_wanted, plain.2.view(), plain.3.view());
    must_agree("another layout", &result, &again);
    let is_prior_legal = (of_mean, of_variance) == ([points, classes], [classes])
        && !mean.any(|mean| !mean.is_finite())
        && !variance.any(|variance| !(variance.is_finite() && variance >= 0.0))
        && share > 0.0
        && share < 1.0;
    let is_legal = pool.is_legal
        && is_apart_legal
        && is_wanted_legal
        && (0..pool.models() as i64).contains(&target)
        && ridges.iter().all(|ridge| (1e-6..=1e6).contains(ridge))
        && (is_prior_legal || !has_prior);
    let Some(features) = expect(result, is_legal) else { return };
    within(&features, -1e6..=1e6);
    let of_prior = if has_prior { EMPIRICAL_BAYES_FEATURES.len() } else { 0 };
    assert_eq!(kernels::leave_one_out_feature_names(&ridges).len() + of_prior, features.ncols());
    let rows = plain_wanted.map_or(pool.models() * points, |wanted| wanted.iter().filter(|&&is| is).count());
    assert_eq!(rows, features.nrows());
    if wanted.is_none() {
        let shape = (pool.models(), points, features.ncols());
        let features = features.into_shape_with_order(shape).expect("a row for each model at each point");
        pool.must_be_neutral(&features, target, &apart, 12);
    }
}

/// The kernel of that name.
pub fn gaussian_scores(bytes: &[u8]) {
    let bytes = &mut Bytes::new(bytes);
    let pool = Pool::new(bytes);
    let targets = bytes.targets(pool.models());
    let ridge = bytes.parameter(0.1..3.0, &[1e-6, 1e6, 0.0, f64::NAN]);
    let run = |x, membership, targets| {
        on_any_threads(|threads| kernels::gaussian_scores(x, membership, targets, ridge, threads))
    };
    let result = run(pool.x.view(), pool.membership.view(), targets.view());
    let (x, membership) = (pool.x.plain(), pool.membership.plain());
    must_agree("another layout", &result, &run(x.view(), membership.view(), targets.plain().view()));
    let is_legal = pool.is_legal && are_models(&targets, pool.models()) && (1e-6..=1e6).contains(&ridge);
    let Some(scores) = expect(result, is_legal) else { return };
    must_be_scores(&scores, &targets, |point, target| pool.is_comparable(point, |n| n == target));
}

/// The kernel of that name.
pub fn adapted_lira(bytes: &[u8]) {
    let bytes = &mut Bytes::new(bytes);
    let shape = bytes.shape([40, 9, 5, 12]);
    let of_membership = bytes.nearly([shape[0], shape[1]]);
    let membership: Laid<bool, Ix2> = bytes.array(of_membership);
    let targets = bytes.targets(shape[0]);
    let name = bytes.pick(&["full", "full", "pooled", "diagonal", "FULL"]);
    let Some(covariance) = expect(name.parse::<Covariance>(), name != "FULL") else { return };
    with_logits!(bytes, shape, Ix4, |predictions| {
        let run = |predictions: ArrayView4<_>, membership, targets| {
            on_any_threads(|threads| {
                kernels::adapted_lira(predictions, membership, targets, covariance, threads)
            })
        };
        let result = run(predictions.view(), membership.view(), targets.view());
        let plain = (predictions.plain(), membership.plain(), targets.plain());
        must_agree("another layout", &result, &run(plain.0.view(), plain.1.view(), plain.2.view()));
        let is_legal = has_odds(&shape)
            && of_membership == shape[..2]
            && are_models(&targets, shape[0])
            && !predictions.any(is_nan);
        let Some(scores) = expect(result, is_legal) else { return };
        let membership = plain.1;
        must_be_scores(&scores, &targets, |point, target| {
            let left = |side| (0..shape[0]).any(|n| n != target && membership[[n, point]] == side);
            left(true) && left(false)
        });
    });
}

/// The kernel of that name.
pub fn roc_curve(bytes: &[u8]) {
    let bytes = &mut Bytes::new(bytes);
    let shape = bytes.shape([400]);
    let of_labels = bytes.nearly(shape);
    let (scores, labels): (Laid<f64, Ix1>, Laid<bool, Ix1>) = (bytes.array(shape), bytes.array(of_labels));
    let result = kernels::roc_curve(scores.view(), labels.view());
    must_agree("another layout", &result, &kernels::roc_curve(scores.plain().view(), labels.plain().view()));
    let is_legal = of_labels == shape && has_both(&labels) && !scores.any(f64::is_nan);
    let Some(curve) = expect(result, is_legal) else { return };
    for rates in [&curve.false_positive_rates, &curve.true_positive_rates] {
        assert!(rates[0] == 0.0 && rates[rates.len() - 1] == 1.0, "{rates}");
        assert!(rates.windows(2).into_iter().all(|pair| pair[0] <= pair[1]), "{rates}");
    }
    let falls = |pair: ndarray::ArrayView1<f64>| pair[0] > pair[1];
    assert!(curve.thresholds.windows(2).into_iter().skip(1).all(falls), "{}", curve.thresholds);
}

/// False positive rates, and whether they are such.
fn rates(bytes: &mut Bytes) -> (Laid<f64, Ix1>, bool) {
    let special = [0.0, -0.0, 1.0, 1e-300, 1.0 - f64::EPSILON / 2.0, 1.0 / 3.0];
    let mut rates = Array1::from_iter((0..bytes.below(5)).map(|_| bytes.parameter(0.0..1.0, &special)));
    if !bytes.once_in(4) {
        rates.mapv_inplace(|rate| if (0.0..=1.0).contains(&rate) { rate } else { 0.5 });
    }
    let is_legal = rates.iter().all(|rate| (0.0..=1.0).contains(rate));
    (bytes.lay(rates), is_legal)
}

/// Fails unless metrics are those of a curve.
fn must_be_metrics<'a>(metrics: impl IntoIterator<Item = &'a f64>, rates: &Laid<f64, Ix1>) {
    let metrics: Vec<f64> = metrics.into_iter().copied().collect();
    within(&metrics, 0.0..=1.0);
    assert!(metrics[1] >= 0.5, "the best balanced accuracy is {}", metrics[1]);
    let mut of_rates: Vec<_> = rates.view().iter().copied().zip(metrics[2..].iter().copied()).collect();
    of_rates.sort_by(|a, b| a.partial_cmp(b).expect("no NaN here"));
    assert!(of_rates.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{of_rates:?} do not rise");
}

/// The kernel of that name.
pub fn roc_metrics(bytes: &[u8]) {
    let bytes = &mut Bytes::new(bytes);
    let shape = bytes.shape([20, 60]);
    let of_labels = bytes.nearly(shape);
    let (scores, labels): (Laid<f64, Ix2>, Laid<bool, Ix2>) = (bytes.array(shape), bytes.array(of_labels));
    let (rates, are_rates) = rates(bytes);
    let run = |scores, labels, rates| {
        on_any_threads(|threads| kernels::roc_metrics(scores, labels, rates, threads))
    };
    let result = run(scores.view(), labels.view(), rates.view());
    let (of_scores, of_rates) = (scores.plain(), rates.plain());
    must_agree("another layout", &result, &run(of_scores.view(), labels.plain().view(), of_rates.view()));
    let is_legal = of_labels == shape && has_both(&labels) && !scores.any(f64::is_nan) && are_rates;
    let Some(metrics) = expect(result, is_legal) else { return };
    must_be_metrics(&metrics, &rates);
}

/// The kernel of that name.
pub fn roc_resample(bytes: &[u8]) {
    let bytes = &mut Bytes::new(bytes);
    let shape = bytes.shape([20, 60]);
    let resamples = bytes.below(20);
    let shapes = [shape, [resamples, shape[0]], [resamples, shape[1]]].map(|shape| bytes.nearly(shape));
    let (scores, labels): (Laid<f64, Ix2>, Laid<bool, Ix2>) = (bytes.array(shape), bytes.array(shapes[0]));
    let of_targets: Laid<u16, Ix2> = bytes.array(shapes[1]);
    let of_points: Laid<u16, Ix2> = bytes.array(shapes[2]);
    let (rates, are_rates) = rates(bytes);
    let run = |scores, labels, of_targets, of_points, rates| {
        on_any_threads(|threads| kernels::roc_resample(scores, labels, of_targets, of_points, rates, threads))
    };
    let result = run(scores.view(), labels.view(), of_targets.view(), of_points.view(), rates.view());
    let plain = (scores.plain(), labels.plain(), of_targets.plain(), of_points.plain(), rates.plain());
    let again = run(plain.0.view(), plain.1.view(), plain.2.view(), plain.3.view(), plain.4.view());
    must_agree("another layout", &result, &again);
    let [_, [resamples, targets], of_points] = shapes;
    let is_legal = !shape.contains(&0)
        && shapes[0] == shape
        && targets == shape[0]
        && of_points == [resamples, shape[1]]
        && !scores.any(f64::is_nan)
        && are_rates;
    let Some(metrics) = expect(result, is_legal) else { return };
    metrics.outer_iter().for_each(|metrics| must_be_metrics(metrics, &rates));
}

/// The kernel of that name.
pub fn condition(bytes: &[u8]) {
    let bytes = &mut Bytes::new(bytes);
    let shape = bytes.shape([20, 40, 6]);
    let [others, dimensions] = bytes.shape([12, 6]);
    let of_regressors = bytes.nearly([shape[0], others, dimensions]);
    let of_weights = bytes.nearly([shape[1], others]);
    let (x, regressors): (Laid<f32, Ix3>, Laid<f32, Ix3>) = (bytes.array(shape), bytes.array(of_regressors));
    let mut weights = bytes.array::<f32, Ix2>(of_weights).plain();
    if !bytes.once_in(20) {
        weights.mapv_inplace(f32::abs);
    }
    let weights = bytes.lay(weights);
    let penalty = bytes.parameter(0.01..10.0, &[1e-3, 1e6, 0.0, -1.0, f64::NAN]);
    let run = |x, regressors, weights| {
        on_any_threads(|threads| kernels::condition(x, regressors, weights, penalty, threads))
    };
    let result = run(x.view(), regressors.view(), weights.view());
    let plain = (x.plain(), regressors.plain(), weights.plain());
    must_agree("another layout", &result, &run(plain.0.view(), plain.1.view(), plain.2.view()));
    let is_infinite = |x: f32| !x.is_finite();
    let is_legal = !shape.contains(&0)
        && !of_regressors.contains(&0)
        && of_regressors[0] == shape[0]
        && of_weights == [shape[1], of_regressors[1]]
        && ![x.any(is_infinite), regressors.any(is_infinite), weights.any(is_infinite)].contains(&true)
        && !weights.any(|weight| weight < 0.0)
        && (1e-3..=1e6).contains(&penalty);
    // Legal numbers that are too large for float32 sums of their products may be refused, and only they.
    let largest = |array: &mut dyn Iterator<Item = &f32>| array.fold(0.0, |most: f32, x| most.max(x.abs()));
    let scale = largest(&mut plain.1.iter()).powi(2) * largest(&mut plain.2.iter()).max(1.0);
    if is_legal && !(scale < 1e3 && largest(&mut plain.0.iter()) < 1e30) && result.is_err() {
        return;
    }
    let Some(conditioned) = expect(result, is_legal) else { return };
    within(&conditioned.residuals, -f32::MAX..=f32::MAX);
    within(&conditioned.inverses, -f32::MAX..=f32::MAX);
}

/// The kernel of that name.
pub fn label_probe(bytes: &[u8]) {
    let bytes = &mut Bytes::new(bytes);
    let longest = if bytes.once_in(6) { [3, 12, 600] } else { [12, 150, 12] };
    let shape = bytes.shape(longest);
    let of_labels = bytes.nearly([shape[1]]);
    let of_weights = bytes.nearly([shape[0], shape[1]]);
    let (distinct, first) = (bytes.pick(&[1, 2, 2, 3, 8, 20, 1000]), bytes.pick(&[0, -3, i64::MIN]));
    let labels = bytes.array::<i64, Ix1>(of_labels).plain().mapv(|label| first + label.rem_euclid(distinct));
    let labels = bytes.lay(labels);
    let x: Laid<f32, Ix3> = bytes.array(shape);
    let mut weights = bytes.array::<f32, Ix2>(of_weights).plain();
    if !bytes.once_in(20) {
        weights.mapv_inplace(f32::abs);
    }
    if bytes.once_in(2) {
        weights.mapv_inplace(|weight| if weight < 0.5 { 0.0 } else { weight });
    }
    let weights = bytes.lay(weights);
    let penalty = bytes.parameter(0.01..1.0, &[1e-6, 1.0, 0.0, -1.0, f64::NAN]);
    let run = |x, labels, weights| {
        on_any_threads(|threads| kernels::label_probe(x, labels, weights, penalty, threads))
    };
    let result = run(x.view(), labels.view(), weights.view());
    let plain = (x.plain(), labels.plain(), weights.plain());
    must_agree("another layout", &result, &run(plain.0.view(), plain.1.view(), plain.2.view()));
    let (labels, weights) = (plain.1, plain.2);
    let is_legal = !shape.contains(&0)
        && of_labels == shape[1..2]
        && of_weights == shape[..2]
        && !x.any(|x: f32| !x.is_finite())
        && !weights.iter().any(|weight| !(weight.is_finite() && *weight >= 0.0))
        && labels.iter().any(|label| *label != labels[0])
        && (1e-6..=1.0).contains(&penalty);
    let Some(odds) = expect(result, is_legal) else { return };
    within(&odds, f64::MIN..=f64::MAX);
    for ((model, point), &odds) in odds.indexed_iter() {
        let taught_by = |is_such: &dyn Fn(usize) -> bool| {
            (0..labels.len()).any(|other| weights[[model, other]] > 0.0 && is_such(other))
        };
        let is_comparable = taught_by(&|other| other != point && labels[other] == labels[point])
            && taught_by(&|other| labels[other] != labels[point]);
        assert!(is_comparable || odds == 0.0, "{odds} where nothing can be compared");
    }
}

/// Whether logits of this shape have odds.
fn has_odds(shape: &[usize]) -> bool {
    !shape.contains(&0) && shape.last() != Some(&1)
}

/// Whether a logit is NaN.
fn is_nan<T: PartialEq>(logit: T) -> bool {
    #[allow(clippy::eq_op)]
    let is_nan = logit != logit;
    is_nan
}

/// Whether there are targets, and all are models.
fn are_models(targets: &Laid<i64, Ix1>, models: usize) -> bool {
    !targets.view().is_empty() && !targets.any(|target| !(0..models as i64).contains(&target))
}

/// Whether labels tell members from others.
fn has_both<D: ndarray::Dimension>(labels: &Laid<bool, D>) -> bool {
    labels.any(|label| label) && labels.any(|label| !label)
}

/// Fails unless scores are finite, and 0 where nothing can be compared.
fn must_be_scores(
    scores: &Array2<f64>,
    targets: &Laid<i64, Ix1>,
    is_comparable: impl Fn(usize, usize) -> bool,
) {
    within(scores, f64::MIN..=f64::MAX);
    for ((index, point), &score) in scores.indexed_iter() {
        let target = targets.view()[index] as usize;
        assert!(is_comparable(point, target) || score == 0.0, "{score} where nothing can be compared");
    }
}
