//! What every result of a kernel must hold to.

use std::fmt::Debug;
use std::num::NonZeroUsize;

use ndarray::{Array, Dimension};
use tmi_kernels::{Conditioned, KernelError, Reduced, RocCurve};

/// A result of a kernel as numbers.
pub trait Outcome {
    /// Shapes, and the bits of all numbers.
    fn bits(&self) -> Vec<u64>;
}

macro_rules! outcome_of_arrays {
    ($($element:ty),+) => {
        $(impl<D: Dimension> Outcome for Array<$element, D> {
            fn bits(&self) -> Vec<u64> {
                let shape = self.shape().iter().map(|&length| length as u64);
                shape.chain(self.iter().map(|number| u64::from(number.to_bits()))).collect()
            }
        })+
    };
}
outcome_of_arrays!(f32, f64);

impl Outcome for Reduced {
    fn bits(&self) -> Vec<u64> {
        [self.scaled.bits(), self.clipped.bits(), self.spread.bits()].concat()
    }
}

impl Outcome for RocCurve {
    fn bits(&self) -> Vec<u64> {
        [self.false_positive_rates.bits(), self.true_positive_rates.bits(), self.thresholds.bits()].concat()
    }
}

impl Outcome for Conditioned {
    fn bits(&self) -> Vec<u64> {
        [self.residuals.bits(), self.inverses.bits()].concat()
    }
}

/// The result of `run`, which must not depend on the number of threads.
pub fn on_any_threads<T: Outcome>(
    run: impl Fn(NonZeroUsize) -> Result<T, KernelError>,
) -> Result<T, KernelError> {
    let result = run(NonZeroUsize::MIN);
    must_agree("more threads", &result, &run(NonZeroUsize::MIN.saturating_add(2)));
    result
}

/// Fails unless two runs on the same numbers gave the same bits, or were refused in the same words.
pub fn must_agree<T: Outcome>(because: &str, one: &Result<T, KernelError>, other: &Result<T, KernelError>) {
    match (one, other) {
        (Ok(one), Ok(other)) => assert!(one.bits() == other.bits(), "{because} changed bits of the result"),
        (one, other) => assert_eq!(one.as_ref().err(), other.as_ref().err(), "{because} changed the refusal"),
    }
}

/// The result, if legal input got one and no other did.
pub fn expect<T>(result: Result<T, KernelError>, is_legal: bool) -> Option<T> {
    assert_eq!(result.is_ok(), is_legal, "legal input is refused or other is not: {:?}", result.err());
    result.ok()
}

/// Fails unless all numbers lie in `range`, which NaN does not.
pub fn within<'a, T: PartialOrd + Debug + 'a>(
    numbers: impl IntoIterator<Item = &'a T>,
    range: std::ops::RangeInclusive<T>,
) {
    for number in numbers {
        assert!(range.contains(number), "{number:?} is not in {range:?}");
    }
}
