"""How much does a finetuned model leak about the data its pretrained base was trained on?

The names below are the Python API; everything heavy is imported when it is first used.
"""

from importlib import import_module
from typing import Any

from tmi._core import __version__
from tmi.errors import TmiError

_LOCATION = {
    "Answers": "tmi.answers",
    "Predictions": "tmi.answers",
    "Audit": "tmi.auditing",
    "MembershipAttack": "tmi.estimators",
    "attack_named": "tmi.attacks",
    "audit": "tmi.auditing",
    "compare": "tmi.comparisons",
    "compare_runs": "tmi.runs_compared",
    "judge": "tmi.metrics",
    "load_config": "tmi.config",
    "run_attack": "tmi.pipeline",
    "View": "tmi.views",
    "score": "tmi.scoring",
}

__all__ = [
    "Answers",
    "Audit",
    "MembershipAttack",
    "Predictions",
    "TmiError",
    "View",
    "__version__",
    "attack_named",
    "audit",
    "compare",
    "compare_runs",
    "judge",
    "load_config",
    "run_attack",
    "score",
]


def __getattr__(name: str) -> Any:
    if name not in _LOCATION:
        raise AttributeError(f"module 'tmi' has no attribute {name!r}")
    return getattr(import_module(_LOCATION[name]), name)


def __dir__() -> list[str]:
    return __all__
