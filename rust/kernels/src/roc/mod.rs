//! Receiver operating characteristic of membership scores: the higher, the more likely a member.
//!
//! A threshold takes all entries of equal score at once, as in scikit-learn; -0 equals +0, infinities are legal
//! and sort at the ends. Counts are integers throughout, so no result depends on an order of summation.

mod resample;
mod sweep;

use std::num::NonZeroUsize;

use ndarray::{Array1, ArrayView1, ArrayView2, ArrayViewD, Dimension};

pub use self::resample::roc_resample;
use self::sweep::{LEADING, Limits, Sweep};
use crate::error::{KernelError, require_nonempty, require_shape};
use crate::{memory, parallel};

/// A ROC curve from the threshold that takes nothing to the one that takes everything; all float64.
#[derive(Debug, Clone, PartialEq)]
pub struct RocCurve {
    /// Share of the non-members taken at each threshold.
    pub false_positive_rates: Array1<f64>,
    /// Share of the members taken.
    pub true_positive_rates: Array1<f64>,
    /// Infinity (nothing is taken), then the distinct scores from the highest to the lowest.
    pub thresholds: Array1<f64>,
}

/// The ROC curve of `scores` with `labels` (true: member), with every distinct score as a threshold.
///
/// Equal to `sklearn.metrics.roc_curve(labels, scores, drop_intermediate=False)`. Errors: no entries, lengths that
/// differ, a NaN, labels all alike.
pub fn roc_curve(scores: ArrayView1<f64>, labels: ArrayView1<bool>) -> Result<RocCurve, KernelError> {
    let sorted = Sorted::new(scores.into_dyn(), labels.into_dyn(), NonZeroUsize::MIN)?;
    let (members, others) = (sorted.members.len() as f64, sorted.others.len() as f64);
    let room = || memory::room_for(scores.len() + 1);
    let (mut false_positives, mut true_positives, mut thresholds) = (room()?, room()?, room()?);
    false_positives.push(0.0);
    true_positives.push(0.0);
    thresholds.push(f64::INFINITY);
    let (mut taken_members, mut taken_others) = (0, 0);
    sorted.for_each_group(|key, members_here, others_here| {
        taken_members += members_here;
        taken_others += others_here;
        false_positives.push(taken_others as f64 / others);
        true_positives.push(taken_members as f64 / members);
        thresholds.push(score_of(key));
    });
    Ok(RocCurve {
        false_positive_rates: false_positives.into(),
        true_positive_rates: true_positives.into(),
        thresholds: thresholds.into(),
    })
}

/// Metrics of all entries of `scores` and `labels`, both `[targets, points]`, taken together; float64 `[2 + rates]`.
///
/// AUC, the best balanced accuracy `1 - (FPR + FNR) / 2` over all thresholds, and for each of the
/// `false_positive_rates` the largest true positive rate at a threshold whose false positive rate is not above it
/// (stepwise, nothing is interpolated).
///
/// Errors: an axis of length zero, shapes that differ, a NaN, labels all alike, rates outside [0, 1].
pub fn roc_metrics(
    scores: ArrayView2<f64>,
    labels: ArrayView2<bool>,
    false_positive_rates: ArrayView1<f64>,
    threads: NonZeroUsize,
) -> Result<Array1<f64>, KernelError> {
    let rates = check_rates(false_positive_rates)?;
    let sorted = Sorted::new(scores.into_dyn(), labels.into_dyn(), threads)?;
    let (members, others) = (sorted.members.len() as u64, sorted.others.len() as u64);
    let mut limits = Limits::default();
    limits.set(&rates, others);
    let mut metrics = vec![0.0; LEADING + rates.len()];
    let mut sweep = Sweep::<i128>::new(&limits, members, others, &mut metrics);
    sorted.for_each_group(|_, members, others| sweep.pass(members, others));
    sweep.finish();
    Ok(metrics.into())
}

/// An integer that is the smaller, the larger the score; equal for equal scores.
pub(crate) fn key_of(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits(); // -0 becomes +0
    let ascending = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    !ascending
}

/// The score that has this key.
fn score_of(key: u64) -> f64 {
    let ascending = !key;
    f64::from_bits(if ascending >> 63 == 1 { ascending & !(1 << 63) } else { !ascending })
}

/// The keys of members and of all others, each sorted: two plain sorts of integers are faster than one of pairs.
struct Sorted {
    members: Vec<u64>,
    others: Vec<u64>,
}

impl Sorted {
    fn new(
        scores: ArrayViewD<f64>,
        labels: ArrayViewD<bool>,
        threads: NonZeroUsize,
    ) -> Result<Self, KernelError> {
        check_scores(scores.view(), labels.view())?;
        let count = labels.iter().filter(|&&is_member| is_member).count();
        let (mut members, mut others) = (memory::room_for(count)?, memory::room_for(labels.len() - count)?);
        for (&score, &is_member) in scores.iter().zip(&labels) {
            if is_member { members.push(key_of(score)) } else { others.push(key_of(score)) }
        }
        if members.is_empty() || others.is_empty() {
            return Err(KernelError::Argument {
                argument: "labels",
                found: format!("{} everywhere", others.is_empty()),
                expected: "at least one member and one non-member".to_owned(),
            });
        }
        parallel::for_each(
            threads,
            vec![&mut members, &mut others],
            || Ok(()),
            |(), keys| {
                keys.sort_unstable();
                Ok(())
            },
        )?;
        Ok(Self { members, others })
    }

    /// Calls `visit` with the key and the numbers of members and others of each distinct score, from the highest.
    fn for_each_group(&self, mut visit: impl FnMut(u64, u64, u64)) {
        let (mut members, mut others) = (&self.members[..], &self.others[..]);
        while let Some(&key) = [members.first(), others.first()].into_iter().flatten().min() {
            visit(key, take_equal(&mut members, key), take_equal(&mut others, key));
        }
    }
}

/// Removes the leading entries that equal `key` and returns how many they were.
fn take_equal(keys: &mut &[u64], key: u64) -> u64 {
    let mut count = 0;
    while let Some((&first, rest)) = keys.split_first()
        && first == key
    {
        *keys = rest;
        count += 1;
    }
    count
}

pub(crate) fn check_scores(scores: ArrayViewD<f64>, labels: ArrayViewD<bool>) -> Result<(), KernelError> {
    require_nonempty("scores", scores.shape())?;
    require_shape("labels", labels.shape(), scores.shape(), "the shape of scores")?;
    // Whether there is one comes first: to iterate with positions takes much longer.
    if !scores.iter().any(|score| score.is_nan()) {
        return Ok(());
    }
    let mut positions = scores.indexed_iter().filter(|(_, score)| score.is_nan());
    let position = positions.next().map_or(Vec::new(), |(position, _)| position.slice().to_vec());
    Err(KernelError::Value {
        array: "scores",
        found: "NaN".to_owned(),
        position: format!("index {position:?}"),
        expected: "numbers or infinities",
    })
}

pub(crate) fn check_rates(rates: ArrayView1<f64>) -> Result<Vec<f64>, KernelError> {
    let outside = rates.iter().find(|rate| !(0.0..=1.0).contains(*rate));
    outside.map_or(Ok(rates.to_vec()), |rate| {
        Err(KernelError::Argument {
            argument: "false_positive_rates",
            found: format!("{rates}, with {rate}"),
            expected: "rates from 0 to 1".to_owned(),
        })
    })
}
