//! ROC metrics against counting by hand.

mod resample;

use std::num::NonZeroUsize;

use ndarray::{Array1, Array2, array};
use proptest::prelude::*;
use tmi_kernels::{KernelError, roc_curve, roc_metrics};

const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// The numbers of threads that must not make a difference.
fn several() -> [NonZeroUsize; 2] {
    [2, 5].map(|threads| NonZeroUsize::new(threads).expect("positive"))
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-3..3_i32).prop_map(f64::from),
        -1e300..1e300_f64,
        Just(-0.0),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(f64::MIN_POSITIVE / 2.0),
    ]
}

prop_compose! {
    /// Scores with many ties, and labels of both kinds.
    fn labelled()(shape in (1..5_usize, 2..12_usize))(
        scores in prop::collection::vec(score(), shape.0 * shape.1),
        labels in prop::collection::vec(any::<bool>(), shape.0 * shape.1),
        shape in Just(shape),
    ) -> (Array2<f64>, Array2<bool>) {
        let scores = Array2::from_shape_vec(shape, scores).expect("the length is the product");
        let mut labels = Array2::from_shape_vec(shape, labels).expect("the length is the product");
        labels[[0, 0]] = true;
        labels[[shape.0 - 1, shape.1 - 1]] = false;
        (scores, labels)
    }
}

/// Metrics from every pair and every threshold, each entry counted `weight` times.
fn count(scores: &Array2<f64>, labels: &Array2<bool>, weights: &Array2<f64>, rates: &[f64]) -> Vec<f64> {
    let entries: Vec<_> = scores.iter().zip(labels).zip(weights).map(|((&s, &l), &w)| (s, l, w)).collect();
    let total = |label| entries.iter().filter(|entry| entry.1 == label).map(|entry| entry.2).sum::<f64>();
    let (members, others) = (total(true), total(false));
    let mut area = 0.0;
    for (a, _, wa) in entries.iter().filter(|entry| entry.1) {
        for (b, _, wb) in entries.iter().filter(|entry| !entry.1) {
            let share = if a > b { 1.0 } else { 0.5 * f64::from(a == b) };
            area += wa * wb * share;
        }
    }
    let taken = |threshold: f64, label| {
        entries
            .iter()
            .filter(|entry| entry.1 == label && entry.0 >= threshold)
            .map(|entry| entry.2)
            .sum::<f64>()
    };
    let mut points = vec![(0.0, 0.0)];
    points
        .extend(entries.iter().map(|entry| (taken(entry.0, false) / others, taken(entry.0, true) / members)));
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let mut metrics =
        vec![area / (members * others), largest(&mut points.iter().map(|(f, t)| (1.0 + t - f) / 2.0))];
    metrics.extend(
        rates.iter().map(|rate| largest(&mut points.iter().filter(|(f, _)| f <= rate).map(|(_, t)| *t))),
    );
    metrics
}

fn assert_all_near<'a>(found: impl IntoIterator<Item = &'a f64>, truth: &[f64]) {
    let found: Vec<f64> = found.into_iter().copied().collect();
    let is_near = found.len() == truth.len() && found.iter().zip(truth).all(|(a, b)| (a - b).abs() < 1e-13);
    assert!(is_near, "{found:?} is not {truth:?}");
}

proptest! {
    #[test]
    fn metrics_are_counts((scores, labels) in labelled(), rates in prop::collection::vec(0.0..=1.0_f64, 0..5)) {
        let rate_array = Array1::from(rates.clone());
        let run = |threads| roc_metrics(scores.view(), labels.view(), rate_array.view(), threads);
        let metrics = run(ONE)?;
        for threads in several() {
            prop_assert_eq!(&metrics, &run(threads)?);
        }
        let ones = Array2::ones(scores.raw_dim());
        assert_all_near(&metrics, &count(&scores, &labels, &ones, &rates));
    }

    #[test]
    fn curves_rise_from_nothing_to_everything((scores, labels) in labelled()) {
        let (scores, labels) = (scores.flatten(), labels.flatten());
        let curve = roc_curve(scores.view(), labels.view())?;
        prop_assert!(curve.thresholds.windows(2).into_iter().skip(1).all(|pair| pair[0] > pair[1]));
        for rates in [&curve.false_positive_rates, &curve.true_positive_rates] {
            prop_assert!(rates[0] == 0.0 && rates[rates.len() - 1] == 1.0);
            prop_assert!(rates.windows(2).into_iter().all(|pair| pair[0] <= pair[1]));
        }
        prop_assert_eq!(curve.thresholds[0], f64::INFINITY);
        let share = |threshold: f64, label| {
            let of_label: Vec<_> = scores.iter().zip(&labels).filter(|(_, found)| **found == label).collect();
            of_label.iter().filter(|(score, _)| **score >= threshold).count() as f64 / of_label.len() as f64
        };
        for (step, &threshold) in curve.thresholds.iter().enumerate().skip(1) {
            prop_assert_eq!(curve.false_positive_rates[step], share(threshold, false));
            prop_assert_eq!(curve.true_positive_rates[step], share(threshold, true));
        }
        prop_assert!(curve.thresholds.iter().skip(1).all(|threshold| scores.iter().any(|score| score == threshold)));
    }
}

#[test]
fn zeros_of_either_sign_are_tied() {
    let curve = roc_curve(array![0.0, -0.0].view(), array![true, false].view()).expect("both labels occur");
    assert_eq!(curve.true_positive_rates, array![0.0, 1.0]);
    assert_eq!(curve.false_positive_rates, array![0.0, 1.0]);
}

#[test]
fn refusals_say_what_is_wrong() {
    let message =
        |result: Result<_, KernelError>| result.map(|_: Array1<f64>| ()).expect_err("refused").to_string();
    let metrics = |scores: Array2<f64>, labels: Array2<bool>, rate: f64| {
        message(roc_metrics(scores.view(), labels.view(), array![rate].view(), ONE))
    };
    let (scores, labels) = (array![[0.0, 1.0]], array![[true, false]]);
    assert_eq!(
        metrics(array![[0.0, f64::NAN]], labels.clone(), 0.1),
        "scores contains NaN at index [0, 1]; expected numbers or infinities"
    );
    assert_eq!(
        metrics(scores.clone(), array![[true, true]], 0.1),
        "labels is true everywhere; expected at least one member and one non-member"
    );
    assert_eq!(
        metrics(scores.clone(), array![[true], [false]], 0.1),
        "labels has shape [2, 1]; expected [1, 2] (the shape of scores)"
    );
    assert!(metrics(scores, labels, 1.5).starts_with("false_positive_rates is"));
    let curve = |scores: Array1<f64>, labels: Array1<bool>| {
        roc_curve(scores.view(), labels.view()).expect_err("refused").to_string()
    };
    assert_eq!(
        curve(array![0.0, f64::NAN], array![true, false]),
        "scores contains NaN at index [1]; expected numbers or infinities"
    );
    assert_eq!(
        curve(array![0.0, 1.0], array![false, false]),
        "labels is false everywhere; expected at least one member and one non-member"
    );
}
