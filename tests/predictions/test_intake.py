"""The one way in for arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tmi
from tmi.attacks.estimator import MembershipAttack
from tmi.errors import TmiError
from tmi.predictions.formats import read_saved
from tmi.predictions.intake import (
    as_labels,
    as_membership,
    as_model,
    as_models,
    as_pretraining_labels,
    taken_in,
)
from tmi.predictions.tokens import NO_TOKEN, TOKEN

LOGITS = np.random.default_rng(0).normal(size=(6, 20, 2, 3)).astype(np.float32)
MEMBERSHIP = np.random.default_rng(1).random((6, 20)) < 0.5


def by_estimator(logits: Any, membership: Any) -> Any:
    return MembershipAttack("gaussian").fit(logits, membership).shadow_scores()


def by_audit(logits: Any, membership: Any) -> Any:
    return tmi.audit(logits, membership, attacks=["gaussian"], resamples=100).scores["gaussian"]


def by_files(logits: Any, membership: Any) -> Any:
    np.save("P.npy", logits)
    np.save("M.npy", membership)
    arrays = read_saved(Path("P.npy"), Path("M.npy"))
    return tmi.score(tmi.attack_named("gaussian"), taken_in(arrays.models, arrays.membership), range(6))


WAYS = [by_estimator, by_audit, by_files]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("logits", "membership"),
    [
        (LOGITS, MEMBERSHIP.astype(np.int64)),
        (LOGITS, MEMBERSHIP.T.astype(np.float64)),
        (LOGITS.astype(np.float64), MEMBERSHIP),
        (LOGITS.astype(">f4"), MEMBERSHIP),
        (np.asfortranarray(LOGITS), MEMBERSHIP),
    ],
)
def test_every_way_understands_the_same(way: Callable[..., Any], logits: Any, membership: Any) -> None:
    np.testing.assert_array_equal(way(logits, membership), by_estimator(LOGITS, MEMBERSHIP))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_no_way_lets_nan_in(way: Callable[..., Any], dtype: Any) -> None:
    broken = LOGITS.astype(dtype)
    broken[2, 19, 1, 0] = np.nan
    with pytest.raises(TmiError, match="NaN, expected logits"):
        way(broken, MEMBERSHIP)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("logits", "membership", "sentence"),
    [
        (LOGITS.astype(np.int64), MEMBERSHIP, "has type int64, expected float32 or float16 logits"),
        (LOGITS[0, 0], MEMBERSHIP, r"has shape \(2, 3\), expected"),
        (LOGITS, MEMBERSHIP[:, 1:], r"has shape \(6, 19\), expected membership \(6, 20\)"),
        (LOGITS, MEMBERSHIP * 2, "other values than 0 and 1, expected bool"),
        (LOGITS[:2], MEMBERSHIP[:2], "at least 3: a target and two shadows"),
    ],
)
def test_every_way_refuses_the_same(way: Callable[..., Any], logits: Any, membership: Any, sentence: str) -> None:
    with pytest.raises(TmiError, match=sentence):
        way(logits, membership)


def test_parts_of_a_file_stay_in_the_file() -> None:
    np.save("P.npy", LOGITS)
    models = as_models(np.load("P.npy", mmap_mode="r"), "P.npy")
    assert all(isinstance(model, np.memmap) for model in models)
    np.testing.assert_array_equal(np.stack(models), LOGITS)
    assert as_model(LOGITS[0], "model") is LOGITS[0] or np.shares_memory(as_model(LOGITS[0], "model"), LOGITS)


def test_a_single_class_is_the_logit_of_the_second_of_two() -> None:
    said: list[str] = []
    pair = as_model(LOGITS[0, :, :, :1], "model", said.append)
    assert pair.shape == (20, 2, 2)
    np.testing.assert_array_equal(pair[..., 1], LOGITS[0, :, :, 0])
    assert not pair[..., 0].any()
    assert "class 1 of two" in said[0]


def test_what_was_understood_is_said_in_the_results() -> None:
    audit = tmi.audit(LOGITS.astype(np.float64), MEMBERSHIP.T, attacks=["gaussian"], resamples=100)
    assert len(audit.results["data"]["read_as"]) == 2
    assert "transposed" in audit.results["data"]["read_as"][1]


USELESS_LABELS = [
    (np.zeros(19), r"L.npy: has shape \(19,\), expected labels \(20,\), one per point"),
    (np.zeros((20, 2)), r"L.npy: has shape \(20, 2\)"),
    (np.full(20, 0.5), "L.npy: has type float64, expected labels that are whole numbers"),
    (np.array([np.nan, *range(19)]), "L.npy: has type float64"),
    (np.array([np.inf, *range(19)]), "L.npy: has type float64"),
    (np.array([2**64 - 1, *range(19)], dtype=np.uint64), "L.npy: has type uint64"),
    (np.array(["a", "b"] * 10), "L.npy: has type <U1"),
    (np.array([True, False] * 10), "L.npy: has type bool"),
]


def by_estimator_with(labels: Any) -> None:
    MembershipAttack("label-probe").fit(LOGITS, MEMBERSHIP, pretraining_labels=labels)


def by_audit_with(labels: Any) -> None:
    tmi.audit(LOGITS, MEMBERSHIP, attacks=["label-probe"], resamples=100, pretraining_labels=labels)


def by_files_with(labels: Any) -> None:
    for name, array in (("P", LOGITS), ("M", MEMBERSHIP), ("pretraining labels", labels)):
        np.save(f"{name}.npy", array)
    read_saved(Path("P.npy"), Path("M.npy"), pretraining_labels=Path("pretraining labels.npy"))


@pytest.mark.parametrize("way", [by_estimator_with, by_audit_with, by_files_with])
@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.arange(19) % 3, r"pretraining labels.*: has shape \(19,\), expected labels \(20,\)"),
        (np.arange(20) % 3 / 2, "pretraining labels.*: has type float64, expected labels that are whole numbers"),
        (np.full(20, -4), "pretraining labels.*: are all -4, expected at least two different"),
        (np.arange(20), "pretraining labels.*: differ at all 20 points, expected pretraining labels that points share"),
    ],
)
def test_every_way_refuses_the_same_pretraining_labels(way: Callable[..., Any], labels: Any, sentence: str) -> None:
    with pytest.raises(TmiError, match=sentence):
        way(labels)


def test_pretraining_labels_may_be_any_integers() -> None:
    for labels in (np.array([-(2**63), 2**63 - 1] * 10), np.arange(20.0)[:, None] // 2, np.arange(20, dtype="u1") % 3):
        found = taken_in(LOGITS, MEMBERSHIP, pretraining_labels=labels).pretraining_labels
        assert found is not None
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, labels.ravel())


def test_log_probabilities_of_tokens(tmp_path: Path) -> None:
    log_p = np.array([[-0.5, -0.25, np.nan], [-3.0, np.nan, np.nan], [-100.0, -np.inf, 0.0]], dtype=np.float16)
    np.save(tmp_path / "p.npy", log_p)
    said: list[str] = []
    for array in (log_p, np.load(tmp_path / "p.npy", mmap_mode="r"), log_p[:, None].astype(">f8")):
        records = as_model(array, "model", said.append, "tokens")
        assert (records.dtype, records.shape) == (TOKEN, (3, 1, 3))
        np.testing.assert_array_equal(records["rank"][:, 0] == NO_TOKEN, np.isnan(log_p))
        assert not records["standardised"].any()
        odds = records["log_odds"][:, 0]
        assert odds[0, 0] == pytest.approx(np.log(np.exp(-0.5) / (1 - np.exp(-0.5))), rel=1e-3)
        assert odds[2].tolist() == [-87, -87, pytest.approx(24 * np.log(2), rel=1e-3)]
    assert "of other tokens in their places nothing is known" in said[0]
    assert as_model(log_p[:, :1], "model", meaning="tokens").shape == (3, 1, 1)
    assert np.shares_memory(as_model(records, "model", meaning="tokens"), records)
    for place, value, sentence in (
        ((0, 0), np.nan, "model: holds NaN before a token, expected NaN behind the last token of a text alone"),
        ((0, 1), 0.5, "model: holds 0.5 as the logarithm of a probability, expected at most 0"),
    ):
        wrong = log_p.copy()
        wrong[place] = value
        with pytest.raises(TmiError, match=sentence):
            as_model(wrong, "model", meaning="tokens")


def test_no_other_layout_has_log_probabilities_of_tokens(tmp_path: Path) -> None:
    for model in range(3):
        (tmp_path / str(model)).mkdir()
        np.save(tmp_path / str(model) / "logits.npy", LOGITS[model])
        np.save(tmp_path / str(model) / "keep.npy", MEMBERSHIP[model])
    with pytest.raises(TmiError, match="of the layout lira-pytorch, which has no log-probabilities of tokens"):
        read_saved(tmp_path, meaning="tokens")


def test_labels_and_membership_of_no_use() -> None:
    for labels, sentence in USELESS_LABELS:
        for taken in (as_labels, as_pretraining_labels):
            with pytest.raises(TmiError, match=sentence):
                taken(labels, 20, "L.npy")
    with pytest.raises(TmiError, match="membership: has type <U1 and other values"):
        as_membership(np.full((6, 20), "1"), (6, 20), "membership")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"resamples": 50}, "audit: the key 'evaluation.resamples' is 50"),
        ({"fpr": 2.0}, "audit: the key 'evaluation.accusation_rate' is 2.0"),
        ({"false_positive_rates": [0.0]}, "audit: the key 'evaluation.false_positive_rates' is 0.0"),
        ({"targets": 7}, "evaluation.targets is 7, expected at most the number of models, 6"),
        ({"view": "top-9"}, "top-9"),
    ],
)
def test_options_of_an_audit_are_refused_in_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TmiError, match=sentence):
        tmi.audit(LOGITS, MEMBERSHIP, attacks=["gaussian"], **options)
