//! ROC metrics of resampled targets and points, for intervals that know that scores share both.
//!
//! In the pigeonhole bootstrap (Owen 2007, The pigeonhole bootstrap, Annals of Applied Statistics 1) targets and
//! points are drawn anew, each set on its own, and an entry counts as often as its target times as often as its
//! point. The order of the scores is the same in all resamples: sorted once, each resample is one pass.

use std::num::NonZeroUsize;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};

use crate::error::{KernelError, require_shape};
use crate::roc::sweep::{LEADING, Limits, MOST_IN_64_BITS, Pairs, Sweep};
use crate::roc::{check_rates, check_scores, key_of};
use crate::{memory, parallel};

/// What a place in the order says beside an index, which has the other bits.
const FLAG: u32 = 1 << 31;

/// Weights that are added up in 32 bits, which is twice as fast as in 64.
const ADDED: usize = 1 << 15;

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
    let labels = labels.as_standard_layout();
    let mut metrics: Array2<f64> = memory::zeros((resamples, LEADING + rates.len()))?;
    let pieces = metrics
        .axis_chunks_iter_mut(Axis(0), PIECE)
        .zip(target_weights.axis_chunks_iter(Axis(0), PIECE))
        .zip(point_weights.axis_chunks_iter(Axis(0), PIECE))
        .collect();
    parallel::for_each(
        threads,
        pieces,
        || Resample::new(labels.view(), &rates),
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

/// One score's place in the order from the highest to the lowest, in as few bytes as there can be: the order is read
/// once for every resample.
struct Entry {
    /// With the flag: of a member.
    target: u32,
    /// With the flag: the next score is lower.
    point: u32,
}

impl Entry {
    fn target(&self) -> usize {
        (self.target & !FLAG) as usize
    }

    fn point(&self) -> usize {
        (self.point & !FLAG) as usize
    }

    /// All bits of a member, none of another: labels are coin flips to the processor, which must not branch on them.
    fn if_member(&self) -> u64 {
        u64::from(self.target >> 31).wrapping_neg()
    }

    fn ends_group(&self) -> bool {
        self.point & FLAG != 0
    }
}

fn sort_entries(scores: ArrayView2<f64>, labels: ArrayView2<bool>) -> Result<Vec<Entry>, KernelError> {
    if scores.shape().iter().any(|&length| length > FLAG as usize) {
        return Err(KernelError::Shape {
            array: "scores",
            found: scores.shape().to_vec(),
            expected: "axes of at most 2,147,483,648".to_owned(),
        });
    }
    let mut order = memory::room_for(scores.len())?;
    order.extend(scores.indexed_iter().map(|(index, &score)| (key_of(score), index)));
    order.sort_unstable();
    let next_keys = order.iter().skip(1).map(|(key, _)| Some(key)).chain([None]);
    let mut entries = memory::room_for(order.len())?;
    entries.extend(order.iter().zip(next_keys).map(|((key, (target, point)), next)| Entry {
        target: *target as u32 | if labels[[*target, *point]] { FLAG } else { 0 },
        point: *point as u32 | if next == Some(key) { 0 } else { FLAG },
    }));
    Ok(entries)
}

/// The weights of one resample, and room for its metrics.
struct Resample<'a> {
    rates: &'a [f64],
    labels: ArrayView2<'a, bool>,
    target_weights: Vec<u32>,
    point_weights: Vec<u32>,
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
            *weight = u32::from(count);
        }
        for (weight, &count) in self.point_weights.iter_mut().zip(point_weights) {
            *weight = u32::from(count);
        }
    }

    /// The metrics with the loaded weights.
    fn run(&mut self, entries: &[Entry]) -> &[f64] {
        let members = self.count_members();
        let all = sum(&self.target_weights) * sum(&self.point_weights);
        if members == 0 || members == all {
            self.metrics.fill(0.0);
            self.metrics[..LEADING].fill(0.5);
            return &self.metrics;
        }
        self.limits.set(self.rates, all - members);
        if all <= MOST_IN_64_BITS {
            self.sweep::<i64>(entries, members, all - members);
        } else {
            self.sweep::<i128>(entries, members, all - members);
        }
        &self.metrics
    }

    fn sweep<N: Pairs>(&mut self, entries: &[Entry], members: u64, others: u64) {
        let mut sweep = Sweep::<N>::new(&self.limits, members, others, &mut self.metrics);
        let (mut members, mut others) = (0, 0);
        for entry in entries {
            // A product of two 16-bit numbers.
            let weight = u64::from(self.target_weights[entry.target()] * self.point_weights[entry.point()]);
            let as_member = weight & entry.if_member();
            members += as_member;
            others += weight - as_member;
            if entry.ends_group() {
                sweep.pass(members, others);
                (members, others) = (0, 0);
            }
        }
        sweep.finish();
    }

    /// How often members count.
    fn count_members(&self) -> u64 {
        let rows = self.labels.outer_iter().zip(&self.target_weights);
        rows.filter(|&(_, &target_weight)| target_weight > 0)
            .map(|(labels, &target_weight)| {
                let labels = labels.to_slice().expect("the standard layout");
                let parts = labels.chunks(ADDED).zip(self.point_weights.chunks(ADDED));
                let of_target = parts.map(|(labels, weights)| {
                    let of_members =
                        labels.iter().zip(weights).map(|(&label, weight)| u32::from(label) * weight);
                    u64::from(of_members.sum::<u32>())
                });
                u64::from(target_weight) * of_target.sum::<u64>()
            })
            .sum()
    }
}

fn sum(weights: &[u32]) -> u64 {
    weights.iter().map(|&weight| u64::from(weight)).sum()
}
