"""What is wrong with a configuration: all of it at once, a sentence each."""

from __future__ import annotations

import copy
import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from tmi.config.attacking import AttackedConfig
from tmi.config.base import ContradictionsError
from tmi.config.recipe import UNUSED_TRAINING
from tmi.errors import MOST_OF_A_MESSAGE, TmiError, did_you_mean

# For required keys that are missing or wrong, while it is looked for what else is wrong.
PLACEHOLDERS = UNUSED_TRAINING | {"name": "?", "source": "?", "kind": "pixels"}


def mistakes(kind: type[AttackedConfig], document: dict[str, Any]) -> list[str]:
    """A sentence for everything that is wrong: unknown keys, missing ones, values, and values that contradict."""
    try:
        kind.model_validate(document)
        return []
    except TmiError as error:
        # Of the target, whose values are never shown. What else is wrong is found without it.
        rest = {key: value for key, value in document.items() if key != "target"}
        return [*(mistakes(kind, rest) if "target" in document else []), str(error)]
    except ValidationError as error:
        problems = error.errors()
    unknown, missing, wrong, together = dict[str, str](), dict[str, str](), dict[str, str](), list[str]()
    # What was meant, as far as it can be told, to see whether the rest of it fits together.
    meant = copy.deepcopy(document)
    for problem in problems:
        # A union reports its alternatives as extra parts of the location ("classes", "int"): keep what is a key.
        key, table = _resolve([part for part in problem["loc"] if isinstance(part, str)], kind)
        path, _, name = key.rpartition(".")
        contradiction = problem.get("ctx", {}).get("error")
        if isinstance(contradiction, ContradictionsError):
            together += [sentence for _, sentence in contradiction.found]
        elif problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, table.model_fields, n=1, cutoff=0.5)
            unknown[key] = (
                f"unknown key {key!r}{_belongs(name, kind) or did_you_mean(name, table.model_fields, brief=True)}"
            )
            value = table_of(meant, *path.split(".") if path else ()).pop(name, None)
            if near:
                table_of(meant, *path.split(".") if path else ()).setdefault(near[0], value)
        elif problem["type"] == "missing":
            missing[key] = f"the key {key!r} is missing"
        elif key not in wrong:
            message = str(problem["msg"]).removeprefix("Value error, ")
            # A table as a whole is not shown: the message names the key.
            is_table = isinstance(problem["input"], dict | BaseModel) or not key
            shown = (
                f"the key {key!r} is {repr(problem['input'])[:MOST_OF_A_MESSAGE]}: {message[0].lower()}{message[1:]}"
            )
            wrong[key] = message if is_table else shown
            table_of(meant, *path.split(".") if path else ()).pop(name, None)
    for key in list(missing):
        # A key that is only misspelt is not missing as well.
        if _holds(meant, key):
            del missing[key]
    if unknown or missing or wrong:
        for key in (*missing, *wrong):
            path, _, name = key.rpartition(".")
            if name in PLACEHOLDERS:
                table_of(meant, *path.split(".") if path else ()).setdefault(name, PLACEHOLDERS[name])
        together += _contradictions(kind, meant, {*missing, *wrong})
    return [*unknown.values(), *missing.values(), *wrong.values(), *together]


def _contradictions(kind: type[AttackedConfig], document: dict[str, Any], wrong: set[str]) -> list[str]:
    """What does not fit together in a document that lacks keys with wrong values, about other keys than these."""
    try:
        kind.model_validate(document)
    except TmiError as error:
        return [str(error)]
    except ValidationError as error:
        raised = [problem.get("ctx", {}).get("error") for problem in error.errors()]
        found = [each for some in raised if isinstance(some, ContradictionsError) for each in some.found]
        return [
            sentence for keys, sentence in found if not any(_overlap(key, other) for key in keys for other in wrong)
        ]
    return []


def _overlap(key: str, other: str) -> bool:
    """Whether one dotted key is the other, or a table that holds it."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _holds(document: dict[str, Any], key: str) -> bool:
    *tables, name = key.split(".")
    return name in table_of(document, *tables)


def _belongs(name: str, root: type[BaseModel]) -> str:
    """`` (it belongs to pretrain)``, for a key of other tables; empty where there is none."""
    tables = [table for table in root.model_fields if name in _resolve([table], root)[1].model_fields]
    tables = [table for table in tables if _resolve([table], root)[1] is not root]
    return f" (it belongs to {' or '.join(tables)})" if tables else ""


def _resolve(location: list[str], root: type[BaseModel]) -> tuple[str, type[BaseModel]]:
    """The dotted key of an error's location, and the table that should hold it."""
    table = root
    parts: list[str] = []
    for part in location:
        parts.append(part)
        annotation = table.model_fields[part].annotation if part in table.model_fields else None
        # The table itself, or one that may be left out.
        kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        inner = next((kind for kind in kinds if issubclass(kind, BaseModel)), None)
        if inner is None:
            break
        table = inner
    return ".".join(parts), table


def table_of(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """A table of a document, empty if there is none."""
    for name in names:
        value = document.get(name)
        document = value if isinstance(value, dict) else {}
    return document
