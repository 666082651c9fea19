"""What only some readers need: how to read the figures, what the attacks are, and where the figures come from."""

from __future__ import annotations

from collections.abc import Mapping

from tmi.report.blocks import Block, Cell, Code, Column, Folded, Items, Material, Media, Paragraph, Section, Table
from tmi.report.sections import methods, models, reading
from tmi.report.wording import counted, duration


def section(material: Material) -> Section:
    """Folded: explanations, versions, times, files, hashes and the configuration."""
    results = material.results
    provenance, machine = results.provenance, results.provenance.machine
    made_with = {
        "tmi": results.version,
        "Seed": str(results.seed),
        "Python": provenance.python,
        "Packages": ", ".join(f"{name} {version}" for name, version in provenance.packages.items()),
        "Machine": f"{machine.system}, {machine.processor}, {counted(machine.cores or 0, 'core', 'cores')}",
    }
    times = {f"Time: {name}": duration(seconds) for name, seconds in results.stages.items()}
    if len(times) > 1:
        times["Time: total"] = duration(sum(results.stages.values()))
    blocks: list[Block] = []
    if results.attacks:
        learned = models.folded(results)
        blocks += [reading.folded(results), methods.folded(results), *([learned] if learned else [])]
    if files := results.data.files:
        columns = [
            Column("File", [Cell(file.path, [file.sha256]) for file in files]),
            Column("Role", [file.role for file in files]),
            Column("Shape", [" × ".join(f"{size:,}" for size in file.shape) for file in files]),
            Column("Type", [file.dtype for file in files]),
        ]
        blocks.append(Folded("Files that were read", [Table(columns, has_words=True)]))
    keys = {f"key of {stage}": key for stage, key in provenance.keys.items()}
    if hashes := {name: Code(value) for name, value in (provenance.hashes | keys).items() if value}:
        blocks.append(Folded("Hashes (SHA-256) of data and stages", [_named(hashes)]))
    blocks.append(Folded("Versions, machine and times", [_named(made_with | times)]))
    if material.config_toml:
        what = "run" if results.kind == "run" else "audit"
        summary = f"config.toml: the complete configuration, which repeats this {what}"
        blocks.append(Folded(summary, [Paragraph(material.config_toml, "verbatim")]))
    return Section("Details", blocks, Media.PAGE)


def _named(values: Mapping[str, str]) -> Items:
    return Items([(name, [(value,)]) for name, value in values.items()])
