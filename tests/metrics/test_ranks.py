"""Ranks and q-values are those of SciPy."""

import numpy as np
import pytest
from scipy import stats

from tmi.metrics.ranks import mid_ranks, q_values


@pytest.mark.parametrize("shape", [(1,), (50,), (1, 3), (50, 7)])
@pytest.mark.parametrize("distinct", [1, 5, 10_000])
def test_ranks_share_ties(shape: tuple[int, ...], distinct: int) -> None:
    values = np.random.default_rng(0).integers(0, distinct, shape) - 2.0
    values[0] = np.inf
    np.testing.assert_array_equal(mid_ranks(values), stats.rankdata(values, axis=0))


@pytest.mark.parametrize("tests", [1, 2, 200])
def test_q_values_bound_the_share_of_false_discoveries(tests: int) -> None:
    p_values = np.random.default_rng(1).random(tests) ** 3
    p_values[::4] = p_values[-1]
    np.testing.assert_array_equal(q_values(p_values), stats.false_discovery_control(p_values))
