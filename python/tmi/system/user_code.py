"""Functions that the user names as ``module.function``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from tmi.errors import TmiError


def call_named(path: str, where: str, /, **arguments: Any) -> Any:
    """Call a function of the user, named ``module.function``; modules in the current directory are found.

    Raises:
        TmiError: there is no such module or function, or it fails.
    """
    function = function_named(path, where)
    with _current_directory_importable():
        try:
            return function(**arguments)
        except TmiError:
            raise
        except Exception as error:
            raise TmiError(f"{where}: the function raised {type(error).__name__}: {error}") from error


def function_named(path: str, where: str) -> Callable[..., Any]:
    """A function of the user; modules in the current directory are found.

    Raises:
        TmiError: there is no such module or function.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise TmiError(f"{where}: expected module.function, the name of a Python function")
    try:
        with _current_directory_importable():
            module = import_module(module_name)
    except Exception as error:  # importing a module runs it
        raise TmiError(
            f"{where}: the module {module_name!r} cannot be imported from {Path.cwd()} or the installed packages: "
            f"{type(error).__name__}: {error}"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise TmiError(f"{where}: the module {module_name!r} has no function {name!r}")
    return function  # type: ignore[no-any-return]


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    """A command's own directory is on the path, not the current one, as it is with ``python -m``."""
    directory = str(Path.cwd())
    sys.path.insert(0, directory)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(directory)
