"""Which attacks there are and which run by default, those of other distributions among them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tmi
from made.plugins import install
from tmi.attacks.registry import Attack, Needs, all_attacks, attack_named, broken_plugins, default_attacks, register
from tmi.config import load_config
from tmi.errors import TmiError
from tmi.runs.adversaries import with_attacks

WITH_SHADOWS = ["tmi", "conditional", "gaussian", "tmi-pointwise", "adapted-lira", "confidence"]

LARGEST = """
import numpy as np
from tmi.attacks.registry import Attack, Needs

class Largest(Attack):
    name = "largest"
    summary = "the largest logit"
    needs = Needs.NOTHING
    default = 5
    point_by_point = True

    def score(self, answers, targets):
        whole = answers.predictions.block(slice(None))
        return whole[list(targets)].max(axis=(2, 3)).astype(np.float64)
"""


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({Needs.SHADOW_MODELS, Needs.TOP_CLASS}, WITH_SHADOWS),
        ({Needs.SHADOW_MODELS, Needs.TOP_CLASS, Needs.PRETRAINED_MODEL}, [*WITH_SHADOWS, "direct"]),
        (
            {Needs.SHADOW_MODELS, Needs.TOP_CLASS, Needs.PRETRAINED_MODEL, Needs.LABELS},
            [*WITH_SHADOWS, "lira-online", "lira-offline", "rmia", "direct"],
        ),
        (
            {Needs.SHADOW_MODELS, Needs.LABELS},
            ["tmi", "conditional", "gaussian", "tmi-pointwise", "lira-online", "lira-offline", "rmia"],
        ),
        ({Needs.KNOWN_MEMBERS}, ["known-points", "inputs-and-answers", "inputs-alone"]),
        (
            {Needs.KNOWN_MEMBERS, Needs.PRETRAINING_LABELS},
            ["known-points", "inputs-and-answers", "inputs-alone", "label-probe"],
        ),
    ],
)
def test_attacks_that_run_by_default(has: set[Needs], expected: list[str]) -> None:
    assert default_attacks(has) == expected


def test_the_configuration_of_a_run_lists_them() -> None:
    config = load_config("digits")
    assert config.attack.names == []
    labelled = ["label-probe-shadows", "confidence", "label-probe", "direct"]
    assert with_attacks(config).attack.names == [*WITH_SHADOWS[:-1], *labelled]
    assert with_attacks(with_attacks(config)) == with_attacks(config)
    named = load_config("digits", {"attack.names": ["direct", "gaussian"]})
    assert with_attacks(named) == named


def test_two_attacks_cannot_have_one_name() -> None:
    with pytest.raises(TmiError, match=r"two attacks named 'tmi': .*Impostor and tmi\.attacks\.tmi"):

        @register
        class Impostor(Attack):
            name = "tmi"
            summary = "takes another's name"

            def score(self, answers: Any, targets: Any) -> Any:
                raise AssertionError("is never asked")


def test_an_attack_of_another_distribution_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "big-logits", "[tmi.attacks]\nlargest = big_logits:Largest\n", big_logits=LARGEST)
    assert all_attacks()["largest"].summary == "the largest logit"
    assert default_attacks({Needs.SHADOW_MODELS})[:2] == ["largest", "tmi"]
    random = np.random.default_rng(0)
    membership = random.random((6, 30)) < 0.5
    logits = (random.normal(size=(6, 30, 3)) + 4 * membership[..., None]).astype(np.float32)
    audit = tmi.audit(logits, membership, attacks=["largest"], resamples=100)
    np.testing.assert_array_equal(audit.scores["largest"], logits.max(axis=2))
    assert audit.auc("largest").estimate > 0.9


@pytest.mark.parametrize(
    ("value", "code", "problem"),
    [
        ("broken:Largest", "import absent_library", r"cannot be loaded: ModuleNotFoundError: No module named 'absent"),
        ("broken:Smallest", LARGEST, r"cannot be loaded: AttributeError: .*'Smallest'"),
        ("broken:np", LARGEST, r"is no class derived from tmi\.attacks\.registry\.Attack"),
        ("broken:Largest", LARGEST.replace('"largest"', '"smallest"'), r"is an attack named 'smallest', expected the"),
        ("broken:Largest", LARGEST.replace("def score", "def scores"), r"cannot be (made|loaded): TypeError: .*score"),
    ],
)
def test_a_broken_one_harms_only_those_who_ask_for_it(
    value: str, code: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    install(tmp_path, monkeypatch, "half-done", f"[tmi.attacks]\nlargest = {value}\n", broken=code)
    assert "tmi" in all_attacks()
    assert "largest" not in all_attacks()
    assert attack_named("gaussian").name == "gaussian"
    assert list(broken_plugins()) == ["largest"]
    sentence = r"^the entry point 'largest' of tmi\.attacks in the distribution half-done \(" + value + r"\) " + problem
    with pytest.raises(TmiError, match=sentence):
        attack_named("largest")


def test_another_distribution_cannot_replace_an_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = LARGEST.replace('"largest"', '"gaussian"')
    install(tmp_path, monkeypatch, "other", "[tmi.attacks]\ngaussian = other_gaussian:Largest\n", other_gaussian=theirs)
    assert type(attack_named("gaussian")).__module__ == "tmi.attacks.gaussian"
    assert "two attacks named 'gaussian'" in broken_plugins()["gaussian"]
