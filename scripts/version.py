"""Print the package's version, which is written in one place: the workspace of Cargo.toml.

Given a tag such as v0.1.0, fail unless it names that version and CHANGELOG.md has a dated heading for it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORKSPACE_VERSION = re.compile(r'^\[workspace\.package\]\n(?:[^\[].*\n)*?version = "([^"]+)"$', re.MULTILINE)


def written_version() -> str:
    """The version in the workspace of Cargo.toml (Python 3.10 has no TOML reader)."""
    found = WORKSPACE_VERSION.search((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    if found is None:
        raise SystemExit("Cargo.toml: expected a version in [workspace.package], found none.")
    return found[1]


def refuse_other_tag(tag: str, version: str) -> None:
    """Raise SystemExit unless ``tag`` is of ``version`` and the changelog says when that was released."""
    if tag != f"v{version}":
        raise SystemExit(f"The tag is {tag}, the version in Cargo.toml {version}: expected the tag v{version}.")
    heading = re.compile(rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", re.MULTILINE)
    if not heading.search((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")):
        raise SystemExit(f"CHANGELOG.md: expected a heading '## {version} (YYYY-MM-DD)', found none.")


if __name__ == "__main__":
    version = written_version()
    for tag in sys.argv[1:]:
        refuse_other_tag(tag, version)
    print(version)
