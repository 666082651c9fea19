"""How much does a finetuned model leak about the data its pretrained base was trained on?

The names below are the Python API; everything is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from tmi.errors import TmiError

if TYPE_CHECKING:
    # What type checkers and editors read; the same names are imported on first use by __getattr__.
    from tmi.attacks.estimator import MembershipAttack
    from tmi.attacks.registry import attack_named
    from tmi.attacks.scoring import score
    from tmi.config import load_config
    from tmi.metrics.differences import compare
    from tmi.metrics.roc import judge
    from tmi.predictions.arrays import Predictions
    from tmi.predictions.attack_input import Answers
    from tmi.predictions.views import View
    from tmi.runs.compare import compare_runs
    from tmi.runs.in_memory import Audit, audit
    from tmi.runs.pipeline import run_attack
    from tmi.runs.without_shadows import AuditWithoutShadows, audit_without_shadows

    __version__: str

_LOCATION = {
    "Answers": "tmi.predictions.attack_input",
    "Audit": "tmi.runs.in_memory",
    "AuditWithoutShadows": "tmi.runs.without_shadows",
    "MembershipAttack": "tmi.attacks.estimator",
    "Predictions": "tmi.predictions.arrays",
    "View": "tmi.predictions.views",
    "attack_named": "tmi.attacks.registry",
    "audit": "tmi.runs.in_memory",
    "audit_without_shadows": "tmi.runs.without_shadows",
    "compare": "tmi.metrics.differences",
    "compare_runs": "tmi.runs.compare",
    "judge": "tmi.metrics.roc",
    "load_config": "tmi.config",
    "run_attack": "tmi.runs.pipeline",
    "score": "tmi.attacks.scoring",
}

__all__ = [
    "Answers",
    "Audit",
    "AuditWithoutShadows",
    "MembershipAttack",
    "Predictions",
    "TmiError",
    "View",
    "__version__",
    "attack_named",
    "audit",
    "audit_without_shadows",
    "compare",
    "compare_runs",
    "judge",
    "load_config",
    "run_attack",
    "score",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return _version()
    if name not in _LOCATION:
        raise AttributeError(f"module 'tmi' has no attribute {name!r}")
    return getattr(import_module(_LOCATION[name]), name)


def __dir__() -> list[str]:
    return __all__


def _version() -> str:
    """The number in Cargo.toml, from the extension; where that is broken, from what pip has written of it."""
    try:
        return str(import_module("tmi._core").__version__)
    except ImportError:
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("tmi-audit")
        except PackageNotFoundError:
            return "unknown"
