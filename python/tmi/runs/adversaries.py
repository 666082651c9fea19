"""Who attacks: what an adversary sees of the answers, and how many shadow models it has.

A run asks the same questions of several adversaries on the same trained models: the main one, who has all shadow
models, others who see less (`views`), and others who have trained fewer shadow models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tmi.attacks.registry import Attack, Needs, all_attacks, attack_named, default_attacks, lacking
from tmi.config import AttackedConfig, Config
from tmi.errors import TmiError
from tmi.predictions.views import LOGITS, View
from tmi.system.seeding import stream


@dataclass(frozen=True)
class Adversary:
    """What distinguishes one adversary from another.

    Attributes:
        view: what is seen of the answers.
        shadows: number of shadow models; None: all models but the target.
        together: in how many finetunings every model is seen, the first ones.
    """

    view: View = LOGITS
    shadows: int | None = None
    together: int = 1

    @property
    def folder(self) -> str:
        """Where the scores lie below ``scores/``: ``""``, ``top-3``, ``top-3/shadows-8`` or ``top-3/together-2``."""
        view = [] if self.view == LOGITS else [self.view.name]
        shadows = [] if self.shadows is None else [f"shadows-{self.shadows}"]
        return "/".join(view + shadows + ([] if self.together == 1 else [f"together-{self.together}"]))

    @property
    def label(self) -> str:
        """The same for people: ``top-3, 8 shadows``; empty where there is nothing to tell apart."""
        view = [] if self.view == LOGITS else [self.view.name]
        shadows = [] if self.shadows is None else [f"{self.shadows} shadows"]
        return ", ".join(view + shadows + ([] if self.together == 1 else [f"{self.together} finetunings"]))


AnyConfig = TypeVar("AnyConfig", bound=AttackedConfig)

# Where an attack that cannot be run would find what it needs.
ASKED_FOR = {
    Needs.KNOWN_MEMBERS: "known members, with pool.non_members",
    Needs.TOKENS: "models that write, with finetune.objective 'causal' and 'tokens' as the first of attack.views",
    Needs.PRETRAINING_LABELS: "points that models were pretrained to tell the labels of",
    Needs.PRETRAINED_MODEL: "the pretrained models' predictions, with recipe.query_pretrained",
}
# Views in which not every token of a text is seen.
HIDING = ("top", "loss", "text")


def with_attacks(config: AnyConfig) -> AnyConfig:
    """The configuration with the attacks that run by default where none is named, found out before any work.

    Raises:
        TmiError: an attack, its option, a view or a variant does not exist, an attack needs what this adversary does
            not have, or none looks at several finetunings where several are seen.
    """
    for name in config.attack.options:
        attack_of(config, name)
    for name in config.attack.views:
        _require_shown(config, View.parse(name))
    named = [attack_of(config, name) for name in config.attack.names]
    if not isinstance(config, Config):
        _require_together(config, config.attack.names)
        return config
    has = _had_in_a_run(config)
    # What points functions of the user are given, and whether known ones have labels, is seen when they are read.
    allowed = has | {Needs.PRETRAINING_LABELS} if config.recipe is not None or config.given else has
    for attack in named:
        if needs := lacking(attack, allowed):
            raise TmiError(f"attack.names has {attack.name!r}, which needs {ASKED_FOR.get(needs, needs.value)}")
    names = config.attack.names or default_attacks(has)
    if config.attack.together and not (config.variants and {*config.companions} <= {*config.variants}):
        there = ", ".join(config.variants) or "there are none"
        raise TmiError(f"attack.together is {config.attack.together!r}, expected names of variants, or 'all': {there}")
    _require_together(config, names)
    filled = config.model_copy(update={"attack": config.attack.model_copy(update={"names": names})})
    for view, adversary in by_view(filled).items():
        if not attacks_by(filled, adversary):
            raise TmiError(f"attack.views has {view!r}, of which no attack of {', '.join(names)} makes anything")
    return filled


def _require_shown(config: AttackedConfig, view: View) -> None:
    """Refuse a view in which a target that writes is seen better than it shows itself."""
    if not isinstance(config, Config) or config.target is None or config.target.meaning != "tokens":
        return
    shown, needed = config.target.shown_tokens, 1 if view.kind == "text" else view.number
    if shown is not None and needed > shown:
        remedy = ": ask for more in target.body" if config.target.kind == "http" else ""
        raise TmiError(
            f"attack.views has {view.name!r}, for which the target would have to tell of the {needed} likeliest "
            f"token{'s'[: needed - 1]} in each place, and it tells of {shown}{remedy}"
        )


def _require_together(config: AttackedConfig, names: Sequence[str]) -> None:
    if config.companions and not any(attack_of(config, name).together for name in names):
        able = ", ".join(name for name, attack in all_attacks().items() if attack.together)
        raise TmiError(f"no attack of {', '.join(names)} looks at several finetunings together, expected one of {able}")


def _had_in_a_run(config: Config) -> set[Needs]:
    writes = config.finetune.objective == "causal"
    of_texts = {Needs.TEXTS, Needs.VOCABULARY} if writes else set()
    if writes and main_adversary(config).view.kind not in HIDING:
        of_texts.add(Needs.TOKENS)
    if config.given:
        return {Needs.KNOWN_MEMBERS, *of_texts}
    # Pretraining points have no label among the downstream classes, but the next token of a text is known.
    has = {Needs.SHADOW_MODELS, *of_texts, Needs.LABELS if writes else Needs.TOP_CLASS}
    if config.recipe is None and config.pretrain.objective == "classification":
        has.add(Needs.PRETRAINING_LABELS)
    if config.recipe is None or config.recipe.query_pretrained is not None:
        has.add(Needs.PRETRAINED_MODEL)
    return has


def attack_of(config: AttackedConfig, name: str) -> Attack:
    """The attack of that name with the options that a configuration sets.

    Raises:
        TmiError: there is none, or it has no such options.
    """
    return attack_named(name, config.attack.options.get(name))


def draw_shadows(seed: int, models: int, target: int, number: int) -> list[int]:
    """The shadow models of an adversary who has only some of them, ascending.

    For each target one permutation of the other models, of which the first ``number`` are taken: who has more shadows
    has those of everyone who has fewer, so that a curve over their number shows what a shadow adds and not the luck of
    the draw.
    """
    others = [model for model in range(models) if model != target]
    return sorted(stream(seed, "shadows", target).permutation(others)[:number].tolist())


def main_adversary(config: AttackedConfig) -> Adversary:
    """The first view, with all shadow models."""
    return Adversary(View.parse(config.attack.views[0]))


def by_view(config: AttackedConfig) -> dict[str, Adversary]:
    """The adversaries who differ in what they see, all with all shadow models; the main one comes first."""
    return {name: Adversary(View.parse(name)) for name in config.attack.views}


def by_shadows(config: AttackedConfig) -> dict[int, Adversary]:
    """The adversaries who differ in how many shadow models they have, fewest first; all have the main view."""
    main = main_adversary(config)
    everyone = config.models - 1
    return {
        number: main if number == everyone else Adversary(main.view, number) for number in sorted(config.attack.shadows)
    }


def by_together(config: AttackedConfig) -> dict[int, Adversary]:
    """The adversaries who see the first so many finetunings, the main one first; none where there is but one."""
    main, several = main_adversary(config), range(2, 2 + len(config.companions))
    return {1: main} | {number: replace(main, together=number) for number in several} if several else {}


def all_adversaries(config: AttackedConfig) -> list[Adversary]:
    """Everyone in a run, the main one first."""
    groups = (by_view(config), by_shadows(config), by_together(config))
    return list(dict.fromkeys(adversary for group in groups for adversary in group.values()))


def attacks_by(config: AttackedConfig, adversary: Adversary) -> list[str]:
    """The attacks that an adversary runs: those that can live on what it sees.

    With several finetunings they are those that look at them, and without every token those that need not have it.
    """
    names = config.attack.names
    if adversary.view.kind in HIDING:
        names = [name for name in names if attack_named(name).needs is not Needs.TOKENS]
    return names if adversary.together == 1 else [name for name in names if attack_named(name).together]
