"""Attacks: from the predictions of all models to a score per target and point.

An attack is a class derived from `Attack` with ``@register`` on it, in any module of this package; adding one is adding
a file. Other distributions name theirs as entry points ``tmi.attacks``. Scores are higher for likelier members and are
never rescaled per target.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from importlib import import_module
from inspect import signature
from typing import ClassVar, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tmi import attacks
from tmi.errors import TmiError, did_you_mean, first_line
from tmi.predictions.attack_input import AttackInput
from tmi.system.plugins import plugins

GROUP = "tmi.attacks"
TARGETS_AT_ONCE = 4

Option: TypeAlias = bool | int | float | str


class Needs(Enum):
    """What an attack needs besides the target's predictions; the value is how ``results.json`` says it."""

    NOTHING = "no shadow models"
    SHADOW_MODELS = "shadow models"
    PRETRAINED_MODEL = "the pretrained model"
    KNOWN_MEMBERS = "known members"
    PRETRAINING_LABELS = "pretraining labels of the challenge points"
    TOKENS = "no shadow models, but the log-probability of every token"
    TEXTS = "the texts themselves"
    VOCABULARY = "how likely all other tokens are in the place of each"
    # No attack fails without these two, but some are about them.
    LABELS = "labels of the challenge points"
    TOP_CLASS = "predictions of which one class is the likeliest"


class Attack(ABC):
    """A membership inference attack.

    Options are arguments of its class, each with a default and kept as an attribute of the same name.

    Attributes:
        name: as on the command line.
        summary: one line for the report.
        source: where it is published; empty if it is this project's own.
        needs: what the adversary has besides queries to the target.
        default: its place in the report among the attacks that run unless some are named; None: it runs only by name.
            Derived classes do not inherit it.
        default_with: what must be there besides ``needs`` for it to run by default, and unless nothing fails without it
            at all.
        direct_access: whether it asks the pretrained model itself, which who has the finetuned one alone cannot: a
            reference, shown apart.
        version: raised when a change of the code changes its scores, so that earlier ones are not taken for current.
            Derived classes inherit it.
        labelled: whether it looks at the confidence in the label of a point, where labels are known.
        together: whether it looks at other finetunings of the same models as well (`AttackInput.companions`).
        point_by_point: whether a score depends on the predictions at its own point alone; then `tmi.attacks.scoring`
            hands the attack a few points at a time, and predictions may be larger than memory.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str] = ""
    needs: ClassVar[Needs] = Needs.SHADOW_MODELS
    default: ClassVar[int | None] = None
    default_with: ClassVar[Needs] = Needs.NOTHING
    direct_access: ClassVar[bool] = False
    version: ClassVar[int] = 1
    labelled: ClassVar[bool] = False
    together: ClassVar[bool] = False
    point_by_point: bool = False

    def targets_at_once(self, models: int) -> int:
        """Targets that are scored in one go unless the attack goes point by point: few, so that no worker is idle."""
        return TARGETS_AT_ONCE

    @abstractmethod
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


AttackClass = TypeVar("AttackClass", bound=type[Attack])
_registered: dict[str, Attack] = {}


def register(attack: AttackClass) -> AttackClass:
    """Class decorator: make an attack known under its name.

    Raises:
        TmiError: another class has the name.
    """
    place, known = (attack.__module__, attack.__qualname__), _registered.get(attack.name)
    # The same class again is a module that was reloaded, or a cell of a notebook that was run again.
    if known is not None and (type(known).__module__, type(known).__qualname__) != place:
        raise TmiError(f"there are two attacks named {attack.name!r}: {'.'.join(place)} and {type(known).__module__}")
    _registered[attack.name] = attack()
    return attack


def all_attacks() -> dict[str, Attack]:
    """Every attack by name, sorted; without those of other distributions that are broken, see `broken_plugins`."""
    _find()
    return dict(sorted(_registered.items()))


def broken_plugins() -> dict[str, str]:
    """What is wrong with attacks of other distributions, a sentence by the name of the entry point."""
    return _find()


def attack_named(name: str, options: Mapping[str, Option] | None = None) -> Attack:
    """The attack of that name.

    Args:
        name: as on the command line.
        options: values in place of the defaults of its class.

    Raises:
        TmiError: there is none, it is of another distribution and broken, it has no such option, or a value is of
            another type or outside its domain.
    """
    broken = _find()
    if name in broken and name not in _registered:
        raise TmiError(broken[name])
    if name not in _registered:
        raise TmiError(f"there is no attack named {name!r}{did_you_mean(name, sorted(_registered))}")
    attack = _registered[name]
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


def lacking(attack: Attack, has: Collection[Needs]) -> Needs | None:
    """What an adversary who has this would have to have besides to run an attack; None if it is possible.

    The finetunings of a given model with known members are one target together, of which attacks on one model at a time
    know nothing; those that need no shadow models look at the first of them.
    """
    possible = (Needs.KNOWN_MEMBERS, Needs.PRETRAINING_LABELS, Needs.TOKENS)
    if Needs.KNOWN_MEMBERS in has and attack.needs not in possible:
        return Needs.SHADOW_MODELS
    there = {Needs.NOTHING, Needs.LABELS, Needs.TOP_CLASS, *has}
    return next((need for need in (attack.needs, attack.default_with) if need not in there), None)


def default_attacks(has: Collection[Needs]) -> list[str]:
    """Names of the attacks that run unless some are named, in the order of the report: the one place that decides it.

    Args:
        has: what the adversary has besides queries to the target.
    """
    places = {}
    for name, attack in all_attacks().items():
        # Of the class itself: a variant that is derived from an attack does not run by default because that does.
        place = vars(type(attack)).get("default")
        if place is not None and not lacking(attack, has) and attack.default_with in {Needs.NOTHING, *has}:
            places[name] = place
    return sorted(places, key=lambda name: (places[name], name))


_broken: dict[str, str] = {}
_loaded: set[str] = set()


def _find() -> dict[str, str]:
    """Register all attacks; what is wrong with those of other distributions, by name."""
    for module in pkgutil.iter_modules(attacks.__path__):
        if module.name != "estimator":  # it has no attack, and scikit-learn takes longer to import than all of them
            import_module(f"tmi.attacks.{module.name}")
    for name, plugin in plugins(GROUP).items():
        if name in _loaded:
            continue
        _loaded.add(name)
        try:
            found = plugin.load()
            if not (isinstance(found, type) and issubclass(found, Attack)):
                raise plugin.broken("is no class derived from tmi.attacks.registry.Attack")
            if getattr(found, "name", None) != name:
                raise plugin.broken(f"is an attack named {getattr(found, 'name', None)!r}, expected the same name")
            register(found)
        except TmiError as error:
            _broken[name] = str(error)
        except Exception as error:  # its class may do anything when an instance is made
            _broken[name] = str(plugin.broken(f"cannot be made: {first_line(error)}"))
    return _broken
