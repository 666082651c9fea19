//! `boosted_log_odds` against its definition.

use ndarray::{Array1, Array2, ArrayView1, Axis, array};
use proptest::prelude::*;
use tmi_kernels::{KernelError, Recipe, boosted_log_odds};

const STUMP: Recipe = Recipe { trees: 1, leaves: 2, rate: 1.0, least_rows: 3, bins: 64, share: 1.0, seed: 0 };

/// What the trees add for the rows themselves.
fn run(
    rows: &Array2<f32>,
    labels: &Array1<bool>,
    start: &Array1<f64>,
    recipe: &Recipe,
) -> Result<Array1<f64>, KernelError> {
    boosted_log_odds(rows.view(), labels.view(), start.view(), rows.view(), recipe)
}

prop_compose! {
    /// Rows of few distinct values, so that every one of them is a boundary; their labels, and what is known before.
    fn learned()(shape in (10..60_usize, 1..5_usize))(
        values in prop::collection::vec(-4..5_i8, shape.0 * shape.1),
        labels in prop::collection::vec(any::<bool>(), shape.0),
        start in prop::collection::vec(-3.0..3.0_f64, shape.0),
        shape in Just(shape),
    ) -> (Array2<f32>, Array1<bool>, Array1<f64>) {
        let values = values.into_iter().map(f32::from).collect();
        let rows = Array2::from_shape_vec(shape, values).expect("the length is the product");
        (rows, labels.into(), start.into())
    }
}

/// First and second derivatives of the loss of each row.
fn derivatives(labels: ArrayView1<bool>, start: ArrayView1<f64>) -> Vec<(f64, f64)> {
    let one = |(&is_member, &start): (&bool, &f64)| {
        let p = 1.0 / (1.0 + (-start).exp());
        (p - f64::from(is_member), p * (1.0 - p))
    };
    labels.iter().zip(start).map(one).collect()
}

/// The gain of a split, and the values of its sides; none where a side has too few rows.
fn split(derivatives: &[(f64, f64)], is_left: impl Fn(usize) -> bool) -> Option<(f64, [f64; 2])> {
    let sums = |side: Option<bool>| {
        let rows = (0..derivatives.len()).filter(|&row| side.is_none_or(|side| is_left(row) == side));
        rows.fold((0.0, 0.0), |sum, row| (sum.0 + derivatives[row].0, sum.1 + derivatives[row].1))
    };
    let [all, left, right] = [None, Some(true), Some(false)].map(sums);
    let rows = |side: (f64, f64)| (side.1 / all.1 * derivatives.len() as f64).round();
    let score = |sums: (f64, f64)| sums.0 * sums.0 / sums.1;
    let is_legal = rows(left) >= 3.0 && rows(right) >= 3.0;
    is_legal.then(|| (score(left) + score(right) - score(all), [left, right].map(|sums| -sums.0 / sums.1)))
}

proptest! {
    #[test]
    fn a_stump_is_the_best_split_of_all((rows, labels, start) in learned()) {
        let added = run(&rows, &labels, &start, &STUMP)?;
        let derivatives = derivatives(labels.view(), start.view());
        let mut best = 0.0_f64;
        for column in rows.columns() {
            for boundary in -4..5_i8 {
                let gain = split(&derivatives, |row| column[row] <= f32::from(boundary));
                best = gain.map_or(best, |(gain, _)| best.max(gain));
            }
        }
        // Which of equal splits was taken shows in the values alone.
        let first = added[0];
        let is_first = |row: usize| added[row] == first;
        if added.iter().all(|&value| value == first) {
            // No split, or one into sides alike, which gains nothing.
            prop_assert!(best < 1e-3, "{best}");
        } else {
            let (gain, values) = split(&derivatives, is_first).expect("a split that is legal");
            prop_assert!((gain - best).abs() < 1e-3, "{gain} is not {best}");
            for (row, &value) in added.iter().enumerate() {
                let truth = values[usize::from(!is_first(row))];
                prop_assert!((value - truth).abs() < 1e-3, "{value} is not {truth}");
            }
        }
    }

    #[test]
    fn no_order_of_rows_changes_a_bit((rows, labels, start) in learned(), seed in any::<u64>()) {
        let recipe = Recipe { trees: 8, leaves: 5, rate: 0.3, share: 0.5, seed, ..STUMP };
        let queries = &rows;
        let found = boosted_log_odds(rows.view(), labels.view(), start.view(), queries.view(), &recipe)?;
        let order: Vec<usize> = (0..labels.len()).rev().collect();
        let [labels, start] = [labels.mapv(f64::from), start].map(|each| each.select(Axis(0), &order));
        let reversed = (rows.select(Axis(0), &order), labels.mapv(|label| label == 1.0));
        let again = boosted_log_odds(reversed.0.view(), reversed.1.view(), start.view(), queries.view(), &recipe)?;
        prop_assert_eq!(found, again);
    }

    #[test]
    fn trees_lower_the_loss_and_end_at_what_is_true(flip in prop::collection::vec(any::<bool>(), 64)) {
        // Members where one of two features is large and the other one small: no single split tells.
        let rows = Array2::from_shape_fn((64, 2), |(row, feature)| ((row >> (3 * feature)) & 7) as f32);
        let labels = Array1::from_shape_fn(64, |row| (rows[[row, 0]] > 3.0) != (rows[[row, 1]] > 4.0));
        let start = Array1::from_iter(flip.iter().map(|&flip| if flip { 0.2 } else { -0.2 }));
        let recipe = Recipe { trees: 60, leaves: 4, rate: 0.3, ..STUMP };
        let odds = &run(&rows, &labels, &start, &recipe)? + &start;
        for (&odds, &is_member) in odds.iter().zip(&labels) {
            prop_assert!((odds > 1.0) == is_member && (odds < -1.0) != is_member, "{odds}");
        }
    }
}

#[test]
fn nothing_is_added_where_there_is_nothing_to_learn() {
    let (rows, start) = (Array2::from_elem((20, 3), 1.5), Array1::zeros(20));
    let labels = Array1::from_shape_fn(20, |row| row % 2 == 0);
    assert_eq!(run(&rows, &labels, &start, &STUMP), Ok(Array1::zeros(20)));
    let recipe = Recipe { trees: 0, ..STUMP };
    assert_eq!(run(&rows, &labels, &start, &recipe), Ok(Array1::zeros(20)));
}

#[test]
fn refusals_say_what_is_wrong() {
    let (rows, labels) = (Array2::zeros((4, 2)), array![true, false, true, false]);
    let refusal = |rows: &Array2<f32>, start: f64, recipe: Recipe| {
        run(rows, &labels, &Array1::from_elem(4, start), &recipe).expect_err("refused").to_string()
    };
    let mut infinite = rows.clone();
    infinite[[2, 1]] = f32::INFINITY;
    assert_eq!(refusal(&infinite, 0.0, STUMP), "rows contains inf at row 2; expected finite numbers");
    assert_eq!(refusal(&rows, f64::NAN, STUMP), "start contains NaN at row 0; expected finite numbers");
    for (recipe, sentence) in [
        (Recipe { leaves: 1, ..STUMP }, "leaves is 1; expected at least 2"),
        (Recipe { bins: 65, ..STUMP }, "bins is 65; expected from 2 to 64"),
        (Recipe { rate: 0.0, ..STUMP }, "rate is 0; expected above 0 and at most 1"),
        (Recipe { share: f64::NAN, ..STUMP }, "share is NaN; expected above 0 and at most 1"),
    ] {
        assert_eq!(refusal(&rows, 0.0, recipe), sentence);
    }
    let short = Array1::from_elem(3, true);
    let error = run(&rows, &short, &Array1::zeros(4), &STUMP).expect_err("refused").to_string();
    assert_eq!(error, "labels has shape [3]; expected [4] (rows)");
}
