"""How to read the figures."""

from __future__ import annotations

from tmi.report.blocks import Folded, Items
from tmi.report.results import Results


def folded(results: Results) -> Folded:
    """What each kind of figure means."""
    evaluation = results.evaluation
    meanings = {
        "AUC": "The probability that the attack scores a random member above a random non-member: 0.5 is a coin flip.",
        "TPR@1%FPR": "The share of the members found by a threshold that takes 1% of the non-members for members. "
        "Guessing finds 1%. A leak of a few points shows here first.",
        "Balanced accuracy": "The mean of the shares of members and of non-members told right, at a threshold that was "
        "chosen on other points.",
        "Intervals": f"{evaluation.percent} intervals from {evaluation.resamples:,} resamples of the challenge "
        "points and of the targets: decisions on the same point or the same target go together.",
        "Several attacks": "The best of several attacks is partly luck. The verdict therefore speaks of one attack "
        "fixed beforehand.",
    }
    return Folded("How to read the figures", [Items([(name, [meaning]) for name, meaning in meanings.items()])])
