"""A directory that is gone on with: what it may be given more of, and what makes it another run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tmi.config import AttackedConfig, Config, SavedConfig, WithoutShadowsConfig, differences, load_any_config
from tmi.errors import TmiError
from tmi.runs.directory import RunDirectory
from tmi.runs.keys import TO_NO_MODEL

KINDS: dict[type[AttackedConfig], str] = {
    Config: "a run",
    SavedConfig: "an audit of saved predictions",
    WithoutShadowsConfig: "an audit without shadow models",
}
# Keys that an error message names.
MOST_DIFFERENCES = 5


def earlier_config(directory: RunDirectory) -> AttackedConfig | None:
    """The configuration of what a directory holds; None where it holds nothing yet.

    Raises:
        TmiError: it cannot be read.
    """
    directory.restore()
    if not directory.config.exists():
        return None
    try:
        return load_any_config(directory.config)
    except TmiError as error:
        raise TmiError(f"{error} (--fresh throws the run away and starts anew)") from None


def with_more_models(config: Config, earlier: AttackedConfig | None) -> Config:
    """The configuration, knowing with how many models its run was begun where it now has more.

    Args:
        config: what is wanted.
        earlier: of the run in the directory.
    """
    if not isinstance(earlier, Config) or config.models < earlier.models:
        return config
    begun = earlier.grown_from or earlier.models
    return config.model_copy(update={"grown_from": begun if begun < config.models else None})


def attack_names(
    named: Sequence[str], usual: Sequence[str], added: Sequence[str], earlier: AttackedConfig | None
) -> list[str]:
    """Which attacks a directory that is gone on with has: none is lost but by naming exactly those that are wanted.

    Args:
        named: the attacks of the configuration, if it names some: exactly these.
        usual: those that run where it names none; the directory's own come after them.
        added: by ``--attack``, to those of the directory; alone where it has none.
        earlier: the configuration of what the directory holds.
    """
    there = [] if earlier is None else earlier.attack.names
    if added:
        return list(dict.fromkeys([*there, *added]))
    return list(named) or list(dict.fromkeys([*usual, *there]))


def refuse_other_configuration(root: Path, earlier: AttackedConfig | None, config: AttackedConfig) -> None:
    """Never mix two audits in one directory; a run may be given more models, but not fewer.

    Args:
        root: the directory.
        earlier: the configuration of what it holds, see `earlier_config`.
        config: what is wanted.

    Raises:
        TmiError: its models, points or answers are others.
    """
    if earlier is None:
        return
    if type(earlier) is not type(config):
        held, wanted = (KINDS[type(each)] for each in (earlier, config))
        raise TmiError(f"{root}: holds {held}, no place for {wanted}; choose another --out")
    differing = [line for line in differences(earlier, config) if not line.startswith(TO_NO_MODEL)]
    if isinstance(earlier, Config) and isinstance(config, Config):
        others = [line for line in differing if not line.startswith("models ")]
        if not others and config.models < earlier.models:
            raise TmiError(
                f"{root}: the run has {earlier.models} models, more than the {config.models} asked for: say "
                f"--models {earlier.models}, with --targets or --shadows to attack fewer; or choose another --out"
            )
        differing = others if config.models > earlier.models else differing
    if differing:
        shown = differing[:MOST_DIFFERENCES]
        if len(differing) > len(shown):
            shown.append(f"{len(differing) - len(shown)} more keys")
        raise TmiError(
            f"{root}: holds a run of another configuration: {'; '.join(shown)}; "
            "choose another --out, or --fresh to throw that run away"
        )
