"""The documentation: every page is found, its commands and configurations work, generated pages are current."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import click
import pytest
import yaml
from pydantic import BaseModel

import tmi
from tmi.cli import tmi as cli
from tmi.config import Config, load_config

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
TEXTS = PAGES | {"README": (ROOT / "README.md").read_text(encoding="utf-8")}
CODE_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
# Of the shell, not the sign within the quotes of a condition.
REDIRECTION = re.compile(r"""\s\|.*|\s>\s*[^\s"']+(?=\s*($|#))""")


def blocks(language: str) -> list[Any]:
    """All code blocks in that language, with the page that each is on."""
    return [
        pytest.param(text, id=f"{page}-{number}")
        for page, content in TEXTS.items()
        for number, (found, text) in enumerate(CODE_BLOCK.findall(content))
        if found == language
    ]


def commands() -> list[Any]:
    found = []
    for block in blocks("sh"):
        (text,) = block.values
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(REDIRECTION.sub("", line), comments=True)
            if words[:1] == ["tmi"]:
                found.append(pytest.param(words[1:], id=f"{block.id}: {' '.join(words)}"))
    return found


def parse(words: list[str]) -> None:
    """Read the command line with every option and argument as the command would, without running it."""
    command: click.Command = cli
    context = click.Context(cli, info_name="tmi")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, f"no command {name}"
        command = found
    try:
        command.make_context("tmi", list(words), parent=context)
    except click.exceptions.Exit:
        assert words in (["--version"], ["--help"])


@pytest.mark.parametrize("words", commands())
def test_every_command_in_the_documentation_parses(words: list[str]) -> None:
    parse(words)


def test_the_files_for_clusters_are_whole_and_call_commands_that_exist() -> None:
    page = dict(CODE_BLOCK.findall(PAGES["cluster.md"]))
    job = yaml.safe_load(page["yaml"])
    assert job["kind"] == "RayJob"
    cluster = job["spec"]["rayClusterSpec"]
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = {each["image"] for pod in pods for each in pod["template"]["spec"]["containers"]}
    assert len(images) == 1, "the same versions everywhere"
    parse(shlex.split(job["spec"]["entrypoint"])[1:])
    subprocess.run(["bash", "-n"], input=page["bash"], text=True, check=True)
    (line,) = [line for line in page["bash"].splitlines() if line.startswith("tmi ")]
    parse(shlex.split(line)[1:])


@pytest.mark.parametrize(
    "line", ["attack --vew logits", "atack digits", "attack --shadows many", "compare", "attack --epsilons x"]
)
def test_commands_that_do_not_exist_are_noticed(line: str) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        parse(line.split())


@pytest.mark.parametrize("text", blocks("toml"))
def test_every_configuration_in_the_documentation_is_valid(text: str, tmp_path: Path) -> None:
    document = tomllib.loads(text)
    if "project" in document:  # of a pyproject.toml, which names entry points
        assert list(document["project"]) == ["entry-points"]
        assert set(document["project"]["entry-points"]) <= {"tmi.attacks", "tmi.sources", "tmi.transfers"}
        return
    if "name" in document:
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        assert load_config(str(path)).name == document["name"]
    assert list(unknown_keys(document, Config)) == []


def test_keys_that_do_not_exist_are_noticed() -> None:
    document = {
        "models": 3,
        "pool": {"sise": 1},
        "finetune": {"private": {"epsilom": 1.0}},
        "variants": {"a": {"b": 1}},
    }
    assert list(unknown_keys(document, Config)) == ["pool.sise", "finetune.private.epsilom", "variants.a.b"]


def unknown_keys(document: dict[str, Any], model: type[BaseModel], within: str = "") -> Iterator[str]:
    """The dotted keys of a part of a configuration that no table has."""
    for key, value in document.items():
        if key == "variants" and model is Config:
            for name, variant in value.items():
                yield from unknown_keys(variant, Config, f"variants.{name}.")
            continue
        if key not in model.model_fields:
            yield within + key
            continue
        annotation = model.model_fields[key].annotation
        for choice in (annotation, *get_args(annotation)):
            if isinstance(choice, type) and issubclass(choice, BaseModel):
                yield from unknown_keys(value, choice, f"{within}{key}.")


@pytest.mark.parametrize("text", blocks("python"))
def test_every_piece_of_python_in_the_documentation_compiles(text: str) -> None:
    compile(text, "documentation", "exec")


def navigation(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        for value in entry.values():
            yield from navigation(value) if isinstance(value, list) else [value]


def site() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return found


def test_every_page_is_in_the_navigation_once() -> None:
    assert sorted(navigation(site()["nav"])) == sorted(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_starts_with_its_only_title_and_links_to_pages_that_exist(page: str) -> None:
    prose = CODE_BLOCK.sub("", PAGES[page])
    assert prose.startswith("# ")
    assert len(re.findall(r"^# ", prose, re.MULTILINE)) == 1
    for link in re.findall(r"\]\(([^)#\s]+)", prose):
        assert link.startswith("https://") or (DOCS / page).parent.joinpath(link).is_file(), link


def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_pages_are_current() -> None:
    for path, text in reference().pages().items():
        found = PAGES[str(path.relative_to(DOCS))]
        assert found == text, f"{path.name} is old: run `python scripts/reference.py`"


def test_the_reference_has_every_command_key_and_name() -> None:
    for name in cli.commands:
        assert f"## `tmi {name}`" in PAGES["reference/cli.md"]
    for name, field in Config.model_fields.items():
        is_table = any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in _kinds(field.annotation))
        assert (f"## `[{name}]`" if is_table else f"`{name}`" if name != "variants" else "[variants.NAME]") in PAGES[
            "reference/configuration.md"
        ]
    for name in tmi.__all__:
        assert name.startswith("_") or f"heading: tmi.{name}\n" in PAGES["reference/python.md"]


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return (annotation, *get_args(annotation))


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    for needed in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(needed)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    for page in PAGES:
        html = tmp_path.joinpath(page).with_suffix(".html").read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"|<link[^>]*\shref="([^"]+)"', html)
        assert [address for pair in loaded for address in pair if re.match(r"(https?:)?//", address)] == [], page
    attacks = tmp_path.joinpath("attacks.html").read_text(encoding="utf-8")
    assert attacks.count('<svg class="drawn"') > 20
    assert "$" not in re.sub(r"<(script|style|code).*?</\1>", "", attacks, flags=re.DOTALL)
    api = tmp_path.joinpath("reference", "python.html").read_text(encoding="utf-8")
    assert "each model in turn the target" in api
