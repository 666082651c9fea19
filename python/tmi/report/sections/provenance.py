"""Where the figures come from: what was read, with which versions, how long it took."""

from __future__ import annotations

from tmi.report.blocks import (
    Block,
    Cell,
    Code,
    Column,
    Folded,
    Group,
    Heading,
    Listing,
    Material,
    Media,
    Section,
    Table,
    Terms,
)
from tmi.report.wording import counted, duration


def section(material: Material) -> Section:
    """Versions, times, files, hashes and the configuration."""
    results = material.results
    provenance, machine = results.provenance, results.provenance.machine
    times = {name: duration(seconds) for name, seconds in results.stages.items()}
    if len(times) > 1:
        times["total"] = duration(sum(results.stages.values()))
    blocks: list[Block] = [
        Terms(
            [
                ("tmi", results.version),
                ("Seed", str(results.seed)),
                ("Python", provenance.python),
                ("Packages", ", ".join(f"{name} {version}" for name, version in provenance.packages.items())),
                ("Machine", f"{machine.system}, {machine.processor}, {counted(machine.cores or 0, 'core', 'cores')}"),
            ]
        ),
        Heading("Time per stage"),
        Terms(list(times.items())),
    ]
    if results.data.files:
        rows = [
            [
                Cell(file.path, [file.sha256]),
                Cell(file.role),
                Cell(" × ".join(f"{size:,}" for size in file.shape)),
                Cell(file.dtype),
            ]
            for file in results.data.files
        ]
        columns = [Column(head) for head in ("File", "Role", "Shape", "Type")]
        blocks += [Heading("Files that were read"), Table(columns, [Group(rows)], has_words=True)]
    keys = {f"key of {stage}": key for stage, key in provenance.keys.items()}
    hashes = [(name, (Code(value),)) for name, value in (provenance.hashes | keys).items() if value]
    if hashes:
        blocks.append(Folded("Hashes (SHA-256) of data and stages", Terms(hashes)))
    if material.config_toml:
        what = "audit" if results.is_saved else "run"
        summary = f"config.toml: the complete configuration, which repeats this {what}"
        blocks.append(Folded(summary, Listing(material.config_toml)))
    return Section("Provenance", blocks, Media.PAGE)
