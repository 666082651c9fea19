"""LightGBM with the settings that make it quick on small data and reproducible to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError


def fit_and_score(
    rows: NDArray[np.float32],
    labels: NDArray[np.bool_],
    queries: NDArray[np.float32],
    recipe: Mapping[str, float],
    seed: int,
    start: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> NDArray[np.float64]:
    """Train a binary classifier and return its log-odds.

    Args:
        rows: float32 ``[rows, features]``.
        labels: bool ``[rows]``. If all are equal there is nothing to learn and every score is 0.
        queries: float32 ``[queries, features]``.
        recipe: LightGBM's parameters, and ``trees``.
        seed: for the choice of features of every tree.
        start: log-odds ``[rows]`` and ``[queries]`` of another model, which the trees then only correct.

    Returns:
        float64 ``[queries]``, log-odds of True.

    Raises:
        TmiError: LightGBM cannot be loaded.
    """
    lightgbm = _lightgbm()
    if labels.all() or not labels.any():
        return np.zeros(len(queries))
    parameters: dict[str, Any] = {
        **recipe,
        "objective": "binary",
        # One thread: on data of this size a second one makes LightGBM slower, and sums depend on it.
        "num_threads": 1,
        "force_col_wise": True,
        "deterministic": True,
        "seed": seed,
        "metric": "None",
        "verbose": -1,
    }
    trees = int(parameters.pop("trees"))
    of_rows, of_queries = start or (None, 0.0)
    data = lightgbm.Dataset(rows, label=labels.astype(np.float32), init_score=of_rows, params=parameters)
    # lightgbm.train does the same and more, which costs as much again on a few hundred rows.
    booster = lightgbm.Booster(parameters, data)
    for _ in range(trees):
        booster.update()
    scores: NDArray[np.float64] = booster.predict(queries, raw_score=True, num_threads=1) + of_queries
    return scores


def _lightgbm() -> Any:
    try:
        import lightgbm
    except OSError as error:
        raise TmiError(
            f"LightGBM cannot be loaded: {error}; its wheel needs the system's OpenMP runtime "
            "(Debian and Ubuntu: apt install libgomp1; Fedora: dnf install libgomp; macOS: brew install libomp)"
        ) from None
    return lightgbm
