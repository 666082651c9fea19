//! The threshold going down through the scores, and what it passes.

use std::ops::{AddAssign, Sub};

/// How many columns precede the true positive rates in a row of metrics: AUC and balanced accuracy.
pub(crate) const LEADING: usize = 2;

/// False positive rates as counts: the most false positives that each allows, in increasing order.
#[derive(Default)]
pub(crate) struct Limits {
    /// The count, and the position of the rate in the list as it was given.
    counts: Vec<(u64, usize)>,
}

impl Limits {
    /// Takes over `rates` in [0, 1] among `others` non-members.
    pub(crate) fn set(&mut self, rates: &[f64], others: u64) {
        self.counts.clear();
        self.counts
            .extend(rates.iter().enumerate().map(|(index, &rate)| (most_allowed(rate, others), index)));
        self.counts.sort_unstable();
    }
}

/// The largest `n` with `n / total <= rate` in float64, as a comparison of rates would find it.
fn most_allowed(rate: f64, total: u64) -> u64 {
    let allowed = |n: u64| n as f64 / total as f64 <= rate;
    let estimate = (rate * total as f64) as u64;
    let mut n = estimate.min(total);
    while n > 0 && !allowed(n) {
        n -= 1;
    }
    while n < total && allowed(n + 1) {
        n += 1;
    }
    n
}

/// Numbers of pairs of a member and a non-member: 64 bits take half the time of 128 and hold them for nearly all data.
pub(crate) trait Pairs: Copy + Default + Ord + AddAssign + Sub<Output = Self> {
    /// The product of two counts.
    fn product(a: u64, b: u64) -> Self;
    fn to_f64(self) -> f64;
}

/// So many entries, or weights of entries, have fewer than 2^63 doubled pairs.
pub(crate) const MOST_IN_64_BITS: u64 = u32::MAX as u64;

impl Pairs for i64 {
    #[inline]
    fn product(a: u64, b: u64) -> Self {
        (a * b) as i64
    }

    fn to_f64(self) -> f64 {
        self as f64
    }
}

impl Pairs for i128 {
    /// The counts are far below the 2^63 that would make it overflow.
    #[inline]
    fn product(a: u64, b: u64) -> Self {
        i128::from(a) * i128::from(b)
    }

    fn to_f64(self) -> f64 {
        self as f64
    }
}

/// Metrics of a ROC curve, from its steps in order of decreasing score; exact until the last division.
pub(crate) struct Sweep<'a, N> {
    limits: &'a [(u64, usize)],
    /// The first of the limits; what no count exceeds if there are none left.
    next_limit: u64,
    /// Totals, both positive.
    members: u64,
    others: u64,
    true_positives: u64,
    false_positives: u64,
    /// Twice the area under the curve, in pairs of a member and a non-member.
    doubled_area: N,
    /// Largest true positive rate - false positive rate so far, in the same unit.
    largest_gap: N,
    metrics: &'a mut [f64],
}

impl<'a, N: Pairs> Sweep<'a, N> {
    /// Will fill `metrics`, `[AUC, balanced accuracy, TPR at each limit]`, given the totals.
    pub(crate) fn new(limits: &'a Limits, members: u64, others: u64, metrics: &'a mut [f64]) -> Self {
        Self {
            limits: &limits.counts,
            next_limit: first(&limits.counts),
            members,
            others,
            true_positives: 0,
            false_positives: 0,
            doubled_area: N::default(),
            largest_gap: N::default(),
            metrics,
        }
    }

    /// The threshold passes a group of entries of equal score.
    #[inline]
    pub(crate) fn pass(&mut self, members: u64, others: u64) {
        self.doubled_area += N::product(others, 2 * self.true_positives + members);
        self.false_positives += others;
        if self.false_positives > self.next_limit {
            self.reach_limits();
        }
        self.true_positives += members;
        let gap =
            N::product(self.true_positives, self.others) - N::product(self.false_positives, self.members);
        self.largest_gap = self.largest_gap.max(gap);
    }

    /// Writes down the true positive rates of the limits that were just exceeded.
    #[cold]
    fn reach_limits(&mut self) {
        while let Some((&(limit, index), rest)) = self.limits.split_first()
            && self.false_positives > limit
        {
            self.metrics[LEADING + index] = self.true_positives as f64 / self.members as f64;
            self.limits = rest;
        }
        self.next_limit = first(self.limits);
    }

    /// All entries are passed.
    pub(crate) fn finish(self) {
        for &(_, index) in self.limits {
            self.metrics[LEADING + index] = 1.0;
        }
        let pairs = N::product(self.members, self.others).to_f64();
        self.metrics[0] = 0.5 * self.doubled_area.to_f64() / pairs;
        self.metrics[1] = 0.5 + 0.5 * self.largest_gap.to_f64() / pairs;
    }
}

fn first(limits: &[(u64, usize)]) -> u64 {
    limits.first().map_or(u64::MAX, |&(limit, _)| limit)
}
