"""CIFAR's pickled files, read without running what else a pickle may contain.

A pickle is a program: reading it calls any function that it names. The official files of CIFAR need no more than the
few functions that rebuild a numpy array of whole numbers; a file that names anything else is refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tmi.errors import TmiError


def load_record(path: Path) -> dict[str, Any]:
    """The dictionary in a file of CIFAR's python layout.

    Args:
        path: a batch or ``meta``, written by Python 2 or 3 with any version of NumPy.

    Returns:
        Arrays, lists, numbers and bytes by key.

    Raises:
        TmiError: the file is missing, truncated or damaged, holds something else, or names a function that arrays of
            whole numbers do not need; that function was not called.
    """
    try:
        with path.open("rb") as file:
            record = _ArraysOnly(file, path).load()
    except FileNotFoundError:
        raise TmiError(f"{path}: there is no such file") from None
    except TmiError:
        raise
    except Exception as error:  # a damaged pickle may fail in any way
        raise TmiError(f"{path}: truncated or damaged, not a pickled file of CIFAR: {error}") from None
    if not isinstance(record, dict):
        raise TmiError(f"{path}: holds a {type(record).__name__}, expected the dictionary of a CIFAR file")
    # Python 2 wrote strings that Python 3 reads as bytes.
    return {
        key.decode(errors="replace") if isinstance(key, bytes) else str(key): value for key, value in record.items()
    }


class _ArraysOnly(pickle.Unpickler):
    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__(file, encoding="bytes")
        # Of this version of NumPy; the file names the one of its own.
        reconstruct: Any = np.empty(0).__reduce__()[0]
        self._path = path
        self._admitted: dict[str, Callable[..., Any]] = {
            "numpy.core.multiarray._reconstruct": reconstruct,
            "numpy._core.multiarray._reconstruct": reconstruct,
            "numpy.ndarray": np.ndarray,
            "numpy.dtype": self._whole_numbers,
            "_codecs.encode": self._latin1,
        }

    def find_class(self, module: str, name: str) -> Any:
        """The function or type of that name, if arrays need it."""
        if f"{module}.{name}" not in self._admitted:
            raise TmiError(
                f"{self._path}: a pickle that calls {module}.{name}, expected an official CIFAR file, which holds "
                "nothing but arrays; it was not read further"
            )
        return self._admitted[f"{module}.{name}"]

    def _whole_numbers(self, name: str | bytes, align: int = 0, copy: int = 0) -> np.dtype[Any]:
        text = name.decode() if isinstance(name, bytes) else name
        dtype = np.dtype(text, bool(align), bool(copy))
        if dtype.kind not in "iu":
            raise TmiError(f"{self._path}: holds an array of type {dtype}, expected whole numbers")
        return dtype

    def _latin1(self, text: str, encoding: str) -> bytes:
        """How Python 3 writes bytes where Python 2 is to read them."""
        if encoding != "latin1":
            raise TmiError(f"{self._path}: a pickle that encodes as {encoding!r}, expected 'latin1'")
        return text.encode("latin1")
