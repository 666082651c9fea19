//! Python arguments to what the kernels take, with errors that name the argument.

use std::num::NonZeroUsize;

use half::f16;
use ndarray::Dimension;
use numpy::{
    Element, PyArray, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// float32 or float16 numbers.
pub enum Floats<'py, D: Dimension> {
    Single(PyReadonlyArray<'py, f32, D>),
    Half(PyReadonlyArray<'py, f16, D>),
}

/// Runs the same expression on a view of whichever element type the `Floats` have.
macro_rules! with_floats {
    ($floats:expr, |$view:ident| $body:expr) => {
        match &$floats {
            $crate::arguments::Floats::Single(array) => {
                let $view = array.as_array();
                $body
            }
            $crate::arguments::Floats::Half(array) => {
                let $view = array.as_array();
                $body
            }
        }
    };
}
pub(crate) use with_floats;

/// The array `name` if it has float32 or float16 numbers.
pub fn floats<'py, D: Dimension>(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Floats<'py, D>> {
    let accepted = "float32 or float16";
    if let Some(array) = typed(name, value, accepted)? {
        return Ok(Floats::Half(array));
    }
    array(name, value, accepted).map(Floats::Single)
}

/// The array `name` if it is boolean, and each byte of it 0 or 1.
pub fn flags<'py, D: Dimension>(
    name: &str,
    value: &Bound<'py, PyAny>,
) -> PyResult<PyReadonlyArray<'py, bool, D>> {
    let flags: PyReadonlyArray<bool, D> = array(name, value, "bool")?;
    // NumPy takes any byte of a file for a boolean; Rust knows two of them.
    if !flags.is_empty() && value.call_method1("view", ("uint8",))?.call_method0("max")?.gt(1)? {
        return Err(PyValueError::new_err(format!("{name} has bytes other than 0 and 1; expected booleans")));
    }
    Ok(flags)
}

/// The array `name` if its elements are `T`, which errors call `accepted`.
pub fn array<'py, T: Element, D: Dimension>(
    name: &str,
    value: &Bound<'py, PyAny>,
    accepted: &str,
) -> PyResult<PyReadonlyArray<'py, T, D>> {
    typed(name, value, accepted)?.ok_or_else(|| match value.getattr("dtype") {
        Ok(dtype) => wrong_type(name, format!("dtype {dtype:?}"), accepted),
        Err(error) => error,
    })
}

/// The array `name`, `None` if its elements are not `T`. Fails on what is no usable array, and on another rank.
fn typed<'py, T: Element, D: Dimension>(
    name: &str,
    value: &Bound<'py, PyAny>,
    accepted: &str,
) -> PyResult<Option<PyReadonlyArray<'py, T, D>>> {
    let Ok(untyped) = value.cast::<PyUntypedArray>() else {
        return Err(wrong_type(name, format!("a {}", value.get_type().name()?), accepted));
    };
    if !untyped.dtype().is_equiv_to(&numpy::dtype::<T>(value.py())) {
        return Ok(None);
    }
    if !untyped.is_aligned() {
        return Err(PyTypeError::new_err(format!(
            "{name} is not aligned in memory; expected an aligned array"
        )));
    }
    if let Some(rank) = D::NDIM.filter(|&rank| rank != untyped.ndim()) {
        let shape = untyped.shape();
        return Err(PyValueError::new_err(format!("{name} has shape {shape:?}; expected {rank} axes")));
    }
    Ok(Some(value.cast::<PyArray<T, D>>()?.try_readonly()?))
}

fn wrong_type(name: &str, found: String, accepted: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{name} has {found}; expected a NumPy array of {accepted} in native byte order"
    ))
}

/// The number of threads if it is at least 1.
pub fn thread_count(threads: i64) -> PyResult<NonZeroUsize> {
    usize::try_from(threads)
        .ok()
        .and_then(NonZeroUsize::new)
        .ok_or_else(|| PyValueError::new_err(format!("threads is {threads}; expected at least 1")))
}
