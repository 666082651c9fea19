"""How the attacks were set: their options, and which class those look at that look at one."""

from __future__ import annotations

from tmi.report.results import Results


def options_note(results: Results) -> str:
    """Footnote with the options of all attacks that have some; empty where none has."""
    attacks = results.attacks.items()
    return "; ".join(f"{name}: {options_text(attack.options)}" for name, attack in attacks if attack.options)


def options_text(options: dict[str, bool | int | float | str]) -> str:
    """Options with their values: ``variance = global, location = mean``."""
    return ", ".join(
        f"{name} = {value:g}" if isinstance(value, float) else f"{name} = {value}" for name, value in options.items()
    )


def class_warnings(results: Results) -> list[str]:
    """A sentence on attacks that lacked the labels that they are made for; empty where none did."""
    names = [name for name, attack in results.attacks.items() if attack.looks_at == "top class of the target"]
    if not names:
        return []
    several = len(names) > 1
    remedy = ""
    if results.is_saved:
        remedy = " If the points have a class among those of the predictions, name the file of these with --labels."
    return [
        f"{', '.join(names)} {'look' if several else 'looks'} at the class that the target itself holds most likely, "
        "since no labels of the points are known. This hides much of a leak: on two small sets with known labels their "
        f"AUCs were .55 to .60 with labels and .48 to .52 without.{remedy}"
    ]
