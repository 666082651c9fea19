"""``sklearn:digits``: real data that ships with scikit-learn."""

from __future__ import annotations

import numpy as np

from tmi.data.points import Points
from tmi.errors import TmiError, did_you_mean


def load(name: str) -> Points:
    """``sklearn:digits``: 1,797 handwritten digits, float32 ``[1797, 8, 8]`` in [0, 1].

    Raises:
        TmiError: another name.
    """
    if name != "digits":
        raise TmiError(f"source 'sklearn:{name}': there is no such data set{did_you_mean(name, ['digits'])}")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return Points(
        raw=(digits.images / 16.0).astype(np.float32),
        labels=digits.target.astype(np.int64),
        class_names=tuple(str(digit) for digit in range(10)),
        kind="image",
    )
