//! `label_probe` against its definition, where every point is really left out of the mean of its label.

use std::num::NonZeroUsize;

use ndarray::{Array1, Array2, Array3, ArrayView1, ArrayView2, ArrayView3, Axis, ShapeBuilder, s};
use proptest::prelude::*;
use tmi_kernels::{KernelError, label_probe};

const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// Predictions, labels and weights.
type Input = (Array3<f32>, Array1<i64>, Array2<f32>);

fn input(weights: &'static [f32]) -> impl Strategy<Value = Input> {
    let points = prop_oneof![4 => 2..14_usize, 1 => 63..68_usize];
    input_of((1..4_usize, points, 1..5_usize), prop_oneof![2..6_usize, 7..18_usize], weights)
}

/// The same with so many features that no matrix of them is made.
fn input_of_many_features(weights: &'static [f32]) -> impl Strategy<Value = Input> {
    input_of((1..3_usize, 2..9_usize, 257..265_usize), 2..4_usize, weights)
}

prop_compose! {
    /// Points of some labels, the first two of them different; weights as picked from `weights`.
    fn input_of(
        shape: impl Strategy<Value = (usize, usize, usize)>,
        distinct: impl Strategy<Value = usize>,
        weights: &'static [f32],
    )(
        shape in shape,
        distinct in distinct,
    )(
        x in prop::collection::vec(-3.0_f32..3.0, shape.0 * shape.1 * shape.2),
        labels in prop::collection::vec(0..distinct, shape.1),
        weights in prop::collection::vec(prop::sample::select(weights), shape.0 * shape.1),
        shape in Just(shape),
    ) -> Input {
        const NAMES: [i64; 4] = [7, -2, i64::MAX, i64::MIN];
        let mut labels: Array1<i64> =
            labels.iter().map(|&label| *NAMES.get(label).unwrap_or(&(100 - label as i64))).collect();
        (labels[0], labels[1]) = (7, -2);
        let x = Array3::from_shape_vec(shape, x).expect("the length is the product");
        let weights = Array2::from_shape_vec((shape.0, shape.1), weights).expect("the length is the product");
        (x, labels, weights)
    }
}

const TEACHERS: [f32; 4] = [1.0, 1.0, 0.25, 0.0];

fn run(
    x: ArrayView3<f32>,
    labels: ArrayView1<i64>,
    weights: ArrayView2<f32>,
) -> Result<Array2<f64>, KernelError> {
    label_probe(x, labels, weights, 0.1, ONE)
}

/// Some points of one model, as the definition sees them.
struct Model<'a> {
    x: ArrayView2<'a, f32>,
    labels: &'a Array1<i64>,
    weights: ArrayView1<'a, f32>,
}

impl Model<'_> {
    fn weight(&self, is_counted: impl Fn(usize) -> bool) -> f64 {
        (0..self.labels.len()).filter(|&p| is_counted(p)).map(|p| f64::from(self.weights[p])).sum()
    }

    /// The weighted sum of the differences between a point and others.
    fn differences(&self, point: usize, is_counted: impl Fn(usize) -> bool) -> Vec<f64> {
        let entry = |p, k| f64::from(self.x[[p, k]]);
        let others: Vec<usize> = (0..self.labels.len()).filter(|&p| is_counted(p)).collect();
        let sum =
            |k| others.iter().map(|&p| f64::from(self.weights[p]) * (entry(point, k) - entry(p, k))).sum();
        (0..self.x.ncols()).map(sum).collect()
    }

    /// A point minus the mean of a label with its pseudo-count, perhaps left without the point.
    fn deviation(&self, point: usize, label: i64, is_left_out: bool) -> Vec<f64> {
        let is_of_label = |p: usize| self.labels[p] == label && !(is_left_out && p == point);
        let (weight, all) = (self.weight(is_of_label), self.weight(|_| true));
        let from_all = self.differences(point, |_| true);
        let from_label = self.differences(point, is_of_label);
        from_label
            .iter()
            .zip(from_all)
            .map(|(label, others)| (label + others / all) / (weight + 1.0))
            .collect()
    }

    fn covariance(&self, penalty: f64) -> Vec<Vec<f64>> {
        let features = self.x.ncols();
        let mut scatter = vec![vec![0.0; features]; features];
        for point in 0..self.labels.len() {
            let deviation = self.deviation(point, self.labels[point], false);
            let share = f64::from(self.weights[point]) / self.weight(|_| true);
            for (i, j) in (0..features).flat_map(|i| (0..features).map(move |j| (i, j))) {
                scatter[i][j] += share * deviation[i] * deviation[j];
            }
        }
        let level = (0..features).map(|k| scatter[k][k]).sum::<f64>() / features as f64;
        for (i, row) in scatter.iter_mut().enumerate() {
            row.iter_mut().for_each(|entry| *entry *= 1.0 - penalty);
            row[i] += penalty * level;
        }
        scatter
    }

    /// The log odds of a point, and how large the log densities are of which they are made.
    fn odds(&self, point: usize, covariance: &[Vec<f64>]) -> (f64, f64) {
        let own = self.labels[point];
        let mut taught: Vec<i64> = self.labels.iter().copied().collect();
        taught.sort_unstable();
        taught.dedup();
        taught.retain(|&label| self.weight(|p| self.labels[p] == label) > 0.0 && label != own);
        if self.weight(|p| self.labels[p] == own && p != point) == 0.0 || taught.is_empty() {
            return (0.0, 0.0);
        }
        let density = |label| {
            let deviation = self.deviation(point, label, label == own);
            let solved = solve(covariance.to_vec(), deviation.clone());
            -0.5 * deviation.iter().zip(solved).map(|(d, s)| d * s).sum::<f64>()
        };
        let others: Vec<f64> = taught.iter().map(|&label| density(label)).collect();
        let top = others.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let others = top + others.iter().map(|density| (density - top).exp()).sum::<f64>().ln();
        (density(own) - others, density(own).abs() + others.abs())
    }
}

/// Solves `a x = b` for a symmetric positive definite `a` by elimination.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for pivot in 0..n {
        for row in pivot + 1..n {
            let factor = a[row][pivot] / a[pivot][pivot];
            for column in pivot..n {
                a[row][column] -= factor * a[pivot][column];
            }
            b[row] -= factor * b[pivot];
        }
    }
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|column| a[row][column] * b[column]).sum();
        b[row] = (b[row] - known) / a[row][row];
    }
    b
}

fn assert_defined(
    (x, labels, weights): &Input,
    penalty: f64,
    found: &Array2<f64>,
) -> Result<(), TestCaseError> {
    for (n, found) in found.outer_iter().enumerate() {
        let model = Model { x: x.index_axis(Axis(0), n), labels, weights: weights.row(n) };
        let covariance = model.covariance(penalty);
        for (point, &found) in found.iter().enumerate() {
            let (truth, size) = model.odds(point, &covariance);
            prop_assert!((found - truth).abs() <= 1e-6 + 1e-9 * size, "{found} is not {truth}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn odds_of_many_features_are_those_of_the_definition(
        input in input_of_many_features(&[1.0, 1.0, 0.25, 0.0, 1e17]),
        penalty in 0.01..=1.0_f64,
    ) {
        let (x, labels, weights) = &input;
        let found = label_probe(x.view(), labels.view(), weights.view(), penalty, ONE)?;
        assert_defined(&input, penalty, &found)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn odds_are_those_of_the_definition(input in input(&TEACHERS), penalty in 0.01..=1.0_f64) {
        let (x, labels, weights) = &input;
        let found = label_probe(x.view(), labels.view(), weights.view(), penalty, ONE)?;
        assert_defined(&input, penalty, &found)?;
    }

    #[test]
    fn of_many_features_as_well_a_point_without_weight_has_no_influence(
        (mut x, labels, weights) in input_of_many_features(&TEACHERS),
        value in any::<f32>(),
    ) {
        prop_assume!(value.is_finite());
        let before = run(x.view(), labels.view(), weights.view())?;
        for ((model, point), _) in weights.indexed_iter().filter(|(_, weight)| **weight == 0.0) {
            x.slice_mut(s![model, point, ..]).fill(value);
        }
        let after = label_probe(x.view(), labels.view(), weights.view(), 0.1, ONE.saturating_add(1))?;
        for (position, _) in weights.indexed_iter().filter(|(_, weight)| **weight > 0.0) {
            prop_assert_eq!(before[position], after[position]);
        }
        prop_assert!(after.iter().all(|odds| odds.is_finite()), "{after}");
    }

    #[test]
    fn a_teacher_that_outweighs_its_label_is_left_out_exactly(input in input(&[1.0, 0.3, 0.0, 1e17])) {
        let (x, labels, weights) = &input;
        assert_defined(&input, 0.1, &run(x.view(), labels.view(), weights.view())?)?;
    }

    #[test]
    fn threads_and_memory_order_change_no_bit((x, labels, weights) in input(&TEACHERS)) {
        let expected = run(x.view(), labels.view(), weights.view())?;
        let mut turned = Array3::zeros(x.raw_dim().f());
        turned.assign(&x);
        let mut of_columns = Array2::zeros(weights.raw_dim().f());
        of_columns.assign(&weights);
        let mut wide = Array3::from_elem((x.dim().0, 2 * x.dim().1, x.dim().2), f32::NAN);
        wide.slice_mut(s![.., ..;-2, ..]).assign(&x);
        let mut backwards = labels.clone();
        backwards.invert_axis(Axis(0));
        let backwards = backwards.iter().copied().collect::<Array1<i64>>();
        for found in [
            label_probe(x.view(), labels.view(), weights.view(), 0.1, ONE.saturating_add(2))?,
            run(turned.view(), labels.view(), of_columns.view())?,
            run(wide.slice(s![.., ..;-2, ..]), backwards.slice(s![..;-1]), weights.view())?,
        ] {
            prop_assert_eq!(&found, &expected);
        }
    }

    #[test]
    fn a_point_without_weight_has_no_influence((mut x, labels, weights) in input(&TEACHERS), value in any::<f32>()) {
        prop_assume!(value.is_finite());
        let before = run(x.view(), labels.view(), weights.view())?;
        for ((model, point), _) in weights.indexed_iter().filter(|(_, weight)| **weight == 0.0) {
            x.slice_mut(s![model, point, ..]).fill(value);
        }
        let after = run(x.view(), labels.view(), weights.view())?;
        for (position, _) in weights.indexed_iter().filter(|(_, weight)| **weight > 0.0) {
            prop_assert_eq!(before[position], after[position]);
        }
    }

    #[test]
    fn the_scale_changes_no_bit((mut x, labels, weights) in input(&TEACHERS), exponent in -60..=120_i32) {
        // Coarse enough that no small number underflows.
        x.mapv_inplace(|x| (1024.0 * x).round());
        let before = run(x.view(), labels.view(), weights.view())?;
        x.mapv_inplace(|x| x * 2.0_f32.powi(exponent - 10));
        prop_assert_eq!(run(x.view(), labels.view(), weights.view())?, before);
    }

    #[test]
    fn numbers_near_the_limits_give_finite_odds(
        (mut x, labels, mut weights) in input(&[1.0, 0.3, 0.0]),
        scales in prop::collection::vec(prop::sample::select(&[1e-45_f32, 1e-38, 1.0, 1e30, 1e38][..]), 68),
        of_weights in prop::collection::vec(prop::sample::select(&[1e-45_f32, 1e-20, 1.0, 1e38][..]), 68),
        penalty in prop::sample::select(&[1e-6, 0.1, 1.0][..]),
    ) {
        for (mut x, scale) in x.axis_iter_mut(Axis(1)).zip(scales) {
            x.mapv_inplace(|x| x * scale);
        }
        for (mut weights, scale) in weights.axis_iter_mut(Axis(1)).zip(of_weights) {
            weights.mapv_inplace(|weight| weight * scale);
        }
        let found = label_probe(x.view(), labels.view(), weights.view(), penalty, ONE)?;
        prop_assert!(found.iter().all(|odds| odds.is_finite()), "{found}");
    }
}

/// Two labels that lie apart, and weights of one.
fn apart() -> Input {
    let x =
        Array3::from_shape_fn((2, 8, 3), |(n, p, k)| (p % 2) as f32 + 0.1 * ((n + 3 * p + k * k) % 5) as f32);
    (x, (0..8).map(|point| point % 2).collect(), Array2::ones((2, 8)))
}

#[test]
fn a_label_that_shows_has_high_odds() {
    let (x, labels, weights) = apart();
    let odds = run(x.view(), labels.view(), weights.view()).expect("valid");
    assert!(odds.iter().all(|&odds| odds > 1.0), "{odds}");
    let renamed = labels.mapv(|label| 1000 * label - 7);
    assert_eq!(run(x.view(), renamed.view(), weights.view()).expect("valid"), odds);
    let mut wrong = labels;
    wrong[3] = 0;
    let odds = run(x.view(), wrong.view(), weights.view()).expect("valid");
    assert!(odds.column(3).iter().all(|&odds| odds < 0.0), "{odds}");
}

#[test]
fn without_anything_to_compare_the_odds_are_zero() {
    let (x, labels, ones) = apart();
    let zeros = Array2::zeros((2, 8));
    assert_eq!(run(x.view(), labels.view(), Array2::zeros((2, 8)).view()), Ok(zeros.clone()));
    for value in [0.0, 0.1, -3e38, 1e-45] {
        let constant = Array3::from_elem((2, 8, 3), value);
        assert_eq!(run(constant.view(), labels.view(), ones.view()), Ok(zeros.clone()));
        // Teachers without variance in one model: the other one is not concerned.
        let (mut some, mut weights) = (x.clone(), ones.clone());
        some.slice_mut(s![1, ..6, ..]).fill(value);
        weights.slice_mut(s![1, 6..]).fill(0.0);
        let odds = run(some.view(), labels.view(), weights.view()).expect("valid");
        assert!(odds.row(0).iter().all(|&odds| odds > 1.0) && odds.row(1).iter().all(|&odds| odds == 0.0));
    }
    // One label has one point, and another one a single teacher: that is neutral, and the others are not.
    let labels: Array1<i64> = [5, 0, 0, 0, 1, 1, 2, 2].into_iter().collect();
    let mut weights = ones;
    weights.slice_mut(s![.., 5]).fill(0.0);
    let odds = run(x.view(), labels.view(), weights.view()).expect("valid");
    for (point, odds) in odds.axis_iter(Axis(1)).enumerate() {
        assert_eq!(odds.iter().all(|&odds| odds == 0.0), [0, 4].contains(&point), "point {point}: {odds}");
    }
    // All teachers have one label: there is no other to compare with.
    for (mut weights, &label) in weights.axis_iter_mut(Axis(1)).zip(&labels) {
        weights.fill(f32::from(label == 0));
    }
    assert_eq!(run(x.view(), labels.view(), weights.view()), Ok(zeros));
}

#[test]
fn refusals_say_what_is_wrong() {
    let refusal = |x: &Array3<f32>, labels: &Array1<i64>, weights: &Array2<f32>, penalty| {
        label_probe(x.view(), labels.view(), weights.view(), penalty, ONE.saturating_add(1))
            .expect_err("refused")
            .to_string()
    };
    let (x, labels, weights) = apart();
    for penalty in [0.0, 1.1, -0.5, f64::NAN] {
        assert_eq!(
            refusal(&x, &labels, &weights, penalty),
            format!("penalty is {penalty}; expected between 1e-6 and 1")
        );
    }
    assert_eq!(
        refusal(&x, &Array1::from_elem(8, -4), &weights, 0.1),
        "labels is -4 everywhere; expected at least 2 distinct labels"
    );
    assert_eq!(
        refusal(&x, &Array1::zeros(7), &weights, 0.1),
        "labels has shape [7]; expected [8] (points of x)"
    );
    assert_eq!(
        refusal(&x, &labels, &Array2::ones((3, 8)), 0.1),
        "weights has shape [3, 8]; expected [2, 8] (models and points of x)"
    );
    assert_eq!(
        refusal(&Array3::zeros((2, 8, 0)), &labels, &weights, 0.1),
        "x has shape [2, 8, 0]; expected every axis to have at least one entry"
    );
    for (weight, found) in [(-0.5, "-0.5"), (f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let mut weights = weights.clone();
        weights[[1, 6]] = weight;
        assert_eq!(
            refusal(&x, &labels, &weights, 0.1),
            format!("weights contains {found} at model 1, point 6; expected finite numbers from 0")
        );
    }
    for (value, found) in [(f32::NEG_INFINITY, "-inf"), (f32::NAN, "NaN")] {
        let mut x = x.clone();
        x[[0, 4, 2]] = value;
        x[[1, 1, 0]] = value;
        // Also where no teacher is.
        assert_eq!(
            refusal(&x, &labels, &Array2::zeros((2, 8)), 0.1),
            format!("x contains {found} at model 0, point 4; expected finite numbers")
        );
    }
}
