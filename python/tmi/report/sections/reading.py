"""How to read the figures."""

from __future__ import annotations

from tmi.report.blocks import Items, Material, Media, Section


def section(material: Material) -> Section:
    """What each kind of figure means."""
    evaluation = material.results.evaluation
    meanings = {
        "AUC": "The probability that the attack scores a random member above a random non-member. 0.5 is a coin "
        "flip, 1 is perfect.",
        "TPR@1%FPR": "The share of the members found by a threshold that takes 1% of the non-members for members. "
        "Guessing finds 1%. A leak of a few points shows here first, even where the AUC is close to 0.5.",
        "Balanced accuracy": "The mean of the shares of members and of non-members told right, at the threshold "
        "where it is highest. That threshold is chosen in hindsight, so the figure is above 50% even without a leak.",
        "Intervals": f"{evaluation.percent} intervals from {evaluation.resamples:,} resamples of the challenge "
        "points and of the targets. The decisions themselves are not resampled one by one: those on the same point "
        "or the same target go together.",
        "ε": "The strength of a promise of differential privacy, always of one stage of training: the smaller, the "
        "stronger. Attacks can only disprove a promise of the stage whose data they ask about, here the pretraining.",
        "Several attacks": "The best of several attacks is partly luck. The verdict therefore speaks of one attack "
        "fixed beforehand.",
    }
    items = Items([(name, [meaning]) for name, meaning in meanings.items()])
    return Section("How to read the figures", [items], Media.PAGE)
