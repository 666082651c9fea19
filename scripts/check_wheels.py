"""Check the wheels and the sdist in a directory before anyone installs them.

What they hold, how large the extension is, and what twine, auditwheel and abi3audit say. Run it with the Python that
has these tools (.venv-release).
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from version import ROOT, written_version

LARGEST_EXTENSION = 5 * 2**20  # bytes, uncompressed
PACKAGE = ROOT / "python" / "tmi"
NOT_SHIPPED = {".so", ".pyd", ".pyc"}
EXTENSIONS = ("tmi/_core.abi3.so", "tmi/_core.pyd")
SDIST_NEEDS = ("Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "pyproject.toml", "rust/bindings/src/lib.rs")


def package_files() -> set[str]:
    """Every file of the package in the checkout, as a wheel names it: modules, stubs, presets, templates."""
    files = (path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in NOT_SHIPPED)
    return {f"tmi/{path.relative_to(PACKAGE).as_posix()}" for path in files}


def check_wheel(path: Path) -> None:
    """Raise SystemExit unless the wheel holds the package of the checkout, a small stable-ABI extension, no more."""
    version = written_version()
    if not path.name.startswith(f"tmi_audit-{version}-cp310-abi3-"):
        raise SystemExit(f"{path.name}: expected a cp310-abi3 wheel of version {version}.")
    with zipfile.ZipFile(path) as wheel:
        sizes = {entry.filename: entry.file_size for entry in wheel.infolist() if not entry.is_dir()}
    extensions = [name for name in sizes if name in EXTENSIONS]
    if len(extensions) != 1:
        raise SystemExit(f"{path.name}: expected one extension module, one of {EXTENSIONS}, found {extensions}.")
    if sizes[extensions[0]] > LARGEST_EXTENSION:
        raise SystemExit(f"{path.name}: {extensions[0]} has {sizes[extensions[0]]} bytes, above {LARGEST_EXTENSION}.")
    information = f"tmi_audit-{version}.dist-info/"
    held = {name for name in sizes if not name.startswith(information)} - set(extensions)
    expect_same(path, held, package_files())
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, extension {sizes[extensions[0]] / 1e6:.2f} MB")


def check_sdist(path: Path) -> None:
    """Raise SystemExit unless a wheel of the whole package can be built from the sdist."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = ({f"python/{name}" for name in package_files()} | set(SDIST_NEEDS)) - names
    if missing:
        raise SystemExit(f"{path.name}: misses {', '.join(sorted(missing)[:8])}.")
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


def expect_same(path: Path, held: set[str], expected: set[str]) -> None:
    """Raise SystemExit if the archive misses files or holds others."""
    for what, names in (("misses", expected - held), ("should not hold", held - expected)):
        if names:
            raise SystemExit(f"{path.name}: {what} {', '.join(sorted(names)[:8])}.")


def run_tool(module: str, *arguments: str | Path) -> None:
    """Run a checker that is installed beside this Python; raise CalledProcessError if it finds anything."""
    subprocess.run([sys.executable, "-m", module, *map(str, arguments)], check=True)


def main(directory: Path) -> None:
    """Check everything in ``directory``."""
    wheels, sdists = sorted(directory.glob("*.whl")), sorted(directory.glob("*.tar.gz"))
    if not wheels and not sdists:
        raise SystemExit(f"{directory}: expected wheels or an sdist, found none.")
    for wheel in wheels:
        check_wheel(wheel)
        run_tool("abi3audit", "--strict", wheel)
        if "linux" in wheel.name:
            run_tool("auditwheel", "show", wheel)
    for sdist in sdists:
        check_sdist(sdist)
    run_tool("twine", "check", "--strict", *wheels, *sdists)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist"))
