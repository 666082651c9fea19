"""As much of Ray as a cluster takes, in this process: actors on named nodes that see nothing but what they are sent."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import IOBase
from random import Random
from types import ModuleType
from typing import Any

import pytest


class RayError(Exception):
    """Whatever Ray raises."""


@dataclass(frozen=True)
class Reference:
    number: int


class FakeRay(ModuleType):
    """Runs a method when it is called, and hands out the results in any order.

    Args:
        nodes: the resources of every node; its place is its name.
        lose: told the node and how many jobs were given out before; whether the worker is lost with this one.
    """

    def __init__(
        self, nodes: Sequence[dict[str, float]], lose: Callable[[str, int], bool] = lambda node, jobs: False
    ) -> None:
        super().__init__("ray")
        self.exceptions = ModuleType("ray.exceptions")
        self.exceptions.RayError = RayError  # type: ignore[attr-defined]
        self.resources, self.lose, self.order = nodes, lose, Random(0)
        self.kept: dict[Reference, Any] = {}
        self.jobs = self.actors = self.alive = 0
        self.sent: list[int] = []
        self.ran_on: list[str] = []

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": resources} for resources in self.resources]

    def put(self, value: Any) -> Reference:
        sent = pickle.dumps(value)
        self.sent.append(len(sent))
        return self._keep(sent)

    def get(self, reference: Reference) -> Any:
        value = self.kept[reference]
        if isinstance(value, RayError):
            raise value
        return pickle.loads(value)

    def wait(self, references: list[Reference], num_returns: int, timeout: float) -> tuple[list[Reference], None]:
        return self.order.sample(references, min(num_returns, len(references))), None

    def kill(self, actor: Any) -> None:
        self.alive -= 1
        for value in vars(actor.made).values():
            if isinstance(value, IOBase):
                value.close()  # as at the end of a process

    def remote(self, **_: Any) -> Callable[[type], Any]:
        return lambda kind: _Makes(self, kind)

    def _keep(self, value: Any) -> Reference:
        reference = Reference(len(self.kept))
        self.kept[reference] = value
        return reference


class _Makes:
    def __init__(self, ray: FakeRay, kind: type) -> None:
        self.ray, self.kind = ray, kind

    def options(self, **_: Any) -> _Makes:
        return self

    def remote(self, *arguments: Any) -> _Actor:
        self.ray.actors += 1
        self.ray.alive += 1
        return _Actor(self.ray, self.kind(*arguments), f"node-{self.ray.actors % len(self.ray.resources)}")


class _Actor:
    def __init__(self, ray: FakeRay, made: Any, node: str) -> None:
        self.ray, self.made, self.node = ray, made, node

    def __getattr__(self, name: str) -> _Method:
        return _Method(self, name)


class _Method:
    def __init__(self, actor: _Actor, name: str) -> None:
        self.actor, self.name = actor, name

    def options(self, **_: Any) -> _Method:
        return self

    def remote(self, *arguments: Any) -> Reference:
        ray, node = self.actor.ray, self.actor.node
        arguments = tuple(
            ray.get(each) if isinstance(each, Reference) else pickle.loads(pickle.dumps(each)) for each in arguments
        )
        if self.name == "work":
            ray.jobs += 1
            ray.ran_on.append(node)
            if ray.lose(node, ray.jobs - 1):
                return ray._keep(RayError(f"The actor died.\nits node was\nterminated: {node}"))
        result = getattr(self.actor.made, self.name)(*arguments)
        if self.name == "hello":
            object.__setattr__(result, "node", node)
        return ray._keep(pickle.dumps(result))


def install(monkeypatch: pytest.MonkeyPatch, ray: FakeRay) -> FakeRay:
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.exceptions", ray.exceptions)
    return ray
