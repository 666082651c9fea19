"""Reading a configuration: a preset or a TOML file, with values replaced, checked."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from tmi.config.attacking import AttackedConfig
from tmi.config.mistakes import mistakes, table_of
from tmi.config.saved import SavedConfig, WithoutShadowsConfig
from tmi.config.tables import Config
from tmi.config.training import FinetuneConfig
from tmi.errors import TmiError, did_you_mean, first_line
from tmi.system.files import depth_of, read_text
from tmi.system.plugins import reads_files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

AnyConfig = TypeVar("AnyConfig", bound=AttackedConfig)

# The tables that a variant may change.
VARIED = ("downstream", "finetune")
# The keys of a private recipe that say how private it is.
BUDGETS = ("epsilon", "noise_multiplier")
# Of a TOML file: bytes, enough for the names of all of ImageNet's classes, and tables within one another.
LARGEST_TOML = 4 << 20
DEEPEST_TOML = 20
# A key of more parts than that. The parser takes memory that grows with the square of their number, 1.6 GB for 40 kB.
KEY_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
TOO_DEEP = re.compile(rf"(?<![\w-]){KEY_PART}(?:[ \t]*\.[ \t]*{KEY_PART}){{{DEEPEST_TOML}}}")
PRESETS = resources.files("tmi.config") / "presets"


def preset_names() -> list[str]:
    """Names of the presets that ship with the package, sorted."""
    return sorted(entry.name.removesuffix(".toml") for entry in PRESETS.iterdir() if entry.name.endswith(".toml"))


def preset_text(name: str) -> str:
    """The TOML text of a preset, comments included.

    Raises:
        TmiError: there is no such preset.
    """
    if name not in preset_names():
        raise TmiError(f"there is no preset named {name!r}{did_you_mean(name, preset_names())}")
    return (PRESETS / f"{name}.toml").read_text(encoding="utf-8")


def preset_description(name: str) -> str:
    """What a preset says of itself in one sentence."""
    return str(_parse(preset_text(name), name)["description"])


def load_config(
    preset_or_file: str,
    overrides: dict[str, Any] | None = None,
    data: Path | None = None,
    *,
    variants: Sequence[str] | None = None,
    epsilons: Sequence[float] = (),
) -> Config:
    """Read a preset or a TOML file and validate it.

    Fewer ``models`` in ``overrides`` than ``evaluation.targets`` of the file are each the target once.

    Args:
        preset_or_file: the name of a preset, or the path of a file that ends in ``.toml``.
        overrides: values by dotted key (``{"pretrain.epochs": 10}``) that replace those of the file.
        data: the folder in which relative paths start; that of the TOML file if left out.
        variants: only these of the variants; all if left out.
        epsilons: privacy budgets, each of which makes a variant that finetunes as the run itself does, but privately.

    Raises:
        TmiError: no such preset or file, not TOML, a preset whose data is the user's without ``data``; or everything
            that is wrong with the keys at once: unknown, missing, of a wrong type or value, or not fitting together.
    """
    if data is not None and not data.is_dir():
        raise TmiError(f"--data {data}: there is no such directory")
    document = _parse(_text(preset_or_file), preset_or_file)
    overrides, folder = overrides or {}, data
    if preset_or_file not in preset_names():
        folder = data or Path(preset_or_file).parent
        if _names_functions(document):
            document["code"] = str((Path(preset_or_file).parent / str(document.get("code", ""))).resolve())
    _anchor_paths(document, folder, preset_or_file)
    with_values(document, overrides)
    targets, models = table_of(document, "evaluation").get("targets"), overrides.get("models")
    if isinstance(targets, int) and isinstance(models, int) and "evaluation.targets" not in overrides:
        document["evaluation"]["targets"] = targets if targets <= models else "all"
    if variants is not None:
        document["variants"] = _chosen(document.get("variants", {}), variants, preset_or_file)
    for epsilon in epsilons:
        recipe = {key: value for key, value in table_of(document, "finetune", "private").items() if key not in BUDGETS}
        name = f"epsilon-{epsilon:g}"
        document.setdefault("variants", {})[name] = {"finetune": {"private": recipe | {"epsilon": float(epsilon)}}}
    return validate(document, preset_or_file)


def load_any_config(path: Path, overrides: dict[str, Any] | None = None) -> AttackedConfig:
    """Read the complete configuration in a run directory, of a run or of an audit of saved predictions.

    Raises:
        TmiError: as `load_config`.
    """
    document = _parse(_read(path), str(path))
    if "files" not in document:
        return load_config(str(path), overrides)
    with_values(document, overrides or {})
    return (saved_config if "predictions" in table_of(document, "files") else without_shadows_config)(
        document, str(path)
    )


def attacked_config(document: dict[str, Any], origin: str) -> AttackedConfig:
    """Check the configuration of attacks on predictions in memory; ``origin`` names it in error messages.

    Raises:
        TmiError: keys that are unknown, missing or have wrong values, all of them.
    """
    return _checked(AttackedConfig, document, origin)


def saved_config(document: dict[str, Any], origin: str) -> SavedConfig:
    """Check the configuration of an audit of saved predictions; ``origin`` names it in error messages.

    Raises:
        TmiError: keys that are unknown, missing or have wrong values, all of them.
    """
    return _checked(SavedConfig, document, origin)


def without_shadows_config(document: dict[str, Any], origin: str) -> WithoutShadowsConfig:
    """Check the configuration of an audit without shadow models; ``origin`` names it in error messages.

    Raises:
        TmiError: keys that are unknown, missing or have wrong values, all of them.
    """
    return _checked(WithoutShadowsConfig, document, origin)


def validate(document: dict[str, Any], origin: str) -> Config:
    """Check a parsed TOML document; ``origin`` names it in error messages.

    Raises:
        TmiError: keys that are unknown, missing or have wrong values, all of them.
    """
    return _with_controls(_checked(Config, document, origin))


def _checked(kind: type[AnyConfig], document: dict[str, Any], origin: str) -> AnyConfig:
    _require_plain(document, origin)
    try:
        return kind.model_validate(document)
    except (ValidationError, TmiError):
        found = mistakes(kind, document)
    if len(found) == 1:
        raise TmiError(f"{origin}: {found[0]}")
    raise TmiError("\n  - ".join([f"{origin}: {len(found)} mistakes", *found]))


def _require_plain(document: dict[str, Any], origin: str) -> None:
    """Refuse what TOML can say, or ``--set``, and neither arrays nor files hold; nothing after this need expect it."""
    if depth_of(document) > DEEPEST_TOML:
        raise TmiError(f"{origin}: its tables and lists are nested more than {DEEPEST_TOML} deep")
    for key, value in _flatten(document).items():
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, int) and number.bit_length() > 63 for number in numbers):
            raise TmiError(f"{origin}: the key {key!r} is a number of more than 64 bits")


def _with_controls(config: Config) -> Config:
    """Add a finetuning without noise for every private one, so that the noise can be told apart from the recipe."""
    found = [_finetune_of(config, name) for name in config.variants]
    if problems := [str(each) for each in found if isinstance(each, TmiError)]:
        raise TmiError("\n".join(problems))
    recipes = [config.finetune, *(each for each in found if not isinstance(each, TmiError))]
    controls: dict[str, Any] = {}
    for recipe in list(recipes):
        if recipe.private is None or recipe.private.noise_multiplier == 0:
            continue
        silent = recipe.model_copy(update={"private": recipe.private.without_noise()})
        if silent not in recipes:
            recipes.append(silent)
            name = "epsilon-inf" if not controls else f"epsilon-inf-{len(controls) + 1}"
            controls[name] = {"finetune": silent.model_dump(exclude_none=True)}
    return config.model_copy(update={"variants": config.variants | controls})


def _finetune_of(config: Config, name: str) -> FinetuneConfig | TmiError:
    """How a variant finetunes, or what is wrong with it."""
    try:
        return variant_of(config, name).finetune
    except TmiError as error:
        return error


def variant_of(config: Config, name: str) -> Config:
    """The configuration of one of ``config.variants``: the same pretraining, another finetuning.

    Raises:
        TmiError: the variant changes something else, or does not fit the rest.
    """
    changes = config.variants[name]
    document = config.model_dump(exclude_none=True) | {"name": name, "variants": {}}
    for table, values in changes.items():
        if table not in VARIED:
            raise TmiError(f"variants.{name} has the key {table!r}, expected {' or '.join(VARIED)}")
        if not isinstance(values, dict):
            raise TmiError(f"variants.{name}.{table} is {values!r}, expected a table")
        document[table] = document[table] | values
    return validate(document, f"variants.{name}")


def with_values(document: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The document, in which values are replaced by dotted key.

    Raises:
        TmiError: a key leads through something that is no table.
    """
    for key, value in values.items():
        _override(document, key, value)
    return document


def parse_value(text: str) -> Any:
    """Read the value of ``--set key=value``: TOML where it is TOML (``3``, ``[1, 2]``), else a string."""
    try:
        return _parse(f"value = {text}", "")["value"]
    except TmiError:
        return text


def differences(left: AttackedConfig, right: AttackedConfig) -> list[str]:
    """Dotted keys whose values differ, as ``key: left, now right``."""
    first, second = _flatten(left.model_dump()), _flatten(right.model_dump())
    return [
        f"{key} was {first.get(key)!r}, now {second.get(key)!r}"
        for key in first | second
        if first.get(key) != second.get(key)
    ]


def _text(preset_or_file: str) -> str:
    """The text of a preset or file.

    Raises:
        TmiError: it is neither, which is said with what was probably meant.
    """
    path = Path(preset_or_file)
    if preset_or_file in preset_names():
        return preset_text(preset_or_file)
    if path.is_dir():
        if (path / "config.toml").is_file():
            raise TmiError(f"{path}: is the directory of a run, whose configuration is {path / 'config.toml'}")
        inside = "".join(f", such as {file}" for file in sorted(path.glob("*.toml"))[:1])
        raise TmiError(
            f"{path}: is a folder, expected a preset or a TOML file{inside}; `tmi init {path}` writes one for data"
        )
    if path.suffix == ".toml":
        return _read(path)
    if path.is_file():
        raise TmiError(f"{path}: expected a TOML file, named *.toml; `tmi init {path}` writes one for data")
    if path.suffix or path.parent != Path():
        raise TmiError(f"{path}: there is no such file{_files_like(path)}")
    if like := _files_like(path):
        raise TmiError(f"there is no preset named {preset_or_file!r}{like}")
    return preset_text(preset_or_file)


def _files_like(path: Path) -> str:
    """`` (did you mean mine.toml?)``, empty where no file beside it is called alike."""
    there = [file.name for file in path.parent.glob("*.toml")]
    return "".join(
        f" (did you mean {path.with_name(name)}?)" for name in difflib.get_close_matches(path.name, there, n=1)
    )


def _read(path: Path) -> str:
    try:
        return read_text(path, LARGEST_TOML)
    except FileNotFoundError:
        raise TmiError(f"{path}: there is no such file{_files_like(path)}") from None
    except OSError as error:
        raise TmiError(f"{path}: cannot be read: {error}") from None


def _parse(text: str, origin: str) -> dict[str, Any]:
    if TOO_DEEP.search(text):
        raise TmiError(f"{origin}: not a TOML file: a key has more than {DEEPEST_TOML} parts with dots between")
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except RecursionError:
        raise TmiError(f"{origin}: not a TOML file: it is nested too deeply") from None
    except ValueError as error:  # also of a number of thousands of digits, which is no error of TOML
        said = str(error) if isinstance(error, tomllib.TOMLDecodeError) else first_line(error)
        raise TmiError(f"{origin}: not a TOML file: {said}") from None
    return document


def _anchor_paths(document: dict[str, Any], folder: Path | None, origin: str) -> None:
    """Make relative paths absolute, so that the resolved configuration works from anywhere."""
    for named, key in ((document.get("model"), "checkpoint"), (document.get("encoder"), "tokenizer")):
        if isinstance(named, dict) and isinstance(name := named.get(key), str):
            # A directory or file beside the TOML file, or else a name on the hub.
            beside = (folder or Path()).resolve() / Path(name).expanduser()
            named[key] = str(beside) if beside.exists() else name
    target = document.get("target")
    if isinstance(target, dict) and isinstance(path := target.get("path"), str):
        target["path"] = _anchored(path, folder, origin)
    variants = document.get("variants")
    varied = (
        [v.get("downstream") for v in variants.values() if isinstance(v, dict)] if isinstance(variants, dict) else []
    )
    for table in (document.get("pool"), document.get("downstream"), *varied):
        if not isinstance(table, dict):
            continue
        for key in ("source", "non_members"):
            kind, _, name = str(table.get(key, "")).partition(":")
            if reads_files(kind):
                table[key] = f"{kind}:{_anchored(name, folder, origin)}"
        if isinstance(table.get("relabel"), str):
            table["relabel"] = _anchored(table["relabel"], folder, origin)


def _names_functions(document: dict[str, Any]) -> bool:
    """Whether a configuration names functions of the user's own."""
    variants = table_of(document, "variants").values()
    varied = [table_of(variant, "downstream") for variant in variants if isinstance(variant, dict)]
    sources = [
        table.get(key)
        for table in (table_of(document, "pool"), table_of(document, "downstream"), *varied)
        for key in ("source", "non_members")
    ]
    kinds = [table_of(document, table).get("kind") for table in ("model", "target")]
    return "recipe" in document or "python" in kinds or any(str(source).startswith("python:") for source in sources)


def _anchored(name: str, folder: Path | None, origin: str) -> str:
    path = Path(name).expanduser()
    if path.is_absolute():
        return str(path)
    if folder is None:
        raise TmiError(f"{origin} reads data of yours: say with --data DIR in which directory it is")
    return str(folder.resolve() / path)


def _chosen(variants: dict[str, Any], names: Sequence[str], origin: str) -> dict[str, Any]:
    for name in names:
        if name not in variants:
            raise TmiError(f"{origin} has no variant named {name!r}{did_you_mean(name, sorted(variants))}")
    return {name: variants[name] for name in names}


def _override(document: dict[str, Any], key: str, value: Any) -> None:
    *tables, last = key.split(".")
    for name in tables:
        document = document.setdefault(name, {})
        if not isinstance(document, dict):
            raise TmiError(f"--set {key}: {name!r} is a value, not a table")
    document[last] = value


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
