//! Kernels called from Python: without the interpreter, their arrays handed over, their refusals raised.

use ndarray::{Array, Array1, Array2, Array3, Dimension};
use numpy::{Element, IntoPyArray, PyArray};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use tmi_kernels::{Conditioned, KernelError, Reduced, RocCurve};

/// Calls `kernel` while other Python threads run.
pub fn call<'py, T: IntoPython<'py> + Send>(
    py: Python<'py>,
    kernel: impl FnOnce() -> Result<T, KernelError> + Send,
) -> PyResult<T::Arrays> {
    Ok(py.detach(kernel).map_err(refusal)?.into_python(py))
}

/// A kernel's refusal as a Python exception.
pub fn refusal(error: KernelError) -> PyErr {
    match error {
        KernelError::Memory { .. } => PyMemoryError::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    }
}

/// What Python gets of a kernel's result `T`: arrays that own their memory.
pub type Arrays<'py, T> = <T as IntoPython<'py>>::Arrays;

/// A result of a kernel.
pub trait IntoPython<'py> {
    /// One array, or a tuple of them.
    type Arrays;

    /// Hands the memory over; nothing is copied.
    fn into_python(self, py: Python<'py>) -> Self::Arrays;
}

impl<'py, T: Element, D: Dimension> IntoPython<'py> for Array<T, D> {
    type Arrays = Bound<'py, PyArray<T, D>>;

    fn into_python(self, py: Python<'py>) -> Self::Arrays {
        self.into_pyarray(py)
    }
}

/// Tuples of the fields, in the order that `_core.pyi` gives.
macro_rules! tuple_into_python {
    ($result:ty, $($field:ident: $array:ty),+) => {
        impl<'py> IntoPython<'py> for $result {
            type Arrays = ($(Arrays<'py, $array>),+);

            fn into_python(self, py: Python<'py>) -> Self::Arrays {
                ($(self.$field.into_pyarray(py)),+)
            }
        }
    };
}
tuple_into_python!(Reduced, scaled: Array3<f32>, clipped: Array3<f32>, spread: Array2<f32>);
tuple_into_python!(
    RocCurve,
    false_positive_rates: Array1<f64>,
    true_positive_rates: Array1<f64>,
    thresholds: Array1<f64>
);
tuple_into_python!(Conditioned, residuals: Array3<f32>, inverses: Array3<f32>);
