//! ROC metrics of resampled targets and points, for intervals that know that scores share both.
//!
//! In the pigeonhole bootstrap (Owen 2007, The pigeonhole bootstrap, Annals of Applied Statistics 1) targets and
//! points are drawn anew, each set on its own, and an entry counts as often as its target times as often as its
//! point. The order of the scores is the same in all resamples: sorted once, each resample is one pass.

use std::num::NonZeroUsize;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};

use crate::error::{KernelError, require_shape};
use crate::roc::sweep::{LEADING, Limits, Sweep};
use crate::roc::{check_rates, check_scores, key_of};
use crate::{memory, parallel};

/// Resamples in one piece of parallel work.
const PIECE: usize = 8;

/// The metrics of `roc_metrics` in each of R resamples; float64 `[resamples, 2 + rates]`.
///
/// In resample r the entry of target t and point p of `scores` and `labels` counts
/// `target_weights[r, t] * point_weights[r, p]` times. Where that leaves no member or no non-member, AUC and
/// balanced accuracy are 0.5 and all true positive rates 0.
///
/// Errors: an axis of length zero, shapes that do not fit, a NaN, rates outside [0, 1].
pub fn roc_resample(
    scores: ArrayView2<f64>,
    labels: ArrayView2<bool>,
    target_weights: ArrayView2<u16>,
    point_weights: ArrayView2<u16>,
    false_positive_rates: ArrayView1<f64>,
    threads: NonZeroUsize,
) -> Result<Array2<f64>, KernelError> {
    let rates = check_rates(false_positive_rates)?;
    check_scores(scores.into_dyn(), labels.into_dyn())?;
    let (targets, points) = scores.dim();
    let resamples = target_weights.nrows();
    require_shape("target_weights", target_weights.shape(), &[resamples, targets], "resamples and targets")?;
    require_shape("point_weights", point_weights.shape(), &[resamples, points], "resamples and points")?;

    let entries = sort_entries(scores, labels)?;
    let mut metrics: Array2<f64> = memory::zeros((resamples, LEADING + rates.len()))?;
    let pieces = metrics
        .axis_chunks_iter_mut(Axis(0), PIECE)
        .zip(target_weights.axis_chunks_iter(Axis(0), PIECE))
        .zip(point_weights.axis_chunks_iter(Axis(0), PIECE))
        .collect();
    parallel::for_each(
        threads,
        pieces,
        || Resample::new(labels, &rates),
        |resample, ((mut metrics, target_weights), point_weights)| {
            let rows =
                metrics.outer_iter_mut().zip(target_weights.outer_iter()).zip(point_weights.outer_iter());
            for ((metrics, target_weights), point_weights) in rows {
                resample.load(target_weights, point_weights);
                for (out, &metric) in metrics.into_iter().zip(resample.run(&entries)) {
                    *out = metric;
                }
            }
            Ok(())
        },
    )?;
    Ok(metrics)
}

/// One score's place in the order from the highest to the lowest.
struct Entry {
    target: u32,
    point: u32,
    is_member: bool,
    /// Whether the next score is lower.
    ends_group: bool,
}

fn sort_entries(scores: ArrayView2<f64>, labels: ArrayView2<bool>) -> Result<Vec<Entry>, KernelError> {
    if scores.shape().iter().any(|&length| u32::try_from(length).is_err()) {
        return Err(KernelError::Shape {
            array: "scores",
            found: scores.shape().to_vec(),
            expected: "axes shorter than 4,294,967,296".to_owned(),
        });
    }
    let mut order = memory::room_for(scores.len())?;
    order.extend(scores.indexed_iter().map(|(index, &score)| (key_of(score), index)));
    order.sort_unstable();
    let next_keys = order.iter().skip(1).map(|(key, _)| Some(key)).chain([None]);
    let mut entries = memory::room_for(order.len())?;
    entries.extend(order.iter().zip(next_keys).map(|((key, (target, point)), next)| Entry {
        target: *target as u32,
        point: *point as u32,
        is_member: labels[[*target, *point]],
        ends_group: next != Some(key),
    }));
    Ok(entries)
}

/// The weights of one resample, and room for its metrics.
struct Resample<'a> {
    rates: &'a [f64],
    labels: ArrayView2<'a, bool>,
    target_weights: Vec<u64>,
    point_weights: Vec<u64>,
    limits: Limits,
    metrics: Vec<f64>,
}

impl<'a> Resample<'a> {
    fn new(labels: ArrayView2<'a, bool>, rates: &'a [f64]) -> Result<Self, KernelError> {
        let (targets, points) = labels.dim();
        Ok(Self {
            rates,
            labels,
            target_weights: memory::filled(0, targets)?,
            point_weights: memory::filled(0, points)?,
            limits: Limits::default(),
            metrics: memory::filled(0.0, LEADING + rates.len())?,
        })
    }

    fn load(&mut self, target_weights: ArrayView1<u16>, point_weights: ArrayView1<u16>) {
        for (weight, &count) in self.target_weights.iter_mut().zip(target_weights) {
            *weight = u64::from(count);
        }
        for (weight, &count) in self.point_weights.iter_mut().zip(point_weights) {
            *weight = u64::from(count);
        }
    }

    /// The metrics with the loaded weights.
    fn run(&mut self, entries: &[Entry]) -> &[f64] {
        let members = self.count_members();
        let all = self.target_weights.iter().sum::<u64>() * self.point_weights.iter().sum::<u64>();
        if members == 0 || members == all {
            self.metrics.fill(0.0);
            self.metrics[..LEADING].fill(0.5);
            return &self.metrics;
        }
        self.limits.set(self.rates, all - members);
        let mut sweep = Sweep::new(&self.limits, members, all - members, &mut self.metrics);
        let (mut members, mut others) = (0, 0);
        for entry in entries {
            let weight =
                self.target_weights[entry.target as usize] * self.point_weights[entry.point as usize];
            let as_member = weight * u64::from(entry.is_member);
            members += as_member;
            others += weight - as_member;
            if entry.ends_group {
                sweep.pass(members, others);
                (members, others) = (0, 0);
            }
        }
        sweep.finish();
        &self.metrics
    }

    /// How often members count.
    fn count_members(&self) -> u64 {
        let rows = self.labels.outer_iter().zip(&self.target_weights);
        rows.map(|(labels, target_weight)| {
            let of_target =
                labels.iter().zip(&self.point_weights).map(|(&label, weight)| u64::from(label) * weight);
            target_weight * of_target.sum::<u64>()
        })
        .sum()
    }
}
