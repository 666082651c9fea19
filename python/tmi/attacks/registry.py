"""Attacks: from the answers of all models to a score per target and point.

An attack is one object with the attributes of `Attack`, registered by ``@register`` on its class in any module of
this package; adding one is adding a file. Scores are higher for likelier members and are never rescaled per target.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import signature
from typing import Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tmi import attacks
from tmi.errors import TmiError, did_you_mean
from tmi.predictions.attack_input import AttackInput

Option: TypeAlias = bool | int | float | str


class Attack(Protocol):
    """A membership inference attack.

    Options are arguments of its class, each with a default and kept as an attribute of the same name.

    Attributes:
        name: as on the command line.
        summary: one line for the report.
        source: where it is published; empty if it is this project's own.
        needs: what the adversary has besides queries to the target.
        upper_bound: whether it sees more than an adversary who only has the finetuned model.
        point_by_point: whether a score depends on the answers about its own point alone; then `tmi.attacks.scoring`
            hands the attack a few points at a time, and predictions may be larger than memory.
    """

    name: str
    summary: str
    source: str
    needs: Literal["shadow models", "no shadow models", "the pretrained model", "known members"]
    upper_bound: bool
    point_by_point: bool

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """Scores ``[targets, points]``, higher = member.

        The row of a target in ``answers.membership`` is not looked at when that target is scored, and the scores of
        one target do not depend on which other targets are asked for. Models are taken to be drawn independently:
        `tmi.attacks.scoring` hands over shadows for which they might as well be.
        """


@runtime_checkable
class MatchesShadows(Protocol):
    """An attack that does itself what `tmi.attacks.scoring` does for others where models were not drawn independently.

    It learns from the shadows as well, which have to be compared with equally many others as the target is.
    """

    def score_matched(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """Scores ``[targets, points]`` by the shadows of `AttackInput.design`."""


AttackClass = TypeVar("AttackClass", bound=type)
_registered: dict[str, Attack] = {}


def register(attack: AttackClass) -> AttackClass:
    """Class decorator: make an attack known under its name."""
    instance: Attack = attack()
    _registered[instance.name] = instance
    return attack


def all_attacks() -> dict[str, Attack]:
    """Every attack by name, sorted."""
    for module in pkgutil.iter_modules(attacks.__path__):
        import_module(f"tmi.attacks.{module.name}")
    return dict(sorted(_registered.items()))


def attack_named(name: str, options: Mapping[str, Option] | None = None) -> Attack:
    """The attack of that name.

    Args:
        name: as on the command line.
        options: values in place of the defaults of its class.

    Raises:
        TmiError: there is none, or it has no such option, or a value is of another type or outside its domain.
    """
    known = all_attacks()
    if name not in known:
        raise TmiError(f"there is no attack named {name!r}{did_you_mean(name, list(known))}")
    attack = known[name]
    if not options:
        return attack
    defaults = options_of(attack)
    values: dict[str, Option] = {}
    for key, value in options.items():
        if key not in defaults:
            has = did_you_mean(key, list(defaults)) if defaults else ": it has none"
            raise TmiError(f"the attack {name!r} has no option {key!r}{has}")
        kind = type(defaults[key])
        is_number = kind is float and isinstance(value, int) and not isinstance(value, bool)
        if type(value) is not kind and not is_number:
            raise TmiError(f"the option {key!r} of the attack {name!r} is {value!r}, expected as {defaults[key]!r}")
        values[key] = kind(value)
    configured: Attack = type(attack)(**values)
    return configured


def options_of(attack: Attack) -> dict[str, Option]:
    """The options of an attack with their values; empty where its class takes none."""
    return {name: getattr(attack, name) for name in signature(type(attack)).parameters}


def looks_at_labels(attack: Attack) -> bool:
    """Whether the attack looks at the confidence in the label of a point, where labels are known."""
    return bool(getattr(attack, "labelled", False))
