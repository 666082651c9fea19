"""How often chance makes a report say something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tmi
from tmi.report.claims import hint

ATTACKS = (
    "conditional",
    "gaussian",
    "gaussian-offline",
    "adapted-lira",
    "adapted-lira-pooled",
    "adapted-lira-diagonal",
    "ridge-logistic",
    "rmia",
    "rmia-offline",
    "confidence",
)
AUDITS = 60


@pytest.mark.slow
@pytest.mark.parametrize("data", ["digits", "text"])
def test_chance_rarely_says_anything(shared: Path, data: str) -> None:
    """Membership is redrawn on real answers, so that nothing can leak."""
    predictions = np.load(shared / "golden" / data / "predictions.npy")
    leaks, any_attack, hints = [], [], []
    for seed in range(AUDITS):
        random = np.random.default_rng([31, seed])
        models = random.permutation(len(predictions))[:24]
        points = np.sort(random.permutation(predictions.shape[1])[:200])
        membership = np.stack([random.permutation(200) < 100 for _ in models])
        found = tmi.audit(
            predictions[np.ix_(models, points)], membership, attacks=ATTACKS, resamples=200, seed=seed
        ).found
        leaks.append(found.main.auc.low > 0.5)
        any_attack.append(any(attack.auc.low > 0.5 for attack in found.attacks.values()))
        hints.append(not leaks[-1] and hint(found) is not None)
    print(
        f"\n{data}: leak {np.mean(leaks)}, any of {len(ATTACKS)} attacks {np.mean(any_attack)}, hint {np.mean(hints)}"
    )
    assert np.mean(leaks) <= 0.05
    assert np.mean(hints) <= 0.05
