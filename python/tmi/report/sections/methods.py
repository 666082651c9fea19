"""What the attacks are, how they were set, and which class those look at that look at one."""

from __future__ import annotations

from tmi.report.blocks import Folded, Items, Muted, Text
from tmi.report.results import Results
from tmi.report.wording import counted, duration, options_text


def folded(results: Results) -> Folded:
    """What each attack is, what it needs and how long it took."""
    rows = []
    for name in [*results.ranked, *results.direct]:
        attack = results.attacks[name]
        source = [" ", Muted(f"({attack.source})")] if attack.source else []
        needs = f"Needs {attack.needs}; took {duration(attack.seconds)}"
        if attack.options:
            needs = f"Options: {options_text(attack.options)}. {needs}"
        if attack.neutral:
            scores = counted(attack.neutral, "neutral score", "neutral scores")
            needs += f"; {scores}, where no shadow was trained on the point or all were"
        lines: list[Text] = [(attack.summary, *source), (Muted(f"{needs}."),)]
        rows.append((name, lines))
    return Folded("What the attacks are", [Items(rows)])


def options_note(results: Results) -> str:
    """Footnote with the options of all attacks that have some; empty where none has."""
    attacks = results.attacks.items()
    return "; ".join(f"{name}: {options_text(attack.options)}" for name, attack in attacks if attack.options)


def class_warnings(results: Results) -> list[str]:
    """A sentence on attacks that lacked the labels that they are made for; empty where none did."""
    names = [name for name, attack in results.attacks.items() if attack.looks_at == "top class of the target"]
    if not names:
        return []
    several = len(names) > 1
    known = " but those of pretraining" if results.data.pretraining_labels else ""
    remedy = ""
    if results.is_saved:
        remedy = " If the points have a class among those of the predictions, name the file of these with --labels."
    return [
        f"{', '.join(names)} {'look' if several else 'looks'} at the class that the target itself holds most likely, "
        f"since no labels of the points{known} are known. This hides much of a leak: on two small sets with known "
        f"labels their AUCs were .55 to .60 with labels and .48 to .52 without.{remedy}"
    ]
