"""Results of runs with several finetunings."""

from __future__ import annotations

from typing import Any

from made.results import attack, changed, figure, make_results
from tmi.report.results import Results

ATTACKS = {"tmi": 0.6, "adapted-lira": 0.3}


CONTROL = {"delta": 2e-4, "noise_multiplier": 0.0, "sampling_rate": 0.064, "steps": 640}


def private(epsilon: float) -> dict[str, Any]:
    return CONTROL | {"epsilon": epsilon, "noise_multiplier": 5.04}


def row(transfer: str = "head", shift: float = 0.0, **changes: Any) -> dict[str, Any]:
    """What results.json holds about a finetuning to whose attacks ``shift`` is added."""
    accuracy = {"mean": 0.831, "sd": 0.02, "min": 0.8, "max": 0.9}
    return {
        "transfer": transfer,
        "private": None,
        "source": "sklearn:digits",
        "classes": 5,
        "points_per_model": 500,
        "downstream_test_accuracy": accuracy,
        "not_finetuned": [],
        "attacks": {name: shortened(attack(own + shift, 9600)) for name, own in ATTACKS.items()},
    } | changes


def shortened(found: dict[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in ("auc", "tpr_at_fpr", "direct_access")}


def difference(against: str, estimate: float = -0.1, half_width: float = 0.02) -> dict[str, Any]:
    return {
        "against": against,
        "auc": figure(estimate, half_width),
        "balanced_accuracy": figure(0.0),
        "tpr_at_fpr": {"0.01": figure(0.0)},
    }


def make_variants(rows: dict[str, Any], differences: dict[str, Any], main: str = "tmi") -> Results:
    results = make_results(ATTACKS | {"direct": 1.0})
    variants = {"attack": main, "rows": {"digits": row()} | rows, "differences": differences}
    return changed(results, {"variants": variants, "headline": main})


def make_seven() -> Results:
    """Seven finetunings besides that of the run, in no helpful order."""
    rows = {
        "epsilon-1": row(private=private(0.9938), shift=-0.3),
        "lora": row("lora", -0.4),
        "epsilon-8": row(private=private(7.9912), shift=-0.1),
        "full": row("full", -0.2),
        "epsilon-inf": row(private=CONTROL),
        "last-2": row("last-2"),
        "few": row(points_per_model=60),
    }
    differences = {name: difference("epsilon-inf" if row["private"] else "digits") for name, row in rows.items()}
    differences["epsilon-inf"] = difference("digits", -0.001)
    return make_variants(rows, differences)
