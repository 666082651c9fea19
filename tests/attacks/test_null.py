"""Membership that has nothing to do with the answers, drawn in every way: no attack finds a leak.

Run with ``-s`` to see the table of docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from made.simulated import ATTACKS, EXPENSIVE, drawn, simulated, with_membership
from tmi.attacks.registry import attack_named
from tmi.attacks.scoring import score
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.roc import judge
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.views import View

DESIGNS = ("independent", "balanced", "pairs", "balanced, one dropped")
# Audits of each number of models, for every data set and view: fewer where they take long.
AUDITS = {8: 4, 16: 3, 64: 1}
POINTS, TARGETS = 100, 4
# Parts of `tmi`, which see nothing that it does not: noise will do.
PARTS = [name for name in ATTACKS if name.startswith("tmi-") and name not in EXPENSIVE]


def answers_of(data: str, membership: NDArray[np.bool_], draw: int, shared: Path) -> AttackInput:
    """Noise, or the answers of real models about some of their points."""
    models, points = membership.shape
    if data == "noise":
        return with_membership(simulated(models, points, effect=0.0, seed=draw, augmentations=2), membership)
    random, folder = np.random.default_rng([draw, 1]), shared / "golden" / data
    logits, own = (np.load(folder / f"{name}predictions.npy") for name in ("", "pretrained_"))
    rows = random.permutation(len(logits))[:models, None], random.permutation(logits.shape[1])[:points]
    predictions, pretrained = (Predictions(list(array[rows].astype(np.float32))) for array in (logits, own))
    labels = np.load(folder / "labels.npy").astype(np.int64)[rows[1]]
    return AttackInput(predictions, membership, pretrained, seed=draw, pretraining_labels=labels)


def audits(name: str, design: str, shared: Path) -> Iterator[tuple[float, float]]:
    """AUC and lower end of its interval."""
    draws = count(1000 * DESIGNS.index(design))
    for data in ["noise"] if name in PARTS else ["noise", "digits", "text"]:
        for view in ("logits", "label"):
            for models, repetitions in AUDITS.items():
                for _ in range(repetitions):
                    # Audits share no draw, so that the standard error of their mean is what it seems.
                    draw = next(draws)
                    membership = drawn(design, models, POINTS, np.random.default_rng(draw))
                    answers = answers_of(data, membership, draw, shared).seen_through(View.parse(view))
                    targets = range(2 if name in EXPENSIVE else TARGETS)
                    scores = score(attack_named(name), answers, targets)
                    auc = judge(scores, membership[: len(targets)], [0.1], Bootstrap(200, seed=draw)).auc
                    yield auc.estimate, auc.low


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("name", ATTACKS)
def test_no_design_makes_a_leak_of_nothing(name: str, design: str, shared: Path) -> None:
    found = np.array(list(audits(name, design, shared)))
    mean, error = found[:, 0].mean(), found[:, 0].std(ddof=1) / np.sqrt(len(found))
    above = int((found[:, 1] > 0.5).sum())
    print(f"\n| `{name}` | {design} | {len(found)} | {mean:.3f} ± {error:.3f} | {above} |")
    assert mean == pytest.approx(0.5, abs=max(0.02, 3 * error))
    # At most 5% of the intervals, as far as so few can tell.
    assert above <= binom.ppf(0.999, len(found), 0.05)
