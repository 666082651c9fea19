//! The scaled logits of all models at one point, ready to be compared class by class.

use std::mem;
use std::ops::Range;

use ndarray::{Array2, ArrayView1, ArrayView2, ArrayView4};

use crate::error::KernelError;
use crate::lanes::{LANES, Lane};
use crate::logits::{BLOCK, Block, FoundNan, Logit, Odds};
use crate::memory;

/// float64 lanes of the models in one block of float32 logits.
pub(crate) const LANES_PER_BLOCK: usize = BLOCK / LANES;

/// The predictions of all models at one point, IN models first.
///
/// Each model has a slot: slot `s` is lane `s % BLOCK` of block `s / BLOCK`, and in float64 lane `s % LANES` of lanes
/// `s / LANES`. OUT models start with a new block.
pub(crate) struct Slots {
    pub(crate) of_model: Vec<usize>,
    /// How many models are IN, and OUT; and which float64 lanes they fill.
    pub(crate) counts: [usize; 2],
    pub(crate) ranges: [Range<usize>; 2],
    /// 1 in the slots that hold a model, else 0.
    pub(crate) filled: Vec<Lane>,
    blocks: Vec<Block>,
    /// Every block's odds, augmentation by augmentation.
    odds: Vec<Vec<Odds>>,
    /// Which classes are scaled already, augmentation by augmentation.
    is_scaled: Array2<bool>,
}

impl Slots {
    /// Room for a point of `predictions`, `[models, points, augmentations, classes]`.
    pub(crate) fn for_predictions<T>(predictions: ArrayView4<T>) -> Result<Self, KernelError> {
        let (models, _, augmentations, classes) = predictions.dim();
        let blocks = most_blocks(models);
        Ok(Self {
            of_model: memory::filled(0, models)?,
            counts: [0; 2],
            ranges: [0..0, 0..0],
            filled: memory::filled([0.0; LANES], blocks * LANES_PER_BLOCK)?,
            blocks: (0..blocks).map(|_| Block::new(augmentations, classes)).collect::<Result<_, _>>()?,
            odds: (0..blocks)
                .map(|_| memory::filled(Odds::default(), augmentations))
                .collect::<Result<_, _>>()?,
            is_scaled: memory::zeros((augmentations, classes))?,
        })
    }

    /// Gives every model its slot at a point with the given membership.
    pub(crate) fn assign_slots(&mut self, membership: ArrayView1<bool>) {
        let count_in = membership.iter().filter(|&&is_in| is_in).count();
        self.counts = [count_in, membership.len() - count_in];
        let starts = [0, count_in.next_multiple_of(BLOCK)];
        self.ranges = [0, 1].map(|side| {
            let start = starts[side] / LANES;
            start..start + self.counts[side].div_ceil(LANES)
        });
        self.filled.fill([0.0; LANES]);
        let mut next = starts;
        for (slot, &is_in) in self.of_model.iter_mut().zip(membership) {
            let next = &mut next[usize::from(!is_in)];
            *slot = *next;
            self.filled[*slot / LANES][*slot % LANES] = 1.0;
            *next += 1;
        }
    }

    /// Takes over the logits of one model, `[augmentations, classes]`.
    pub(crate) fn load<T: Logit>(&mut self, model: usize, logits: ArrayView2<T>) -> Result<(), FoundNan> {
        let slot = self.of_model[model];
        self.blocks[slot / BLOCK].load(slot % BLOCK, logits)
    }

    /// Finds the odds once the logits of all models are loaded.
    pub(crate) fn find_odds(&mut self) {
        self.is_scaled.fill(false);
        let used = self.ranges[1].end.div_ceil(LANES_PER_BLOCK);
        for (block, odds) in self.blocks.iter_mut().zip(&mut self.odds).take(used) {
            for (augmentation, odds) in odds.iter_mut().enumerate() {
                *odds = block.find_odds(augmentation);
            }
        }
    }

    /// The scaled logits of the class that the model in a slot holds most likely under an augmentation, slot by slot.
    ///
    /// A class is scaled when it is first needed: models mostly agree, so that few classes are.
    pub(crate) fn of_top_class(
        &mut self,
        slot: usize,
        augmentation: usize,
    ) -> impl Iterator<Item = &[f32; BLOCK]> {
        let class = self.odds[slot / BLOCK][augmentation].top_class[slot % BLOCK] as usize;
        if !mem::replace(&mut self.is_scaled[[augmentation, class]], true) {
            for (block, odds) in self.blocks.iter_mut().zip(&self.odds) {
                block.scale_class(augmentation, class, &odds[augmentation]);
            }
        }
        self.blocks.iter().map(move |block| &block.augmentation(augmentation)[class])
    }
}

/// Blocks that any split of so many models into two sides fits in.
pub(crate) fn most_blocks(models: usize) -> usize {
    models.div_ceil(BLOCK) + 1
}
