//! Memory that is asked for, not taken for granted: an array that does not fit is a [`KernelError`], not the end of the
//! process.
//!
//! Linux promises more memory than there is and ends a process that uses it, so large arrays are first held against
//! what is left.

use std::fs;
use std::mem;

use ndarray::{Array, Dimension, IntoDimension};

use crate::KernelError;

/// Smaller arrays are not held against what is left: to look takes longer than to make them.
const LARGE: usize = 1 << 28;

/// So many times the same value.
pub(crate) fn filled<T: Clone>(value: T, length: usize) -> Result<Vec<T>, KernelError> {
    let mut vector = room_for(length)?;
    vector.resize(length, value);
    Ok(vector)
}

/// An array of zeros (`false`) in C order.
pub(crate) fn zeros<T: Clone + Default, D: Dimension>(
    shape: impl IntoDimension<Dim = D>,
) -> Result<Array<T, D>, KernelError> {
    let shape = shape.into_dimension();
    let length = shape.slice().iter().try_fold(1_usize, |size, &axis| size.checked_mul(axis));
    let values = filled(T::default(), length.ok_or_else(too_many)?)?;
    Array::from_shape_vec(shape, values).map_err(|_| too_many())
}

/// An empty vector that `length` values fit into.
pub(crate) fn room_for<T>(length: usize) -> Result<Vec<T>, KernelError> {
    let bytes = length.checked_mul(mem::size_of::<T>()).ok_or_else(too_many)?;
    if bytes >= LARGE && left().is_some_and(|left| bytes > left) {
        return Err(KernelError::Memory { bytes });
    }
    let mut vector = Vec::new();
    vector.try_reserve_exact(length).map_err(|_| KernelError::Memory { bytes })?;
    Ok(vector)
}

fn too_many() -> KernelError {
    KernelError::Memory { bytes: usize::MAX }
}

/// Bytes that the machine has left, at most what the process's container may have; `None` where nobody says.
fn left() -> Option<usize> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix(" kB")?.parse::<usize>().ok().map(|kilobytes| kilobytes << 10)
    });
    let container = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<usize>().ok());
    machine.into_iter().chain(container).min()
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn what_fits_is_filled() {
        assert_eq!(filled(2.5, 3), Ok(vec![2.5; 3]));
        assert_eq!(zeros::<f32, _>((2, 3)), Ok(Array2::zeros((2, 3))));
    }

    #[test]
    fn what_no_machine_has_is_refused() {
        let bytes = 1 << 50;
        assert_eq!(filled(0_u8, bytes), Err(KernelError::Memory { bytes }));
        assert_eq!(zeros::<f64, _>((1 << 25, 1 << 22)), Err(KernelError::Memory { bytes }));
        let everything = KernelError::Memory { bytes: usize::MAX };
        assert_eq!(filled(0_f64, usize::MAX / 4), Err(everything.clone()));
        assert_eq!(zeros::<f64, _>((1 << 40, 1 << 40)), Err(everything));
    }
}
