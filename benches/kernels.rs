//! Times of the kernels on one thread, at the size of the paper's experiment: 65 models, 1000 points, 8
//! augmentations, 10 classes. `cargo bench`; `cargo bench -- reduce` for some of them.

use std::hint::black_box;
use std::num::NonZeroUsize;

use criterion::{Criterion, criterion_group, criterion_main};
use half::f16;
use ndarray::{Array1, Array2, Array3, Array4, s};
use tmi_kernels::{
    Compared, Covariance, Prior, adapted_lira, gaussian_scores, label_probe, leave_one_out_features,
    reduce_logits, roc_metrics, roc_resample,
};

const ONE: NonZeroUsize = NonZeroUsize::MIN;
const SHAPE: (usize, usize, usize, usize) = (65, 1000, 8, 10);
const TARGETS: usize = 32;
const RESAMPLES: usize = 100;

/// Numbers in [0, 1) from a linear congruential generator (Knuth's MMIX): the benchmark needs no better ones.
fn numbers(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn predictions() -> Array4<f32> {
    let mut next = numbers(1);
    Array4::from_shape_simple_fn(SHAPE, || (next() + next() + next() - 1.5) as f32 * 10.0)
}

fn membership() -> Array2<bool> {
    let mut next = numbers(2);
    Array2::from_shape_simple_fn((SHAPE.0, SHAPE.1), || next() < 0.5)
}

fn targets() -> Array1<i64> {
    (0..).take(TARGETS).collect()
}

fn logits(criterion: &mut Criterion) {
    let predictions = predictions();
    let halves = predictions.mapv(f16::from_f32);
    let mut copy = predictions.clone();
    criterion.bench_function("copy", |b| b.iter(|| black_box(&mut copy).assign(&predictions)));
    criterion.bench_function("reduce_logits", |b| b.iter(|| reduce_logits(predictions.view(), ONE)));
    criterion.bench_function("reduce_logits of float16", |b| b.iter(|| reduce_logits(halves.view(), ONE)));
}

fn statistics(criterion: &mut Criterion) {
    let (x, membership): (Array3<f32>, _) = (predictions().slice_move(s![.., .., 0, ..]), membership());
    let mut compared = Compared { target: 0, apart: None, wanted: None };
    criterion.bench_function("leave_one_out_features", |b| {
        b.iter(|| leave_one_out_features(x.view(), membership.view(), &compared, &[0.5, 2.0], None, ONE));
    });
    // As the attack `tmi` asks for them: with a prior, of a third of the shadows.
    let (mean, variance) = (Array2::zeros((SHAPE.1, SHAPE.3)), Array1::ones(SHAPE.3));
    let prior = Prior { mean: mean.view(), variance: variance.view(), share: 0.6 };
    let mut next = numbers(5);
    let wanted = Array2::from_shape_simple_fn((SHAPE.0, SHAPE.1), || next() < 0.33);
    compared.wanted = Some(wanted.view());
    criterion.bench_function("leave_one_out_features of a third, with a prior", |b| {
        b.iter(|| leave_one_out_features(x.view(), membership.view(), &compared, &[0.5], Some(&prior), ONE));
    });
    criterion.bench_function("gaussian_scores of 32 targets", |b| {
        b.iter(|| gaussian_scores(x.view(), membership.view(), targets().view(), 0.5, ONE));
    });
}

fn lira(criterion: &mut Criterion) {
    let (predictions, membership) = (predictions(), membership());
    for count in [1, TARGETS] {
        let targets = targets().slice_move(s![..count]);
        criterion.bench_function(&format!("adapted_lira of {count} targets"), |b| {
            b.iter(|| {
                adapted_lira(predictions.view(), membership.view(), targets.view(), Covariance::Full, ONE)
            });
        });
    }
}

fn roc(criterion: &mut Criterion) {
    let mut next = numbers(3);
    let scores = Array2::from_shape_simple_fn((TARGETS, SHAPE.1), &mut next);
    let labels = membership().slice_move(s![..TARGETS, ..]);
    let rates = Array1::from_vec(vec![1e-4, 1e-3, 1e-2, 1e-1]);
    let mut weights = |width| Array2::from_shape_simple_fn((RESAMPLES, width), || (3.0 * next()) as u16);
    let (of_targets, of_points) = (weights(TARGETS), weights(SHAPE.1));
    criterion.bench_function("roc_metrics", |b| {
        b.iter(|| roc_metrics(scores.view(), labels.view(), rates.view(), ONE));
    });
    criterion.bench_function("roc_resample, 100 times", |b| {
        b.iter(|| {
            roc_resample(scores.view(), labels.view(), of_targets.view(), of_points.view(), rates.view(), ONE)
        });
    });
}

fn probe(criterion: &mut Criterion) {
    let mut next = numbers(4);
    let x = Array3::from_shape_simple_fn((SHAPE.0, SHAPE.1, 20), || (next() + next() + next() - 1.5) as f32);
    let labels: Array1<i64> = (0..SHAPE.1 as i64).map(|point| point % 100).collect();
    let weights = Array2::ones((SHAPE.0, SHAPE.1));
    criterion.bench_function("label_probe, 20 features, 100 labels", |b| {
        b.iter(|| label_probe(x.view(), labels.view(), weights.view(), 0.1, ONE));
    });
}

criterion_group!(benches, logits, statistics, lira, roc, probe);
criterion_main!(benches);
