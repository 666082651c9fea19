"""``tmi doctor``: what is installed, what the machine has, and what is wrong with either."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from tmi.cli.options import debuggable

FOUND_PROBLEMS = 2
STANDARD_OUTPUT = "-"


@click.command()
@click.option(
    "--json",
    "json_file",
    is_flag=False,
    flag_value=STANDARD_OUTPUT,
    metavar="[FILE]",
    help="Also write the facts there as JSON, for a report of a bug; without FILE print nothing else.",
)
@debuggable
def doctor(json_file: str | None) -> None:
    """Say what is installed, what this machine has, and what would be slow or is missing.

    The exit code is 2 if something that is needed is missing or broken. Takes some seconds: torch is imported.
    """
    from tmi.system.doctor import examine

    facts = examine()
    document = json.dumps(facts, indent=2, ensure_ascii=False)
    if json_file not in (None, STANDARD_OUTPUT):
        Path(str(json_file)).write_text(document + "\n", encoding="utf-8")
    click.echo(document if json_file == STANDARD_OUTPUT else _told(facts))
    if facts["problems"]:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


def _told(facts: dict[str, Any]) -> str:
    """All facts in plain text: the libraries for tables may be what is missing."""
    lines = [
        *_rows([*_of_installation(facts), *_of_machine(facts)]),
        "",
        *_rows([_of_package(package) for package in facts["packages"]]),
    ]
    for heading, found, mark, color in (
        ("Slow or missing:", facts["notes"], "!", "yellow"),
        ("Broken:", facts["problems"], "✗", "red"),
    ):
        if found:
            lines += ["", heading, *(f"{click.style(mark, fg=color)} {sentence}" for sentence in found)]
    if not facts["problems"]:
        lines += ["", f"{click.style('✓', fg='green')} Everything that is needed is there."]
    return "\n".join(lines)


def _of_installation(facts: dict[str, Any]) -> list[tuple[str, ...]]:
    extension = facts["tmi"]
    return [
        ("tmi", f"{extension['version']}, Rust extension {extension['build']}"),
        ("Python", facts["python"]),
        ("system", facts["system"]),
    ]


def _of_machine(facts: dict[str, Any]) -> list[tuple[str, ...]]:
    cores, memory, hub = facts["cores"], facts["memory"], facts["hub"]
    limit = "" if cores["limit"] is None else f", time of {cores['limit']:g} granted"
    memory_limit = "" if memory["limit"] is None else f", {_size(memory['limit'])} granted"
    threads = ", ".join(f"{name}={'?' if value is None else value}" for name, value in facts["threads"].items())
    return [
        ("cores", f"{cores['available']} available of {cores['present']}{limit}"),
        ("threads", threads or "no variable set"),
        ("memory", f"{_size(memory['total'])}{memory_limit}"),
        ("instructions", f"{facts['simd']['architecture']}; the Rust kernels use {facts['simd']['kernels']}"),
        ("free disk", f"{_size(facts['disk_free'])} in this directory"),
        ("hub cache", f"{hub['cache']}{'' if hub['exists'] else ', does not exist yet'}"),
        *((device["name"], _of_device(device)) for device in (facts["torch"] or {"devices": []})["devices"]),
    ]


def _of_device(device: dict[str, Any]) -> str:
    memory = None if device["memory"] is None else _size(device["memory"])
    known = [device["model"], memory, f"trains in {device['automatic_precision']}"]
    return ", ".join(entry for entry in known if entry)


def _of_package(package: dict[str, Any]) -> tuple[str, ...]:
    version = package["version"] or ("not installed (optional)" if package["optional"] else "not installed")
    return package["name"], version, package["needed_by"]


def _rows(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns that are as wide as their widest entry."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _size(size: int | None) -> str:
    return "unknown" if size is None else f"{size / (1 << 30):,.1f} GiB"
