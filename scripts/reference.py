"""Writes the reference pages of the documentation from the code: commands, configuration keys, Python API.

    python scripts/reference.py

The pages are kept with the sources, so that they can be read without building the site; a test says when they are old.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import tmi
from tmi import config
from tmi.cli import tmi as commands

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
NOTE = "<!-- Written by scripts/reference.py: change the code that it describes, not this page. -->\n"

# The tables of a configuration in the order of the page: heading, class.
TABLES: dict[str, type[BaseModel]] = {
    "pool": config.PoolConfig,
    "downstream": config.DownstreamConfig,
    "encoder": config.EncoderConfig,
    "model": config.ModelConfig,
    "pretrain": config.PretrainConfig,
    "finetune": config.FinetuneConfig,
    "finetune.private": config.PrivacyConfig,
    "query": config.QueryConfig,
    "attack": config.AttackConfig,
    "evaluation": config.EvaluationConfig,
    "compute": config.ComputeConfig,
    "recipe": config.RecipeConfig,
    "target": config.TargetConfig,
}
# Where the tables are explained.
GUIDES = {
    "pool": "data.md",
    "downstream": "data.md",
    "encoder": "language.md",
    "model": "training.md#networks",
    "pretrain": "training.md#recipes",
    "finetune": "training.md#transfer-settings",
    "finetune.private": "training.md#differentially-private-finetuning",
    "attack": "attacks.md",
    "evaluation": "statistics.md",
    "recipe": "own-training.md",
    "target": "unknown-target.md",
}
VARIANTS = "training.md#variants-many-finetunings-of-one-set-of-pretrained-models"
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
TYPES = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "object": "table"}


def pages() -> dict[Path, str]:
    """The text of every generated page, by its path."""
    return {
        FOLDER / "cli.md": command_page(),
        FOLDER / "configuration.md": configuration_page(),
        FOLDER / "python.md": python_page(),
    }


def command_page() -> str:
    """What ``--help`` says, command by command."""
    parts = [
        "# Commands\n",
        NOTE,
        "What `tmi COMMAND --help` prints. Every command also takes `-h` or `--help`; exit codes are 0, 2 with one\n"
        "sentence that says what is wrong, or 3 where a condition of [`--fail-if`](../gate.md) holds. What\n"
        "`tmi attack --help` leaves out, `tmi attack --help-all` prints.\n",
    ]
    for path, command in all_commands("tmi", commands):
        context = click.Context(command, info_name=path, help_option_names=["-h", "--help"])
        usage = " ".join([path, *command.collect_usage_pieces(context)])
        parts += [f"## `{path}`\n", help_text(command), f"```text\n{usage}\n```\n"]
        options = [option for option in command.params if isinstance(option, click.Option)]
        records = [record for option in options if (record := option.get_help_record(context))]
        if records:
            parts.append(table(("option", "meaning"), [(f"`{option}`", text) for option, text in records]))
    return "\n".join(parts)


def all_commands(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """The command and those below it, each with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from all_commands(f"{path} {name}", command.commands[name])


def help_text(command: click.Command) -> str:
    """The command's own description, with its paragraphs."""
    return inspect.cleandoc(command.help or "").replace("\b\n", "") + "\n"


def configuration_page() -> str:
    """Every key of every table: what it may be, its default, its meaning."""
    parts = [
        "# Configuration keys\n",
        NOTE,
        "A configuration is a TOML file. `tmi presets show NAME` prints one to start from, and on the command line\n"
        "`--set TABLE.KEY=VALUE` sets any key. Unknown keys are errors. The `config.toml` of a run directory is\n"
        "complete: feeding it back repeats the run.\n",
        "## At the top\n",
        keys_of(config.Config, leave_out=(*TABLES, "variants")),
    ]
    for name, model in TABLES.items():
        guide = f" More: [guide](../{GUIDES[name]}).\n" if name in GUIDES else "\n"
        parts += [f"## `[{name}]`\n", summary(model) + guide, keys_of(model)]
    parts += [
        "## `[variants.NAME]`\n",
        plain(documented(config.Config)["variants"]) + f" More: [guide](../{VARIANTS}).\n",
    ]
    return "\n".join(parts)


def keys_of(model: type[BaseModel], leave_out: tuple[str, ...] = ()) -> str:
    """A Markdown table of a configuration table's keys."""
    schema = model.model_json_schema()
    texts = documented(model)
    rows = []
    for name, field in model.model_fields.items():
        if name in leave_out or (model is config.FinetuneConfig and name == "private"):
            continue
        described = values(schema["properties"][name], schema.get("$defs", {}))
        rows.append((f"`{name}`", described, default(field.default), plain(texts.get(name, ""))))
    return table(("key", "values", "default", "meaning"), rows)


def documented(model: type[BaseModel]) -> dict[str, str]:
    """The text under every attribute of a class and of those it is made from."""
    texts: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        (tree,) = ast.parse(dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for statement, following in zip(tree.body, tree.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
            ):
                texts[statement.target.id] = str(following.value.value)
    return texts


def values(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What a key may be, in words, from its JSON schema."""
    if "anyOf" in schema:
        choices = [values(choice, definitions) for choice in schema["anyOf"] if choice.get("type") != "null"]
        return " or ".join(choices)
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {values(schema['items'], definitions)}"
    bounds = [f"{sign} {schema[key]:,}" for key, sign in BOUNDS.items() if key in schema]
    return " ".join([TYPES[schema.get("type", "object")], ", ".join(bounds)]).strip()


def default(value: Any) -> str:
    """A default as TOML writes it."""
    if value is PydanticUndefined:
        return "**required**"
    return "left out" if value is None else f"`{json.dumps(value)}`"


def python_page() -> str:
    """One entry per name of the package, which mkdocstrings fills from the docstrings."""
    parts = [
        "# Python API\n",
        NOTE,
        "Everything that `import tmi` offers. Heavy modules are imported when a name is first used. Arrays are\n"
        "NumPy's; scores are higher for members; what is wrong with an input is raised as `tmi.TmiError`.\n",
    ]
    for name in sorted(tmi.__all__, key=str.lower):
        if name.startswith("_"):
            continue
        found = getattr(tmi, name)
        options = f"    options:\n      heading: tmi.{name}\n      toc_label: {name}\n"
        parts.append(f"::: {found.__module__}.{found.__qualname__}\n{options}")
    return "\n".join(parts)


def summary(documented: object) -> str:
    """The first paragraph of a docstring."""
    return plain(inspect.getdoc(documented) or "").partition("\n\n")[0]


def plain(text: str) -> str:
    """A docstring as Markdown: single backticks for code."""
    return re.sub(r"``(.+?)``", r"`\1`", inspect.cleandoc(text))


def table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table, its cells on one line each."""
    lines = [heads, ("---",) * len(heads), *rows]
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
