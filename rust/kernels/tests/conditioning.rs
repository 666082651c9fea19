//! `condition` against kernel ridge regressions that really leave each model out.

use std::num::NonZeroUsize;

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, ShapeBuilder, s};
use proptest::prelude::*;
use tmi_kernels::{Conditioned, KernelError, condition};

const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// Values, regressors and weights.
type Input = (Array3<f32>, Array3<f32>, Array2<f32>);

prop_compose! {
    fn input()(shape in (1..14_usize, prop_oneof![1..5_usize, 33..36_usize], 1..4_usize, 1..6_usize, 1..5_usize))(
        x in prop::collection::vec(-3.0_f32..3.0, shape.0 * shape.1 * shape.2),
        regressors in prop::collection::vec(-2.0_f32..2.0, shape.0 * shape.3 * shape.4),
        weights in prop::collection::vec(prop_oneof![Just(0.0_f32), 0.0..1.0_f32], shape.1 * shape.3),
        (models, points, features, others, dimensions) in Just(shape),
    ) -> Input {
        let x = Array3::from_shape_vec((models, points, features), x).expect("the length is the product");
        let regressors = Array3::from_shape_vec((models, others, dimensions), regressors);
        let weights = Array2::from_shape_vec((points, others), weights);
        (x, regressors.expect("the length is the product"), weights.expect("the length is the product"))
    }
}

/// `1 + sum_q w_q B_q B_q^T / D` of two models at a point.
fn kernel(regressors: &Array3<f32>, weights: &Array2<f32>, point: usize, models: [usize; 2]) -> f64 {
    let (_, others, dimensions) = regressors.dim();
    let mut sum = 1.0;
    for (other, dimension) in (0..others).flat_map(|other| (0..dimensions).map(move |d| (other, d))) {
        let [a, b] = models.map(|model| f64::from(regressors[[model, other, dimension]]));
        sum += f64::from(weights[[point, other]]) * a * b / dimensions as f64;
    }
    sum
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

fn run(
    x: ArrayView3<f32>,
    regressors: ArrayView3<f32>,
    weights: ArrayView2<f32>,
    threads: usize,
) -> Result<Conditioned, KernelError> {
    condition(x, regressors, weights, 1.0, NonZeroUsize::new(threads).expect("positive"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn residuals_are_of_models_left_out((x, regressors, weights) in input(), penalty in 0.3..5.0_f64) {
        let conditioned = condition(x.view(), regressors.view(), weights.view(), penalty, ONE)?;
        let (models, points, features) = x.dim();
        for (model, point) in (0..models).flat_map(|model| (0..points).map(move |point| (model, point))) {
            let others: Vec<usize> = (0..models).filter(|&other| other != model).collect();
            let entry = |a, b| kernel(&regressors, &weights, point, [a, b]) + if a == b { penalty } else { 0.0 };
            let matrix: Vec<Vec<f64>> =
                others.iter().map(|&a| others.iter().map(|&b| entry(a, b)).collect()).collect();
            for feature in 0..features {
                let values = others.iter().map(|&other| f64::from(x[[other, point, feature]])).collect();
                let solution = solve(matrix.clone(), values);
                let prediction: f64 = others.iter().zip(solution).map(|(&other, s)| entry(model, other) * s).sum();
                let truth = f64::from(x[[model, point, feature]]) - prediction;
                let found = f64::from(conditioned.residuals[[model, point, feature]]);
                prop_assert!((found - truth).abs() <= 2e-4, "{found} is not {truth}");
            }
        }
    }

    #[test]
    fn inverses_are_inverse((x, regressors, weights) in input()) {
        let inverses = run(x.view(), regressors.view(), weights.view(), 1)?.inverses;
        let models = 0..x.dim().0;
        for (point, inverse) in inverses.outer_iter().enumerate() {
            for (a, b) in models.clone().flat_map(|a| (0..x.dim().0).map(move |b| (a, b))) {
                let entry = |c: usize| kernel(&regressors, &weights, point, [a, c]) + f64::from(a == c);
                let product: f64 = models.clone().map(|c| entry(c) * f64::from(inverse[[c, b]])).sum();
                prop_assert!((product - f64::from(a == b)).abs() <= 1e-4, "{product} at {a}, {b}");
            }
        }
    }

    #[test]
    fn threads_and_memory_order_change_no_bit((x, regressors, weights) in input()) {
        let expected = run(x.view(), regressors.view(), weights.view(), 1)?;
        let fortran = |array: &Array3<f32>| {
            let mut copy = Array3::zeros(array.raw_dim().f());
            copy.assign(array);
            copy
        };
        let mut wide = Array3::from_elem((x.dim().0, 2 * x.dim().1, x.dim().2), f32::NAN);
        wide.slice_mut(s![.., ..;2, ..]).assign(&x);
        let mut turned = Array2::zeros(weights.raw_dim().f());
        turned.assign(&weights);
        let (x_turned, regressors_turned) = (fortran(&x), fortran(&regressors));
        for found in [
            run(x.view(), regressors.view(), weights.view(), 3)?,
            run(x_turned.view(), regressors_turned.view(), turned.view(), 1)?,
            run(wide.slice(s![.., ..;2, ..]), regressors.view(), weights.view(), 2)?,
        ] {
            prop_assert_eq!(&found.residuals, &expected.residuals);
            prop_assert_eq!(&found.inverses, &expected.inverses);
        }
    }

    #[test]
    fn numbers_near_the_limit_give_finite_residuals_or_a_refusal(
        (mut x, mut regressors, mut weights) in input(),
        scales in prop::array::uniform3(prop::sample::select(&[1e-38_f32, 1.0, 1e19, 1e38][..])),
    ) {
        x.mapv_inplace(|x| x * scales[0]);
        regressors.mapv_inplace(|b| b * scales[1]);
        weights.mapv_inplace(|w| w * scales[2]);
        match run(x.view(), regressors.view(), weights.view(), 1) {
            Ok(found) => prop_assert!(found.residuals.iter().chain(&found.inverses).all(|number| number.is_finite())),
            Err(error) => prop_assert!(error.to_string().contains("numbers too large for"), "{error}"),
        }
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    let ones =
        || (Array3::<f32>::ones((3, 4, 2)), Array3::<f32>::ones((3, 5, 2)), Array2::<f32>::ones((4, 5)));
    let refusal = |(x, regressors, weights): Input, penalty| {
        condition(x.view(), regressors.view(), weights.view(), penalty, ONE)
            .map(|_| ())
            .expect_err("refused")
            .to_string()
    };
    for penalty in [0.0, 1e7, f64::NAN] {
        assert_eq!(refusal(ones(), penalty), format!("penalty is {penalty}; expected between 1e-3 and 1e6"));
    }
    let (x, regressors, weights) = ones();
    assert_eq!(
        refusal((x.clone(), regressors.clone(), -weights.clone()), 1.0),
        "weights is -1; expected finite numbers from 0"
    );
    assert_eq!(
        refusal((x.clone(), regressors.clone(), weights.slice_move(s![.., 1..])), 1.0),
        "weights has shape [4, 4]; expected [4, 5] (points of x and of regressors)"
    );
    assert_eq!(
        refusal((x.slice_move(s![1.., .., ..]), regressors, ones().2), 1.0),
        "regressors has shape [3]; expected [2] (models of x)"
    );
    let (x, regressors, weights) = ones();
    assert_eq!(refusal((f32::INFINITY * x, regressors, weights), 1.0), "x is inf; expected finite numbers");
    let (x, regressors, weights) = ones();
    assert_eq!(
        refusal((x, 1e30 * regressors, weights), 1.0),
        "regressors is numbers too large for their products; expected standardised predictions"
    );
}
