"""Functions that the user names as ``module.function``."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

import tmi
from tmi.errors import TmiError

# Where modules are looked for before the current directory, the latest first.
_folders: list[str] = []


def look_in(folder: str | None) -> None:
    """Find modules in a folder as well, in this process, before those in the current directory."""
    if folder is not None:
        _folders[:] = [folder, *(other for other in _folders if other != folder)]


def folders() -> list[str]:
    """Where modules are looked for before the installed ones."""
    return [*_folders, str(Path.cwd())]


def call_named(path: str, where: str, /, **arguments: Any) -> Any:
    """Call a function of the user, named ``module.function``; see `function_named`.

    Raises:
        TmiError: there is no such module or function, or it fails; the sentence names the line.
    """
    function = function_named(path, where)
    with _importable():
        try:
            return function(**arguments)
        except TmiError:
            raise
        except Exception as error:
            raise TmiError(
                f"{where}: the function raised {type(error).__name__}: {error}{_line_of(error.__traceback__)}"
            ) from error


def function_named(path: str, where: str) -> Callable[..., Any]:
    """A function of the user; modules in the folder of the configuration and in the current directory are found.

    Raises:
        TmiError: there is no such module or function.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise TmiError(f"{where}: expected module.function, the name of a Python function")
    try:
        with _importable():
            module = import_module(module_name)
    except Exception as error:  # importing a module runs it
        line = "" if isinstance(error, SyntaxError) else _line_of(error.__traceback__)
        looked = " or ".join(dict.fromkeys(folders()))
        raise TmiError(
            f"{where}: the module {module_name!r} cannot be imported from {looked} or the installed packages: "
            f"{type(error).__name__}: {error}{line}"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise TmiError(f"{where}: the module {module_name!r} has no function {name!r}")
    return function  # type: ignore[no-any-return]


def _line_of(trace: TracebackType | None) -> str:
    """`` (mine.py, line 3)``: the innermost line of the user's own, which libraries that it calls are not."""
    files = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(trace)]
    package = Path(tmi.__file__).parent
    ours = [
        (file, line)
        for file, line in files
        if not file.is_relative_to(package) and any(file.is_relative_to(folder) for folder in folders())
        if "site-packages" not in file.parts
    ]
    if not ours:
        return ""
    file, line = ours[-1]
    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    return f" ({shown}, line {line})"


@contextmanager
def _importable() -> Iterator[None]:
    """A command's own directory is on the path, not the current one, as it is with ``python -m``."""
    added = folders()
    sys.path[:0] = added
    try:
        yield
    finally:
        for folder in added:
            with suppress(ValueError):
                sys.path.remove(folder)
