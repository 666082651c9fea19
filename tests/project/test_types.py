"""The public names as a type checker sees them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import tmi

ROOT = Path(__file__).parents[2]

# A user's file that uses every public name.
USE = """
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tmi import (
    Answers, Audit, AuditWithoutShadows, MembershipAttack, Predictions, TmiError, View, __version__, attack_named,
    audit, audit_without_shadows, compare, compare_runs, judge, load_config, run_attack, score,
)

logits: NDArray[np.float32] = np.zeros((4, 5, 1, 3), dtype=np.float32)
membership: NDArray[np.bool_] = np.zeros((4, 5), dtype=np.bool_)

reveal_type(__version__)
view = View.parse("top-3")
reveal_type(view.name)
predictions = Predictions(list(logits), view=view)
answers = Answers(predictions, membership)
reveal_type(answers.membership)
attack = attack_named("gaussian")
reveal_type(attack.name)
scores = score(attack, answers, [0])
reveal_type(scores)
judged = judge(scores, membership[:1], [0.01])
reveal_type(judged.auc.estimate)
reveal_type(compare(scores, scores, membership[:1], [0.01]))
try:
    found: Audit = audit(logits, membership, logits[0], attacks=["gaussian"])
except TmiError as error:
    reveal_type(str(error))
reveal_type(found.auc())
reveal_type(found.scores["gaussian"])
alone: AuditWithoutShadows = audit_without_shadows(logits[0], np.arange(5) % 2, membership[0])
reveal_type(alone.p_values)
config = load_config("digits", {"models": 4})
reveal_type(config.attack.names)
reveal_type(run_attack(config, Path("run")))
reveal_type(compare_runs(Path("a"), Path("b")))
fitted = MembershipAttack("gaussian").fit(logits, membership)
reveal_type(fitted.score_samples(logits[0]))
reveal_type(fitted.predict(logits[0]))
reveal_type(fitted.n_points_)
"""


# What is in results.json, and the shapes of NumPy's arrays.
DOCUMENTS = ("dict[str, Any]", "tuple[Any, ...]")


def test_a_users_file_has_no_any(tmp_path: Path) -> None:
    assert {name for name in tmi.__all__ if not re.search(rf"\b{name}\b", USE)} == set()
    (tmp_path / "use.py").write_text(USE)
    # With the cache of the project's own check, since it takes a minute without.
    command = [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "use.py")]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert "error:" not in told
    revealed = re.findall(r'Revealed type is "(.*)"', told)
    assert len(revealed) == USE.count("reveal_type(")
    for document in DOCUMENTS:
        revealed = [kind.replace(document, "") for kind in revealed]
    assert [kind for kind in revealed if "Any" in kind] == []


def test_nothing_is_imported_before_it_is_used() -> None:
    code = "import sys, tmi; print(*{name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "tmi" in told
    assert not {"numpy", "scipy", "sklearn", "pydantic", "torch"} & set(told)


def test_every_public_name_is_where_it_is_looked_for() -> None:
    assert set(tmi.__all__) == {*tmi._LOCATION, "TmiError", "__version__"}
    for name in tmi.__all__:
        assert getattr(tmi, name) is not None
