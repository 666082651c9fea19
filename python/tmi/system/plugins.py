"""What is found by its name: modules in a folder of this package, and entry points of other distributions.

Names come from the folder's listing and from the metadata of what is installed. Nothing is imported before it is
asked for, so the configuration checks names without torch, and a distribution that is broken harms nobody who does
not use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import tmi
from tmi.errors import TmiError, did_you_mean, first_line


@dataclass(frozen=True)
class Plugin:
    """An entry point of another distribution."""

    entry: EntryPoint

    def load(self) -> object:
        """What the entry point names."""
        try:
            found: object = self.entry.load()
        except Exception as error:  # importing a module runs it
            raise self.broken(f"cannot be loaded: {first_line(error)}") from error
        return found

    def broken(self, problem: str) -> TmiError:
        """The error that says what is wrong with the plugin, and whose it is."""
        distribution = "an unknown distribution" if self.entry.dist is None else self.entry.dist.name
        return TmiError(
            f"the entry point {self.entry.name!r} of {self.entry.group} in the distribution {distribution} "
            f"({self.entry.value}) {problem}"
        )


@cache
def plugins(group: str) -> dict[str, Plugin]:
    """The entry points of a group by name; of those with the same name the first on the path."""
    found: dict[str, Plugin] = {}
    for entry in entry_points(group=group):
        found.setdefault(entry.name, Plugin(entry))
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Modules:
    """Modules that are each one thing of a kind.

    Attributes:
        what: the kind, for error messages.
        package: holds this project's own; a file's name is the thing's.
        group: of the entry points that name other distributions' modules.
    """

    what: str
    package: str
    group: str

    def own(self) -> list[str]:
        """Names of this project's, sorted."""
        folder = Path(tmi.__file__).parent.joinpath(*self.package.split(".")[1:])
        return sorted(path.stem.replace("_", "-") for path in folder.glob("[!_]*.py"))

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted({*self.own(), *plugins(self.group)})

    def load(self, name: str, function: str) -> ModuleType:
        """Import the module of that name, which must have the function; this project's own come first."""
        if name in self.own():
            return import_module(f"{self.package}.{name.replace('-', '_')}")
        if name not in plugins(self.group):
            raise TmiError(f"there is no {self.what} named {name!r}{did_you_mean(name, self.names())}")
        plugin = plugins(self.group)[name]
        module = plugin.load()
        if not isinstance(module, ModuleType) or not callable(getattr(module, function, None)):
            raise plugin.broken(f"is a {type(module).__name__}, expected a module with a function {function!r}")
        return module


SOURCES = Modules("data source", "tmi.data.sources", "tmi.sources")
TRANSFERS = Modules("finetuning method", "tmi.shadows.networks.transfer", "tmi.transfers")


def reads_files(source: str) -> bool:
    """Whether there is a data source of that name whose data are named by a path."""
    return source in SOURCES.names() and bool(getattr(SOURCES.load(source, "load"), "READS_FILES", False))
