//! The threshold going down through the scores, and what it passes.

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

/// Metrics of a ROC curve, from its steps in order of decreasing score; exact until the last division.
pub(crate) struct Sweep<'a> {
    limits: &'a [(u64, usize)],
    /// Totals, both positive.
    members: u64,
    others: u64,
    true_positives: u64,
    false_positives: u64,
    /// Twice the area under the curve, in pairs of a member and a non-member.
    doubled_area: i128,
    /// Largest true positive rate - false positive rate so far, in the same unit.
    largest_gap: i128,
    metrics: &'a mut [f64],
}

impl<'a> Sweep<'a> {
    /// Will fill `metrics`, `[AUC, balanced accuracy, TPR at each limit]`, given the totals.
    pub(crate) fn new(limits: &'a Limits, members: u64, others: u64, metrics: &'a mut [f64]) -> Self {
        Self {
            limits: &limits.counts,
            members,
            others,
            true_positives: 0,
            false_positives: 0,
            doubled_area: 0,
            largest_gap: 0,
            metrics,
        }
    }

    /// The threshold passes a group of entries of equal score.
    #[inline]
    pub(crate) fn pass(&mut self, members: u64, others: u64) {
        self.doubled_area += product(others, 2 * self.true_positives + members);
        self.false_positives += others;
        self.reach_limits();
        self.true_positives += members;
        let gap = product(self.true_positives, self.others) - product(self.false_positives, self.members);
        self.largest_gap = self.largest_gap.max(gap);
    }

    /// Writes down the true positive rates of the limits that were just exceeded.
    #[inline]
    fn reach_limits(&mut self) {
        while let Some((&(limit, index), rest)) = self.limits.split_first()
            && self.false_positives > limit
        {
            self.metrics[LEADING + index] = self.true_positives as f64 / self.members as f64;
            self.limits = rest;
        }
    }

    /// All entries are passed.
    pub(crate) fn finish(self) {
        for &(_, index) in self.limits {
            self.metrics[LEADING + index] = 1.0;
        }
        let pairs = product(self.members, self.others) as f64;
        self.metrics[0] = 0.5 * self.doubled_area as f64 / pairs;
        self.metrics[1] = 0.5 + 0.5 * self.largest_gap as f64 / pairs;
    }
}

/// The product of two counts, which are far below the 2^63 that would make it overflow.
#[inline]
fn product(a: u64, b: u64) -> i128 {
    i128::from(a) * i128::from(b)
}
