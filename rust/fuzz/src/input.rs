//! Bytes to arguments: arrays of awkward shapes, values and strides.

use half::f16;
use ndarray::{Array, Array1, ArrayView, Dimension, IntoDimension, Ix1, ShapeBuilder, Slice};

/// No array has more elements: a case should take less than a millisecond, and faults do not need large arrays.
const MOST_ELEMENTS: usize = 4000;

/// Reads decisions off the bytes of one case; zeros when they are used up.
pub struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// All decisions of one case.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        byte
    }

    fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// A number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        (self.word() % count as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A shape with axes up to the given lengths; an axis is short or empty more often than by chance.
    pub fn shape<const N: usize>(&mut self, longest: [usize; N]) -> [usize; N] {
        let mut shape = longest.map(|longest| match self.below(40) {
            0 => 0,
            1..8 => 1,
            8..20 => self.below(longest.min(5)) + 1,
            _ => self.below(longest) + 1,
        });
        while shape.iter().product::<usize>() > MOST_ELEMENTS {
            *shape.iter_mut().max().expect("a shape has axes") /= 2;
        }
        shape
    }

    /// `shape`, but once in a while not.
    pub fn nearly<const N: usize>(&mut self, mut shape: [usize; N]) -> [usize; N] {
        if self.once_in(40) {
            let axis = self.below(N);
            shape[axis] = self.pick(&[0, 1, shape[axis] + 1, shape[axis].saturating_sub(1)]);
        }
        shape
    }

    /// The index of one of so many models, but once in a while not.
    pub fn target(&mut self, models: usize) -> i64 {
        match self.below(40) {
            0 => self.pick(&[-1, models as i64, i64::MIN, i64::MAX]),
            _ => self.below(models.max(1)) as i64,
        }
    }

    /// A few of them.
    pub fn targets(&mut self, models: usize) -> Laid<i64, Ix1> {
        let count = self.below(6);
        let targets = Array1::from_iter((0..count).map(|_| self.target(models)));
        self.lay(targets)
    }

    /// A number in `usual`, or one of `special`, or any.
    pub fn parameter(&mut self, usual: std::ops::Range<f64>, special: &[f64]) -> f64 {
        match self.below(16) {
            0 => f64::from_bits(self.word()),
            1..4 => self.pick(special),
            _ => usual.start + (usual.end - usual.start) * (self.below(1 << 20) as f64 / (1 << 20) as f64),
        }
    }

    /// An array in some memory layout. What lies between its elements is `T::GAP`, which would be noticed.
    pub fn array<T: Value, D: Dimension>(&mut self, shape: impl IntoDimension<Dim = D>) -> Laid<T, D> {
        let kind = T::pick_kind(self);
        let mut state = self.word();
        let values = Array::from_shape_simple_fn(shape, || T::draw(kind, &mut state));
        self.lay(values)
    }

    /// The values in some memory layout: C or Fortran order, axes backwards or with gaps.
    pub fn lay<T: Value, D: Dimension>(&mut self, values: Array<T, D>) -> Laid<T, D> {
        let is_plain = self.once_in(2);
        let mut steps = vec![1; values.ndim()];
        if !is_plain {
            steps.fill_with(|| self.pick(&[1, 1, 2, -1, -2]));
        }
        let mut room = values.raw_dim();
        for (length, step) in room.slice_mut().iter_mut().zip(&steps) {
            *length *= isize::unsigned_abs(*step);
        }
        let is_fortran = !is_plain && self.once_in(2);
        let memory = Array::from_elem(room.set_f(is_fortran), T::GAP);
        let mut laid = Laid { memory, steps };
        laid.memory
            .slice_each_axis_mut(|axis| Slice::new(0, None, laid.steps[axis.axis.index()]))
            .assign(&values);
        laid
    }
}

/// An array with its memory layout.
pub struct Laid<T, D> {
    memory: Array<T, D>,
    steps: Vec<isize>,
}

impl<T: Value, D: Dimension> Laid<T, D> {
    /// The array as the kernel gets it.
    pub fn view(&self) -> ArrayView<'_, T, D> {
        self.memory.slice_each_axis(|axis| Slice::new(0, None, self.steps[axis.axis.index()]))
    }

    /// The same values in C order.
    pub fn plain(&self) -> Array<T, D> {
        let view = self.view();
        Array::from_shape_vec(view.raw_dim(), view.iter().copied().collect()).expect("as many as there are")
    }

    /// Whether any element is such.
    pub fn any(&self, is_such: impl Fn(T) -> bool) -> bool {
        self.view().iter().any(|&value| is_such(value))
    }
}

/// Element types, and what they are filled with.
pub trait Value: Copy {
    /// What fills the gaps between the elements of an array with strides.
    const GAP: Self;

    /// Which values an array has.
    fn pick_kind(_: &mut Bytes) -> Kind {
        Kind::Ordinary
    }

    /// The next value of an array.
    fn draw(kind: Kind, state: &mut u64) -> Self;
}

/// The values of one array.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// About 1.
    Ordinary,
    /// Whole numbers of which most occur often.
    Tied,
    /// One number everywhere.
    Constant,
    /// Of any finite magnitude.
    Extreme,
    /// About 1, and few of any finite magnitude.
    Outliers,
    /// About 1, and few infinities.
    Infinities,
    /// About 1, and few NaN.
    Nans,
}

const KINDS: [Kind; 14] = [
    Kind::Ordinary,
    Kind::Ordinary,
    Kind::Ordinary,
    Kind::Tied,
    Kind::Tied,
    Kind::Constant,
    Kind::Extreme,
    Kind::Extreme,
    Kind::Extreme,
    Kind::Outliers,
    Kind::Outliers,
    Kind::Outliers,
    Kind::Infinities,
    Kind::Nans,
];

/// The next number of the generator of Steele, Lea and Flood 2014 (SplitMix64).
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// From -3 to 3, most of it near 0.
fn ordinary(state: &mut u64) -> f64 {
    (0..3).map(|_| (next(state) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0).sum()
}

/// A finite number with random bits, or one of about a limit.
fn extreme(state: &mut u64, from_bits: impl Fn(u64) -> f64, limits: &[f64]) -> f64 {
    let choice = next(state);
    let number = match choice % 4 {
        0 => limits[(choice >> 8) as usize % limits.len()],
        1 => ordinary(state) * limits[(choice >> 8) as usize % limits.len()],
        _ => from_bits(next(state)),
    };
    let number = if choice >> 63 == 1 { -number } else { number };
    if number.is_finite() { number } else { 0.0 }
}

fn draw_float(kind: Kind, state: &mut u64, extreme: impl Fn(&mut u64) -> f64) -> f64 {
    let is_rare = next(state).is_multiple_of(32);
    match kind {
        Kind::Tied => (next(state) % 4) as f64 - 1.0,
        Kind::Constant => 2.5,
        Kind::Extreme => extreme(state),
        Kind::Outliers if is_rare => extreme(state),
        Kind::Infinities if is_rare => [f64::INFINITY, f64::NEG_INFINITY][(next(state) % 2) as usize],
        Kind::Nans if is_rare => f64::NAN,
        _ => ordinary(state),
    }
}

impl Value for f32 {
    const GAP: Self = f32::NAN;

    fn pick_kind(bytes: &mut Bytes) -> Kind {
        bytes.pick(&KINDS)
    }

    fn draw(kind: Kind, state: &mut u64) -> Self {
        let limits =
            [f32::MAX, f32::MIN_POSITIVE, 1e-45, 1e38, 1e19, 1e10, 1e5, 1e-10, 1e-20, 0.0].map(f64::from);
        draw_float(kind, state, |state| {
            let number = extreme(state, |bits| f64::from(f32::from_bits(bits as u32)), &limits);
            number.clamp(-f64::from(f32::MAX), f64::from(f32::MAX))
        }) as f32
    }
}

impl Value for f64 {
    const GAP: Self = f64::NAN;

    fn pick_kind(bytes: &mut Bytes) -> Kind {
        bytes.pick(&KINDS)
    }

    fn draw(kind: Kind, state: &mut u64) -> Self {
        let limits = [f64::MAX, f64::MIN_POSITIVE, 5e-324, 1e300, 1e154, 1e38, 1e5, 1e-10, 1e-160, 0.0];
        draw_float(kind, state, |state| extreme(state, f64::from_bits, &limits))
    }
}

impl Value for f16 {
    const GAP: Self = f16::NAN;

    fn pick_kind(bytes: &mut Bytes) -> Kind {
        bytes.pick(&KINDS)
    }

    fn draw(kind: Kind, state: &mut u64) -> Self {
        let limits = [f16::MAX, f16::MIN_POSITIVE, f16::MIN_POSITIVE_SUBNORMAL, f16::ZERO].map(f64::from);
        let of_bits = |bits| f64::from(f16::from_bits(bits as u16));
        f16::from_f64(draw_float(kind, state, |state| extreme(state, of_bits, &limits)))
    }
}

/// Few members or many, or as many as not.
impl Value for bool {
    const GAP: Self = true;

    fn pick_kind(bytes: &mut Bytes) -> Kind {
        bytes.pick(&[Kind::Ordinary, Kind::Ordinary, Kind::Tied, Kind::Constant])
    }

    fn draw(kind: Kind, state: &mut u64) -> Self {
        let one_in = match kind {
            Kind::Constant => 1,
            Kind::Tied => 12,
            _ => 2,
        };
        next(state).is_multiple_of(one_in)
    }
}

/// Weights of a resample: mostly small counts, or anything.
impl Value for u16 {
    const GAP: Self = u16::MAX;

    fn pick_kind(bytes: &mut Bytes) -> Kind {
        bytes.pick(&[Kind::Ordinary, Kind::Extreme])
    }

    fn draw(kind: Kind, state: &mut u64) -> Self {
        let count = next(state);
        if kind == Kind::Extreme { count as u16 } else { (count % 4) as u16 }
    }
}

/// Indices; see `Bytes::targets` for those of models.
impl Value for i64 {
    const GAP: Self = i64::MIN;

    fn draw(_: Kind, state: &mut u64) -> Self {
        next(state) as i64
    }
}
