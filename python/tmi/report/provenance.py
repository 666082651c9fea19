"""Where the figures come from, as rows of names and values: what was read, with which versions, how long it took."""

from __future__ import annotations

from tmi.report.results import Results
from tmi.report.wording import duration


def made_with(results: Results) -> dict[str, str]:
    """Versions, seed and machine by name.

    Args:
        results: the content of results.json.
    """
    provenance = results.provenance
    machine = provenance.machine
    cores = machine.cores
    return {
        "tmi": results.version,
        "Seed": str(results.seed),
        "Python": provenance.python,
        "Packages": ", ".join(f"{name} {version}" for name, version in provenance.packages.items()),
        "Machine": f"{machine.system}, {machine.processor}, {cores} core{'' if cores == 1 else 's'}",
    }


def stage_times(results: Results) -> dict[str, str]:
    """How long each stage took, and all of them."""
    times = {name: duration(seconds) for name, seconds in results.stages.items()}
    if len(times) > 1:
        times["total"] = duration(sum(results.stages.values()))
    return times


def hashes(results: Results) -> dict[str, str]:
    """SHA-256 of what the figures were made from, and the keys under which stages were made, by name."""
    provenance = results.provenance
    keys = {f"key of {stage}": key for stage, key in provenance.keys.items()}
    return {name: value for name, value in {**provenance.hashes, **keys}.items() if value}


def files(results: Results) -> list[dict[str, str]]:
    """Files that were read in an audit of saved predictions; none in a run.

    Returns:
        A table row each: role, path, shape, dtype, sha256.
    """
    return [
        {
            "role": file.role,
            "path": file.path,
            "shape": " × ".join(f"{size:,}" for size in file.shape),
            "dtype": file.dtype,
            "sha256": file.sha256,
        }
        for file in results.data.files or []
    ]
