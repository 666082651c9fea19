//! The element types that logits may have.

use half::f16;
use half::slice::HalfFloatSliceExt;
use ndarray::{ArrayView, Dimension};

/// float32 or float16, read in small blocks as float32.
pub trait Logit: Copy + Send + Sync {
    /// The values of `view` in row-major order: borrowed where they already lie so, else put into `buffer`.
    fn widen<'a, D: Dimension>(view: ArrayView<'a, Self, D>, buffer: &'a mut Vec<f32>) -> &'a [f32];
}

impl Logit for f32 {
    fn widen<'a, D: Dimension>(view: ArrayView<'a, Self, D>, buffer: &'a mut Vec<f32>) -> &'a [f32] {
        if let Some(values) = view.to_slice() {
            return values;
        }
        buffer.clear();
        buffer.extend(view.iter());
        buffer
    }
}

impl Logit for f16 {
    fn widen<'a, D: Dimension>(view: ArrayView<'a, Self, D>, buffer: &'a mut Vec<f32>) -> &'a [f32] {
        if let Some(values) = view.to_slice() {
            buffer.resize(values.len(), 0.0);
            values.convert_to_f32_slice(buffer);
        } else {
            buffer.clear();
            buffer.extend(view.iter().map(|value| value.to_f32()));
        }
        buffer
    }
}
