//! The one error type of the kernels: every message names the argument, what it is and what is expected.

use ndarray::ArrayView1;

/// Why a kernel refused its input. The Python bindings raise `Memory` as `MemoryError` and the others as `ValueError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// An array whose shape does not fit, alone or beside another one.
    #[error("{array} has shape {found:?}; expected {expected}")]
    Shape {
        /// Name of the array, as in the Python signature.
        array: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that would do, in words or numbers.
        expected: String,
    },
    /// An entry that is NaN, or infinite where only finite numbers make sense.
    #[error("{array} contains {found} at {position}; expected {expected}")]
    Value {
        /// Name of the array.
        array: &'static str,
        /// What the entry is, such as "NaN".
        found: String,
        /// Where it is, such as "model 3, point 14".
        position: String,
        /// What every entry must be.
        expected: &'static str,
    },
    /// A scalar or list argument, or the array as a whole, outside its domain.
    #[error("{argument} is {found}; expected {expected}")]
    Argument {
        /// Name of the argument.
        argument: &'static str,
        /// Its value.
        found: String,
        /// The domain.
        expected: String,
    },
    /// An array that the memory has no room for.
    #[error("an array of {:.1} GB does not fit the memory that is left", *bytes as f64 / 1e9)]
    Memory {
        /// How large it would be.
        bytes: usize,
    },
}

impl KernelError {
    /// An entry of `array` that is NaN or infinite where only finite numbers make sense.
    pub(crate) fn not_finite(array: &'static str, found: impl ToString, position: String) -> Self {
        Self::Value { array, found: found.to_string(), position, expected: "finite numbers" }
    }
}

/// Fails unless `found` has no axis of length zero.
pub(crate) fn require_nonempty(array: &'static str, found: &[usize]) -> Result<(), KernelError> {
    if found.contains(&0) {
        return Err(KernelError::Shape {
            array,
            found: found.to_vec(),
            expected: "every axis to have at least one entry".to_owned(),
        });
    }
    Ok(())
}

/// Fails unless `found` equals `expected`, the shape that another argument calls for.
pub(crate) fn require_shape(
    array: &'static str,
    found: &[usize],
    expected: &[usize],
    because: &str,
) -> Result<(), KernelError> {
    if found != expected {
        return Err(KernelError::Shape {
            array,
            found: found.to_vec(),
            expected: format!("{expected:?} ({because})"),
        });
    }
    Ok(())
}

/// Fails unless there are at least two classes: the log-odds of the only class are infinite.
pub(crate) fn require_classes(array: &'static str, found: &[usize]) -> Result<(), KernelError> {
    require_nonempty(array, found)?;
    if found.last() == Some(&1) {
        return Err(KernelError::Shape {
            array,
            found: found.to_vec(),
            expected: "at least 2 classes on the last axis".to_owned(),
        });
    }
    Ok(())
}

/// Fails unless `target` is the index of a model.
pub(crate) fn require_model(
    argument: &'static str,
    target: i64,
    models: usize,
) -> Result<usize, KernelError> {
    usize::try_from(target).ok().filter(|&target| target < models).ok_or_else(|| KernelError::Argument {
        argument,
        found: target.to_string(),
        expected: format!("the index of one of {models} models"),
    })
}

/// The indices of the models to score; fails where there are none or one is no model.
pub(crate) fn require_models(targets: ArrayView1<i64>, models: usize) -> Result<Vec<usize>, KernelError> {
    require_nonempty("targets", targets.shape())?;
    targets.iter().map(|&target| require_model("targets", target, models)).collect()
}
