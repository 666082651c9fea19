"""Attacks on models that write: those that all have, and the baselines that need no shadow models."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from made.simulated import ATTACKS, EXPENSIVE, simulated
from made.written import records_of, written
from tmi.attacks.checks import check_arrays, check_target
from tmi.attacks.registry import Needs, all_attacks, attack_named, default_attacks
from tmi.attacks.scoring import score
from tmi.errors import TmiError
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.roc import judge
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput, Reference
from tmi.predictions.intake import taken_in
from tmi.predictions.views import View

FREE = [name for name, attack in all_attacks().items() if attack.needs is Needs.TOKENS]
ANSWERS = written()
# They know how sure a model is of a text as a whole, or need labels that nobody has.
WEAK = {"confidence", "label-probe", "label-probe-shadows"}
COMPARING = [name for name in ATTACKS if name not in WEAK]
TARGETS = [0, 7, 11]


def auc(name: str, answers: AttackInput = ANSWERS) -> float:
    scores, labels = score(attack_named(name), answers, TARGETS), answers.membership[TARGETS]
    return judge(scores, labels, [0.1], Bootstrap(100, 0.95, 0)).auc.estimate


def test_what_runs_by_default() -> None:
    of_texts = {Needs.LABELS, Needs.TOKENS, Needs.TEXTS, Needs.VOCABULARY}
    names = default_attacks({Needs.SHADOW_MODELS, Needs.PRETRAINED_MODEL, *of_texts})
    assert names[:3] == ["tmi", "conditional", "gaussian"]
    assert {"loss", "zlib", "min-k", "min-k++", "lira-online", "direct"} <= set(names)
    assert not {"neighbours", "confidence", "adapted-lira", "label-probe"} & set(names)
    assert not {*FREE} & {*default_attacks({Needs.SHADOW_MODELS, Needs.TOP_CLASS})}


@pytest.mark.parametrize("name", COMPARING)
def test_every_attack_with_shadows_finds_the_leak(name: str) -> None:
    answers = written(models=12, points=30) if name in EXPENSIVE else ANSWERS
    assert auc(name, answers) > 0.6


@pytest.mark.parametrize("name", [name for name in [*ATTACKS, *FREE] if name not in EXPENSIVE | WEAK])
def test_noise_is_no_leak(name: str) -> None:
    aucs = [auc(name, written(models=12, points=80, effect=0.0, seed=seed)) for seed in range(4)]
    # 12 targets of 80 points: a standard error of .012.
    assert abs(np.mean(aucs) - 0.5) < 0.05


@pytest.mark.parametrize("name", FREE)
def test_a_baseline_is_of_each_text_and_model_alone(name: str) -> None:
    attack = attack_named(name)
    scores = attack.score(ANSWERS, TARGETS)
    one = replace(ANSWERS.at(slice(4, 5)).restricted([7, 1, 2]), pretrained=None)
    np.testing.assert_array_equal(attack.score(one, [0])[0], scores[1, 4:5])
    other = replace(ANSWERS, membership=~ANSWERS.membership)
    np.testing.assert_array_equal(attack.score(other, TARGETS), scores)
    with pytest.raises(TmiError, match="needs models that write"):
        attack.score(simulated(), TARGETS)


def test_baselines_are_as_published() -> None:
    records, texts = ANSWERS.predictions.records(slice(None))[3], ANSWERS.inputs
    assert texts is not None
    found = {name: attack_named(name).score(ANSWERS, [3])[0] for name in FREE}
    for point in (0, 5, 17):
        itself, other = (each[each["rank"] != 65535] for each in records[point])
        log_p = np.log(expit(itself["log_odds"].astype(np.float64)))
        number = max(1, len(log_p) // 5)
        variation = np.log(expit(other["log_odds"].astype(np.float64)))
        assert found["loss"][point] == pytest.approx(log_p.mean(), rel=1e-5)
        assert found["zlib"][point] == pytest.approx(log_p.mean() / len(zlib.compress(texts[point].encode())), rel=1e-5)
        assert found["min-k"][point] == pytest.approx(np.sort(log_p)[:number].mean(), rel=1e-5)
        standardised = np.sort(itself["standardised"].astype(np.float64))
        assert found["min-k++"][point] == pytest.approx(standardised[:number].mean(), rel=1e-5)
        assert found["neighbours"][point] == pytest.approx(log_p.mean() - variation.mean(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("share", [0, 101])
def test_a_share_outside_its_range_is_refused(share: int) -> None:
    with pytest.raises(TmiError, match=f"the share of min-k is {share}, expected 1 to 100 percent"):
        attack_named("min-k", {"share": share})


def test_what_baselines_need_is_said() -> None:
    with pytest.raises(TmiError, match="'zlib' needs the texts themselves"):
        attack_named("zlib").score(replace(ANSWERS, inputs=None), [0])
    with pytest.raises(TmiError, match=r"'neighbours' needs variations of the texts, query\.count is 1"):
        attack_named("neighbours").score(written(augmentations=1), [0])


@pytest.mark.parametrize("view", ["top-3", "loss"])
@pytest.mark.parametrize("name", ["tmi", "gaussian", "rmia", "adapted-lira"])
def test_who_sees_less_finds_the_leak_too(name: str, view: str) -> None:
    assert auc(name, ANSWERS.seen_through(View.parse(view))) > 0.55


@pytest.mark.parametrize("name", ["confidence", *(name for name in COMPARING if name not in EXPENSIVE)])
def test_no_attack_knows_of_tokens_that_are_not_shown(name: str) -> None:
    answers = written(models=12, points=20)
    records = answers.predictions.records(slice(None))
    records["log_odds"][records["rank"] >= 3] -= 1
    others = Predictions(list(records))
    changed = replace(answers, predictions=others, pretrained=others)
    view = View.parse("top-3")
    found, again = (score(attack_named(name), each.seen_through(view), TARGETS) for each in (answers, changed))
    np.testing.assert_array_equal(found, again)


def test_reference_points_teach() -> None:
    answers = written(points=120)
    whole = answers.at(slice(0, 60))
    taught = replace(whole, reference=Reference(answers.predictions.at(slice(60, 120)), answers.membership[:, 60:]))
    found = score(attack_named("tmi"), taught, [0])
    assert found.shape == (1, 60)
    assert not np.array_equal(found, score(attack_named("tmi"), whole, [0]))


def test_a_target_that_writes_is_compared_with_its_shadows() -> None:
    shadows = ANSWERS.restricted(range(1, 24))
    target = ANSWERS.predictions.records(slice(None))[0]
    (found,) = check_target(shadows, target)
    assert found.severity == "ok"
    assert re.fullmatch(
        r"how sure it is of the texts has a correlation of 0\.\d\d with how sure the shadow models are, and theirs "
        r"with one another 0\.\d\d or more",
        found.message,
    )
    (found,) = check_target(shadows, target[::-1])
    assert found.severity == "error"
    assert "its texts or their tokens are in another order than theirs" in found.message
    other = target.copy()
    other[7, 0] = records_of(np.zeros(20), np.array(2))
    (found,) = check_target(shadows, other)
    assert found.severity == "error"
    assert found.message.startswith("it was asked about other numbers of tokens than the shadow models in 1 text:")
    with pytest.raises(TmiError, match="about classes, those of the shadow models about the tokens of texts"):
        check_target(shadows, target["log_odds"].astype(np.float32))
    classes = taken_in(shadows.predictions.records(slice(None))["log_odds"].astype(np.float32), shadows.membership)
    with pytest.raises(TmiError, match="about the tokens of texts, those of the shadow models about classes"):
        check_target(classes, target)
    target["log_odds"][3, 0, 0] = np.nan
    assert [each.message for each in check_target(shadows, target)] == ["NaN or infinite values, expected log-odds"]


def test_no_more_texts_are_read_than_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, rows = [], Predictions.rows

    def counted(predictions: Predictions, points: NDArray[np.int64]) -> NDArray[Any]:
        asked.append(len(points))
        return rows(predictions, points)

    monkeypatch.setattr(Predictions, "rows", counted)
    monkeypatch.delattr(Predictions, "block")
    for view in ("tokens", "loss"):
        shadows = ANSWERS.restricted(range(1, 24)).seen_through(View.parse(view))
        (found,) = check_target(shadows, ANSWERS.predictions.records(slice(None))[0], sample_bytes=23 * 2 * 20 * 4 * 25)
        assert found.severity == "ok"
    assert asked == [25, 25]


def checked(answers: NDArray[Any], membership: NDArray[np.bool_] = ANSWERS.membership) -> dict[str, list[str]]:
    """What a check says about answers, by severity."""
    said: dict[str, list[str]] = {"error": [], "warning": [], "ok": []}
    for finding in check_arrays(list(answers), membership):
        said[finding.severity].append(f"{finding.subject}: {finding.message}")
    return said


def test_answers_about_texts_are_checked() -> None:
    records = ANSWERS.predictions.records(slice(None))
    found = checked(records)
    assert not found["error"] + found["warning"]
    assert "texts: 3 to 20 tokens, the same number for all models" in found["ok"]
    assert any(said.startswith("signal: trial attack (gaussian): AUC 0.") for said in found["ok"])
    (reversed_,) = checked(records, ~ANSWERS.membership)["error"]
    assert "members are answered less surely than non-members" in reversed_
    alike = records.copy()
    alike[5] = alike[2]
    assert "models: 1 model with exactly the answers of another one" in checked(alike)["error"][0]
    alike[:, :, 1] = alike[:, :, 0]
    assert "augmentations: the answers to all augmentations" in checked(alike)["warning"][0]


def test_wrong_answers_about_texts_are_told() -> None:
    other = ANSWERS.predictions.records(slice(None))
    other[3, 7:9, 0] = records_of(np.zeros(20), np.array(2))
    assert checked(other)["error"] == [
        "texts: model 3 was asked about other numbers of tokens than model 0 in 2 texts: is it another tokenizer?"
    ]
    other[:, 7:9, 0] = records_of(np.zeros(20), np.array(0))
    assert checked(other)["error"] == ["texts: 2 texts without any token, of which nothing is predicted"]
    other = ANSWERS.predictions.records(slice(None))
    other["standardised"][4, 0, 1, 19] = np.nan
    with pytest.raises(TmiError, match="model 4: holds NaN"):
        checked(other)
