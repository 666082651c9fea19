"""Answers about the tokens of texts, what is seen of them, and what most attacks see of a text as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit

from made.written import records_of, written
from tmi.errors import TmiError
from tmi.predictions.arrays import LEAST_LIKELY, Predictions
from tmi.predictions.formats.files import open_npy
from tmi.predictions.tokens import (
    NO_TOKEN,
    TOKEN,
    UNSEEN,
    least_likely,
    token_records,
    tokens_there,
)
from tmi.predictions.views import View

seeds = st.integers(0, 2**32 - 1)


def some_texts(seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    random = np.random.default_rng(seed)
    log_odds = random.normal(scale=3, size=(6, 13)).astype(np.float32)
    return log_odds, np.arange(13) < np.array([0, 1, 2, 7, 8, 13])[:, None]


def probability(odds: NDArray[Any]) -> NDArray[np.float64]:
    return expit(odds.astype(np.float64))


def test_records_hold_what_they_are_made_of() -> None:
    records = token_records(np.array([1.5, 1e9, 3.0]), np.array([0, 70_000, -1]), np.array([-0.25, -1e9, 3.0]))
    assert records["log_odds"].tolist() == [1.5, 65504.0, 0.0]
    assert records["rank"].tolist() == [0, UNSEEN, NO_TOKEN]
    assert records["standardised"].tolist() == [-0.25, -65504.0, 0.0]
    assert tokens_there(records).tolist() == [True, True, False]


@given(seed=seeds)
def test_the_least_likely_tokens_are_those(seed: int) -> None:
    log_odds, there = some_texts(seed)
    found = least_likely(log_odds, there, (5, 50, 100))
    for text, length in enumerate(there.sum(axis=1).tolist()):
        ordered = np.sort(np.log(probability(log_odds[text, :length])))
        for column, percent in enumerate((5, 50, 100)):
            number = max(1, length * percent // 100)
            expected = ordered[:number].mean() if length else np.log(0.5)
            assert np.log(probability(found[text, column])) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_certain_texts_have_finite_odds() -> None:
    certain = np.full((1, 4), 60_000, dtype=np.float32)
    for odds in (certain, -certain):
        assert np.isfinite(least_likely(odds, np.ones((1, 4), dtype=np.bool_), (20, 100))).all()


def test_what_each_view_shows() -> None:
    # Eight tokens; the last four are the half that is to be written.
    ranks = np.array([[0, 5, 0, 0, 0, 0, 2, 0], [0, 0, 0, 0, 0, 0, 0, 0], [9, 9, 9, 9, 0, 0, -1, -1]])
    log_odds = np.linspace(-2, 2, 24).reshape(3, 8)
    records = token_records(log_odds, ranks, np.zeros((3, 8)))
    tokens = View("tokens").apply(records)
    there = ranks >= 0
    np.testing.assert_allclose(tokens, np.where(there, log_odds, 0), atol=2e-3)
    top = View("top", 3).apply(records)
    assert (top[there & (ranks >= 3)] == top.min()).all()
    np.testing.assert_array_equal(top[ranks < 3], tokens[ranks < 3])
    loss = View("loss").apply(records)
    assert loss.shape == (3, 2)
    mean = [np.log(probability(tokens[text, : there[text].sum()])).mean() for text in range(3)]
    np.testing.assert_allclose(np.log(probability(loss[:, 0] - loss[:, 1])), mean, rtol=1e-4)
    # Two of four, all four, none of three: the third text has six tokens and errs at its fourth.
    written_ = View("text").apply(records)
    np.testing.assert_allclose(written_[:, 0], np.log([2.5 / 2.5, 4.5 / 0.5, 0.5 / 3.5]), rtol=1e-5)


@pytest.mark.parametrize("name", ["logits", "label", "probabilities", "rounded-2", "top-3-unnamed"])
def test_views_of_classes_are_refused(name: str) -> None:
    with pytest.raises(TmiError, match=f"no view '{name}' of answers about the tokens of texts, expected one of top-K"):
        Predictions([records_of(np.zeros((2, 1, 3)))], view=View.parse(name))


@pytest.mark.parametrize("name", ["tokens", "loss", "text"])
def test_views_of_tokens_are_refused_of_classes(name: str) -> None:
    with pytest.raises(TmiError, match=f"no view '{name}' of answers about classes, expected one of logits"):
        Predictions([np.zeros((2, 1, 3), dtype=np.float32)], view=View.parse(name))


def test_files_of_answers_are_opened_and_read_in_blocks(tmp_path: Path) -> None:
    answers = written(models=3, points=9).predictions.records(slice(None))
    for model, records in enumerate(answers):
        np.save(tmp_path / f"{model}.npy", records)
    opened = Predictions([open_npy(tmp_path / f"{model}.npy") for model in range(3)])
    assert opened.dtype == TOKEN
    np.testing.assert_array_equal(opened.records(slice(2, 5)), answers[:, 2:5])
    np.testing.assert_array_equal(opened.at(slice(2, 5)).block(slice(None)), answers["log_odds"][:, 2:5])


def test_a_summary_has_one_width_however_long_texts_are() -> None:
    predictions = written().predictions
    summary = predictions.summarised()
    width = len(LEAST_LIKELY)
    assert summary.shape == (*predictions.shape[:3], width)
    assert summary.block(slice(0, 4)).shape == (*predictions.shape[:1], 4, predictions.shape[2], width)
    assert summary.seen_through(View("loss")).shape[-1] == 2
    classes = Predictions([np.zeros((2, 1, 3), dtype=np.float32)] * 3)
    assert classes.summarised() is classes


@pytest.mark.parametrize("name", ["tokens", "top-3", "loss"])
def test_log_odds_that_are_no_numbers_are_refused(name: str) -> None:
    records = written(models=3, points=5).predictions.records(slice(None))
    records["log_odds"][1, 2, 0, 0] = np.nan
    predictions = Predictions(list(records), view=View.parse(name))
    for seen in (predictions, predictions.summarised()):
        with pytest.raises(TmiError, match="predictions hold NaN"):
            seen.block(slice(None))


def test_a_summary_needs_room_for_the_tokens_that_it_is_of() -> None:
    predictions = written(models=4, points=9, tokens=200).predictions
    assert predictions.summarised().points_in_memory <= predictions.points_in_memory
    small = Predictions(list(predictions.records(slice(None))), memory=1 << 18)
    assert small.summarised().points_in_memory * 4 * 2 * 200 * TOKEN.itemsize < 1 << 18


def test_longer_views_than_texts_are_the_same_of_pretrained_models() -> None:
    answers = written(models=3, points=5, tokens=4).seen_through(View.parse("top-9"))
    assert answers.pretrained is not None
    assert answers.pretrained.view == View.parse("top-9")
