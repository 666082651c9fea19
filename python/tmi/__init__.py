"""How much does a finetuned model leak about the data its pretrained base was trained on?

The names below are the Python API; everything heavy is imported when it is first used.
"""

from importlib import import_module
from typing import Any

from tmi._core import __version__
from tmi.errors import TmiError

_LOCATION = {
    "Answers": "tmi.predictions.attack_input",
    "Predictions": "tmi.predictions.arrays",
    "Audit": "tmi.runs.in_memory",
    "MembershipAttack": "tmi.attacks.estimator",
    "attack_named": "tmi.attacks.registry",
    "audit": "tmi.runs.in_memory",
    "compare": "tmi.metrics.differences",
    "compare_runs": "tmi.runs.compare",
    "judge": "tmi.metrics.roc",
    "load_config": "tmi.config",
    "run_attack": "tmi.runs.pipeline",
    "View": "tmi.predictions.views",
    "score": "tmi.attacks.scoring",
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
