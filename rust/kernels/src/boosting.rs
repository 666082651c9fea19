//! Gradient-boosted trees that tell members from non-members, small and quick.
//!
//! The trees of LightGBM (Ke et al. 2017) with the logistic loss: features are cut into bins, a tree grows at the leaf
//! whose split gains most, and the gain of a split is what `G^2 / H` of its sides exceeds that of the leaf by, with the
//! sums `G` and `H` of the first and second derivatives of the loss. Rows in a bin are counted by their share of `H`.
//!
//! Derivatives are rounded to integers, the two of a row in one number, so that a histogram takes one addition per row
//! and feature, and sums are exact: no order of rows, number of threads or instruction set changes a bit.

use std::ops::Range;

use multiversion::multiversion;
use ndarray::{Array1, ArrayView1, ArrayView2, Axis};

use crate::error::{KernelError, require_nonempty, require_shape};
use crate::logits::math::exp;
use crate::memory;

/// Numbers that bins can have: a bin is one byte and its boundaries are found in a fixed number of steps.
const MOST_BINS: usize = 64;

/// Rows that boundaries of bins are chosen by; more of them take longer to sort and make no better ones.
const SAMPLE: usize = 2000;

/// More rows than these would overflow the sums.
const MOST_ROWS: usize = 1 << 24;

/// Sums of second derivatives in a leaf are at least this: no leaf's value is without bounds.
const LEAST_CURVATURE: f64 = 1e-3;

/// Rows of the input that are turned into bins together: they fit the cache.
const TILE: usize = 128;

/// How trees are grown.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// How many.
    pub trees: usize,
    /// Leaves of a tree, at least 2.
    pub leaves: usize,
    /// What a leaf's value is multiplied by, in (0, 1].
    pub rate: f64,
    /// Rows in a leaf, about.
    pub least_rows: usize,
    /// Bins of a feature, from 2 to 64.
    pub bins: usize,
    /// Share of the features that a tree may look at, in (0, 1].
    pub share: f64,
    /// For the choice of these.
    pub seed: u64,
}

/// What trees add to the log-odds `start` of the rows that they learn from, for each query: float64 `[queries]`.
///
/// `rows` is `[rows, features]`, `labels` and `start` `[rows]`, `queries` `[queries, features]`.
///
/// Errors: an axis of length zero, shapes that do not fit, more than 16,777,216 rows, numbers that are not finite, a
/// recipe outside its domain.
pub fn boosted_log_odds(
    rows: ArrayView2<f32>,
    labels: ArrayView1<bool>,
    start: ArrayView1<f64>,
    queries: ArrayView2<f32>,
    recipe: &Recipe,
) -> Result<Array1<f64>, KernelError> {
    check(rows, labels, start, queries, recipe)?;
    let binned = Binned::new(rows, recipe.bins)?;
    let mut grower = Grower::new(&binned, labels, start, recipe)?;
    let mut added = memory::zeros(queries.nrows())?;
    let mut random = recipe.seed;
    for _ in 0..recipe.trees {
        let tree = grower.grow(&mut random);
        for (added, query) in added.iter_mut().zip(queries.outer_iter()) {
            *added += tree.value(query);
        }
    }
    Ok(added)
}

fn check(
    rows: ArrayView2<f32>,
    labels: ArrayView1<bool>,
    start: ArrayView1<f64>,
    queries: ArrayView2<f32>,
    recipe: &Recipe,
) -> Result<(), KernelError> {
    require_nonempty("rows", rows.shape())?;
    require_nonempty("queries", queries.shape())?;
    require_shape("labels", labels.shape(), &rows.shape()[..1], "rows")?;
    require_shape("start", start.shape(), &rows.shape()[..1], "rows")?;
    require_shape("queries", &queries.shape()[1..], &rows.shape()[1..], "features of rows")?;
    let require = |argument, found: String, expected: &str, is_legal: bool| match is_legal {
        true => Ok(()),
        false => Err(KernelError::Argument { argument, found, expected: expected.to_owned() }),
    };
    let Recipe { leaves, rate, bins, share, .. } = *recipe;
    require("rows", format!("{} of them", rows.nrows()), "at most 16777216", rows.nrows() <= MOST_ROWS)?;
    require("leaves", leaves.to_string(), "at least 2", leaves >= 2)?;
    require("rate", rate.to_string(), "above 0 and at most 1", rate > 0.0 && rate <= 1.0)?;
    require("bins", bins.to_string(), "from 2 to 64", (2..=MOST_BINS).contains(&bins))?;
    require("share", share.to_string(), "above 0 and at most 1", share > 0.0 && share <= 1.0)?;
    for (array, values) in [("rows", rows), ("queries", queries)] {
        if let Some((row, value)) = values
            .indexed_iter()
            .find_map(|((row, _), value)| if value.is_finite() { None } else { Some((row, value)) })
        {
            return Err(KernelError::not_finite(array, value, format!("row {row}")));
        }
    }
    match start.iter().enumerate().find(|(_, start)| !start.is_finite()) {
        Some((row, start)) => Err(KernelError::not_finite("start", start, format!("row {row}"))),
        None => Ok(()),
    }
}

/// Those between the bins of a feature, ascending; in place of those that there are not, and at the end, infinities.
type Boundaries = [f32; MOST_BINS];

/// Sums of derivatives in each bin of a feature.
type Histogram = [i64; MOST_BINS];

/// Features of all rows as bins: the number of boundaries that a value is above.
struct Binned {
    rows: usize,
    /// Of each feature.
    boundaries: Vec<Boundaries>,
    /// Feature by feature.
    bins: Vec<u8>,
}

impl Binned {
    fn new(rows: ArrayView2<f32>, bins: usize) -> Result<Self, KernelError> {
        let (count, features) = rows.dim();
        let sampled = count.min(SAMPLE);
        let mut values = memory::filled(0.0, sampled)?;
        let mut boundaries = memory::filled([f32::INFINITY; MOST_BINS], features)?;
        for (feature, boundaries) in rows.columns().into_iter().zip(&mut boundaries) {
            for (index, value) in values.iter_mut().enumerate() {
                *value = feature[index * count / sampled];
            }
            values.sort_unstable_by(f32::total_cmp);
            let quantiles = (1..bins).map(|bin| values[(bin * sampled / bins).min(sampled - 1)]);
            let mut last = f32::NAN;
            // Nothing lies above the largest value.
            let distinct = quantiles.filter(|&value| {
                let is_new = value != last && value < values[sampled - 1];
                last = value;
                is_new
            });
            boundaries.iter_mut().zip(distinct).for_each(|(boundary, value)| *boundary = value);
        }
        let mut binned = memory::filled(0, count * features)?;
        let mut tile = memory::filled(0.0, TILE)?;
        for (first, rows) in (0..count).step_by(TILE).zip(rows.axis_chunks_iter(Axis(0), TILE)) {
            for ((column, boundaries), bins) in
                rows.columns().into_iter().zip(&boundaries).zip(binned.chunks_exact_mut(count))
            {
                tile.iter_mut().zip(column).for_each(|(copy, value)| *copy = *value);
                find_bins(&tile[..rows.nrows()], boundaries, &mut bins[first..first + rows.nrows()]);
            }
        }
        Ok(Self { rows: count, boundaries, bins: binned })
    }

    fn feature(&self, feature: usize) -> &[u8] {
        &self.bins[feature * self.rows..][..self.rows]
    }
}

/// Bins by binary search, without branches that would be taken at random.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw", "x86_64+avx2"))]
fn find_bins(values: &[f32], boundaries: &Boundaries, bins: &mut [u8]) {
    for (bin, &value) in bins.iter_mut().zip(values) {
        let mut below = 0_u32;
        for step in [32, 16, 8, 4, 2, 1] {
            let is_above = boundaries[(below + step - 1) as usize % MOST_BINS] < value;
            below += if is_above { step } else { 0 };
        }
        *bin = below as u8;
    }
}

/// First and second derivatives as integers, in units so small that no sum over the rows overflows.
#[derive(Debug, Clone, Copy)]
struct Units {
    first: f64,
    second: f64,
}

impl Units {
    fn of_rows(rows: usize) -> Self {
        // A first derivative is within [-1, 1], a second one within [0, 1/4]: no sum of either is above 2^30 by much.
        let first = (1_u64 << (30 - rows.next_power_of_two().trailing_zeros())) as f64;
        Self { first, second: 4.0 * first }
    }

    /// Both derivatives from a sum of `pack`.
    fn unpack(self, sum: i64) -> (f64, f64) {
        ((sum >> 32) as f64 / self.first, (sum & 0xffff_ffff) as f64 / self.second)
    }
}

/// The derivatives of each row's loss, the first one in the upper half.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq", "x86_64+avx2"))]
fn derive(log_odds: &[f32], signs: &[f32], units: Units, derivatives: &mut [i64]) {
    for ((derivative, &log_odds), &sign) in derivatives.iter_mut().zip(log_odds).zip(signs) {
        // Of log(1 + exp(-margin)); the smaller of both probabilities comes from the exponential.
        let margin = sign * log_odds;
        let power = exp(-margin.abs());
        let (smaller, larger) = (power / (1.0 + power), 1.0 / (1.0 + power));
        let wrong = if margin > 0.0 { smaller } else { larger };
        let first = (-sign * wrong) * units.first as f32;
        let second = smaller * larger * units.second as f32;
        // Rounded to the nearest; the second one is not negative.
        let first = (first + 0.5_f32.copysign(first)) as i32;
        let second = (second + 0.5) as i32;
        *derivative = (i64::from(first) << 32) + i64::from(second);
    }
}

/// A leaf of a tree that grows.
struct Leaf {
    /// Its rows among all of them in order.
    rows: Range<usize>,
    sum: i64,
    /// Which histograms are its.
    histograms: usize,
    split: Option<Split>,
    /// The node that it hangs at, and on which side.
    parent: Option<(usize, Side)>,
}

/// Rows whose bin is at most this go left.
#[derive(Debug, Clone, Copy)]
struct Split {
    feature: usize,
    bin: usize,
    gain: f64,
    left: i64,
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// What grows trees, one after another, on log-odds that they correct.
struct Grower<'a> {
    binned: &'a Binned,
    recipe: &'a Recipe,
    units: Units,
    /// 1 for members, else -1.
    signs: Vec<f32>,
    log_odds: Vec<f32>,
    derivatives: Vec<i64>,
    /// All rows, those of a leaf side by side and ascending, and room for them and for their derivatives.
    order: Vec<u32>,
    spare: Vec<u32>,
    gathered: Vec<i64>,
    /// All features, those that a tree may look at first.
    features: Vec<usize>,
    chosen: usize,
    /// Of each leaf, for each of the chosen features.
    histograms: Vec<Vec<Histogram>>,
}

impl<'a> Grower<'a> {
    fn new(
        binned: &'a Binned,
        labels: ArrayView1<bool>,
        start: ArrayView1<f64>,
        recipe: &'a Recipe,
    ) -> Result<Self, KernelError> {
        let (rows, features) = (binned.rows, binned.boundaries.len());
        let chosen = ((recipe.share * features as f64).round() as usize).max(1);
        let mut signs = memory::room_for(rows)?;
        signs.extend(labels.iter().map(|&is_member| if is_member { 1.0 } else { -1.0 }));
        let mut log_odds = memory::room_for(rows)?;
        log_odds.extend(start.iter().map(|&start| start.clamp(-1e4, 1e4) as f32));
        let mut all = memory::room_for(features)?;
        all.extend(0..features);
        let mut histograms = memory::room_for(recipe.leaves)?;
        for _ in 0..recipe.leaves {
            histograms.push(memory::filled([0; MOST_BINS], chosen)?);
        }
        Ok(Self {
            binned,
            recipe,
            units: Units::of_rows(rows),
            signs,
            log_odds,
            derivatives: memory::filled(0, rows)?,
            order: memory::filled(0, rows)?,
            spare: memory::filled(0, rows)?,
            gathered: memory::filled(0, rows)?,
            features: all,
            chosen,
            histograms,
        })
    }

    /// The next tree, whose values are added to the log-odds.
    fn grow(&mut self, random: &mut u64) -> Tree {
        derive(&self.log_odds, &self.signs, self.units, &mut self.derivatives);
        for (place, row) in (0..).zip(&mut self.order) {
            *row = place;
        }
        for place in 0..self.chosen {
            let other = place + below(random, self.features.len() - place);
            self.features.swap(place, other);
        }
        let mut root = Leaf {
            rows: 0..self.binned.rows,
            sum: self.derivatives.iter().sum(),
            histograms: 0,
            split: None,
            parent: None,
        };
        self.count(root.rows.clone(), 0);
        root.split = self.best_split(&root);
        let mut leaves = vec![root];
        let mut tree = Tree { nodes: Vec::new(), values: Vec::new() };
        while leaves.len() < self.recipe.leaves {
            let splits = leaves.iter().enumerate().filter_map(|(leaf, of)| Some((leaf, of.split?)));
            // Of equal gains that of the first leaf.
            let best = splits.max_by(|(a, x), (b, y)| x.gain.total_cmp(&y.gain).then(b.cmp(a)));
            let Some((leaf, split)) = best else { break };
            let (left, right) = self.divide(&leaves[leaf], split, leaves.len());
            let node = tree.nodes.len();
            if let Some(parent) = leaves[leaf].parent {
                tree.attach(parent, Child::Node(node));
            }
            let boundary = self.binned.boundaries[split.feature][split.bin];
            let children = [Child::Leaf(leaf), Child::Leaf(leaves.len())];
            tree.nodes.push(Node { feature: split.feature, boundary, children });
            leaves[leaf] = Leaf { parent: Some((node, Side::Left)), ..left };
            leaves.push(Leaf { parent: Some((node, Side::Right)), ..right });
        }
        if tree.nodes.is_empty() {
            return tree;
        }
        for leaf in &leaves {
            let (first, second) = self.units.unpack(leaf.sum);
            let value = -self.recipe.rate * first / second.max(LEAST_CURVATURE);
            for &row in &self.order[leaf.rows.clone()] {
                self.log_odds[row as usize] += value as f32;
            }
            tree.values.push(value);
        }
        tree
    }

    /// Both sides of a leaf; the left one takes its place, the right one is the leaf number `next`.
    fn divide(&mut self, leaf: &Leaf, split: Split, next: usize) -> (Leaf, Leaf) {
        let bins = self.binned.feature(split.feature);
        let rows = &mut self.order[leaf.rows.clone()];
        let (mut lefts, mut rights) = (0, 0);
        for place in 0..rows.len() {
            let row = rows[place];
            let is_left = usize::from(bins[row as usize]) <= split.bin;
            // Both are written, one of them counts: no branch, which would be taken at random.
            rows[lefts] = row;
            self.spare[rights] = row;
            lefts += usize::from(is_left);
            rights += usize::from(!is_left);
        }
        rows[lefts..].copy_from_slice(&self.spare[..rights]);
        let middle = leaf.rows.start + lefts;
        let (left, right) = (leaf.rows.start..middle, middle..leaf.rows.end);
        let [mut left, mut right] = [(left, split.left), (right, leaf.sum - split.left)]
            .map(|(rows, sum)| Leaf { rows, sum, histograms: leaf.histograms, split: None, parent: None });
        // The smaller one is counted, the other one is the rest.
        let smaller = if left.rows.len() <= right.rows.len() { &mut left } else { &mut right };
        smaller.histograms = next;
        self.count(smaller.rows.clone(), next);
        let (before, counted) = self.histograms.split_at_mut(next);
        let rest = before[leaf.histograms].as_flattened_mut().iter_mut();
        rest.zip(counted[0].as_flattened()).for_each(|(rest, counted)| *rest -= counted);
        left.split = self.best_split(&left);
        right.split = self.best_split(&right);
        (left, right)
    }

    /// Fills the histograms of that number with some of the rows in order.
    fn count(&mut self, rows: Range<usize>, histograms: usize) {
        let order = &self.order[rows];
        let gathered = &mut self.gathered[..order.len()];
        for (gathered, &row) in gathered.iter_mut().zip(order) {
            *gathered = self.derivatives[row as usize];
        }
        for (histogram, &feature) in self.histograms[histograms].iter_mut().zip(&self.features) {
            let bins = self.binned.feature(feature);
            *histogram = if order.len() == bins.len() {
                sum_by_bin(bins.iter().copied(), gathered)
            } else {
                sum_by_bin(order.iter().map(|&row| bins[row as usize]), gathered)
            };
        }
    }

    /// The split of a leaf that gains most, if any gains something and leaves enough on both sides.
    fn best_split(&self, leaf: &Leaf) -> Option<Split> {
        let (first, second) = self.units.unpack(leaf.sum);
        let rows_per_curvature = leaf.rows.len() as f64 / second;
        let enough = self.recipe.least_rows as f64;
        let of_leaf = first * first / second;
        let mut best: Option<Split> = None;
        for (histogram, &feature) in self.histograms[leaf.histograms].iter().zip(&self.features) {
            let mut left = 0;
            for (bin, sum) in histogram[..MOST_BINS - 1].iter().enumerate() {
                left += sum;
                let (first_left, second_left) = self.units.unpack(left);
                let (first_right, second_right) = self.units.unpack(leaf.sum - left);
                if (second_left * rows_per_curvature).round() < enough || second_left < LEAST_CURVATURE {
                    continue;
                }
                if (second_right * rows_per_curvature).round() < enough || second_right < LEAST_CURVATURE {
                    break;
                }
                let both = first_left * first_left * second_right + first_right * first_right * second_left;
                let gain = both / (second_left * second_right) - of_leaf;
                if gain > best.map_or(0.0, |best| best.gain) {
                    best = Some(Split { feature, bin, gain, left });
                }
            }
        }
        best
    }
}

/// Sums of derivatives bin by bin; in several histograms by turns, as the next row often falls into the same bin.
#[inline(always)]
fn sum_by_bin(bins: impl Iterator<Item = u8>, derivatives: &[i64]) -> Histogram {
    const TURNS: usize = 4;
    let mut sums = [[0_i64; MOST_BINS]; TURNS];
    for (row, (bin, derivative)) in bins.zip(derivatives).enumerate() {
        sums[row % TURNS][usize::from(bin) % MOST_BINS] += derivative;
    }
    std::array::from_fn(|bin| sums.iter().map(|sums| sums[bin]).sum())
}

struct Tree {
    nodes: Vec<Node>,
    values: Vec<f64>,
}

struct Node {
    feature: usize,
    /// Values up to this go left.
    boundary: f32,
    children: [Child; 2],
}

#[derive(Debug, Clone, Copy)]
enum Child {
    Node(usize),
    Leaf(usize),
}

impl Tree {
    fn attach(&mut self, (node, side): (usize, Side), child: Child) {
        self.nodes[node].children[side as usize] = child;
    }

    fn value(&self, features: ArrayView1<f32>) -> f64 {
        let mut place = if self.nodes.is_empty() { return 0.0 } else { Child::Node(0) };
        loop {
            match place {
                Child::Leaf(leaf) => return self.values[leaf],
                Child::Node(node) => {
                    let Node { feature, boundary, children } = &self.nodes[node];
                    place = children[usize::from(features[*feature] > *boundary)];
                }
            }
        }
    }
}

/// A random number below `end`, from SplitMix64 (Steele, Lea and Flood 2014).
fn below(state: &mut u64, end: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((u128::from(mixed ^ (mixed >> 31)) * end as u128) >> 64) as usize
}
