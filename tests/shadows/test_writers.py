"""Language models that are finetuned as such, and what they say about every token."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from made.texts import CAUSAL, LENGTH, TRANSFERS, VOCABULARY, language_model, recipe, texts
from tmi.config import PrivacyConfig
from tmi.predictions.tokens import tokens_there
from tmi.shadows.networks import (
    LanguageModel,
    answers_in_windows,
    answers_of,
    apply_transfer,
    changed_weights,
    consecutive,
    load_changed,
    token_targets,
)
from tmi.shadows.networks.private import check_private
from tmi.shadows.training.data import TrainingSet
from tmi.shadows.training.loop import train
from tmi.shadows.training.measure import measured
from tmi.shadows.training.private import train_privately

CAUSALLY = {"objective": "causal"}


def finetuned(transfer: str, seed: int = 0) -> LanguageModel:
    model = language_model("gpt2-mini")
    apply_transfer(model, recipe(transfer).model_copy(update=CAUSALLY), 2, seed)
    return model


@pytest.mark.parametrize("architecture", CAUSAL)
def test_what_is_said_of_each_token_is_what_a_plain_loop_finds(architecture: str) -> None:
    model = language_model(architecture).eval()
    ids = texts([10, 1, 3, 7, 10, 2])
    found = answers_of(model, ids, 10)
    assert found.shape == (6, 9)
    for text, row in zip(ids, found, strict=True):
        text = text[text >= 0]
        assert int(tokens_there(row).sum()) == len(text) - 1
        with torch.no_grad():
            log_p = model(text[None]).double()[0, :-1].log_softmax(dim=-1)
        for place, token in enumerate(text[1:].tolist()):
            own, p = log_p[place, token], log_p[place].exp()
            assert row["log_odds"][place] == pytest.approx(float(own - torch.log1p(-own.exp())), rel=2e-3, abs=2e-3)
            assert row["rank"][place] == int((log_p[place] > own).sum())
            mean = (p * log_p[place]).sum()
            deviation = (p * (log_p[place] - mean) ** 2).sum().sqrt()
            assert row["standardised"][place] == pytest.approx(float((own - mean) / deviation), rel=5e-3, abs=5e-3)


@pytest.mark.parametrize("stride", [1, 4, 9])
def test_long_texts_are_judged_in_windows_as_a_plain_loop_judges_them(stride: int) -> None:
    model, lengths = language_model("gpt2-mini").eval(), [25, 10, 1, 14, 11, 26, 2]
    ids = texts(lengths, 26)
    found = answers_in_windows(model, ids, 26, LENGTH, stride)
    assert found.shape == (7, 25)
    for text, row in zip(ids, found, strict=True):
        text = text[text >= 0]
        assert tokens_there(row).tolist() == [place < len(text) - 1 for place in range(25)]
        for place in range(1, len(text)):
            # The first window that holds the token, and of it what is before the token.
            start = next(start for start in range(0, 26, stride) if place < start + LENGTH)
            assert start == 0 or place - start >= LENGTH - stride
            with torch.no_grad():
                log_p = model(text[None, start:place]).double()[0, -1].log_softmax(dim=-1)
            own = log_p[text[place]]
            expected = float(own - torch.log1p(-own.exp()))
            assert row["log_odds"][place - 1] == pytest.approx(expected, rel=2e-3, abs=2e-3)
            assert row["rank"][place - 1] == int((log_p > own).sum())


def test_texts_that_fit_are_answered_to_the_bit_as_without_windows() -> None:
    model, ids = language_model("gpt2-mini").eval(), texts([10, 3, 7, 10, 2])
    np.testing.assert_array_equal(answers_in_windows(model, ids, 10, LENGTH, 3), answers_of(model, ids, 10))
    # As many places as the longest text of all has, also where there are shorter ones alone.
    np.testing.assert_array_equal(answers_in_windows(model, ids[1:3, :7], 10, 10, 3), answers_of(model, ids[1:3], 10))


def test_long_texts_are_learned_in_consecutive_windows() -> None:
    ids = texts([9, 4, 10, 1 + 4, 2], 10)
    windows, of_text = consecutive(ids, 4)
    expected = [(0, 0, 4), (0, 4, 8), (1, 0, 4), (2, 0, 4), (2, 4, 8), (2, 8, 10), (3, 0, 4), (4, 0, 2)]
    assert of_text.tolist() == [text for text, _, _ in expected]
    for window, (text, start, stop) in zip(windows, expected, strict=True):
        assert window.tolist() == ids[text, start:stop].tolist() + [-1] * (4 - (stop - start))


def test_a_text_is_answered_alike_whatever_it_is_read_with(monkeypatch: pytest.MonkeyPatch) -> None:
    model = language_model("gpt2-mini").eval()
    ids = texts([10, 4, 6, 9])
    together = answers_of(model, ids, 10)
    monkeypatch.setattr("tmi.shadows.networks.language.LOGITS_AT_ONCE", VOCABULARY)
    alone = answers_of(model, ids, 10)
    np.testing.assert_allclose(alone["log_odds"], together["log_odds"], atol=1e-2)
    np.testing.assert_array_equal(tokens_there(alone), tokens_there(together))


def test_a_sure_model_gives_finite_answers() -> None:
    model = language_model("gpt2-mini").eval()
    with torch.no_grad():
        model.head.weight.mul_(1e4)
    found = answers_of(model, texts([10, 10]), 10)
    assert all(np.isfinite(found[name]).all() for name in ("log_odds", "standardised"))


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_finetuning_keeps_the_head_that_writes(transfer: str) -> None:
    before = language_model("gpt2-mini").state_dict()
    model = finetuned(transfer)
    assert model.predicts_tokens
    ids = texts([10] * 8)
    labels = token_targets(ids, "causal")
    data = TrainingSet(ids, labels, torch.arange(4)[None])
    train([model], data, recipe(transfer).model_copy(update={**CAUSALLY, "epochs": 20}), [1])
    assert torch.equal(model.head.weight, before["head.weight"]) == (transfer == "lora")
    seen = torch.arange(8) < 4
    facts = measured(model, ids, labels, seen)
    assert facts["train_perplexity"] < facts["test_perplexity"]
    with torch.no_grad():
        loss = functional.cross_entropy(model(ids[:4]).transpose(1, 2), labels[:4], ignore_index=-100)
    assert facts["train_perplexity"] == pytest.approx(float(loss.exp()), rel=1e-4)

    again = finetuned(transfer)
    load_changed(again, changed_weights(model))
    assert torch.equal(again.eval()(ids), model.eval()(ids))


@pytest.mark.parametrize("ghost", [False, True])
def test_private_finetuning_bounds_what_a_text_contributes(ghost: bool) -> None:
    model = finetuned("full")
    ids = texts([10, 3, 6, 9])
    check_private(model, ids, ghost)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    private = PrivacyConfig(noise_multiplier=0.0, clip=1e-3, ghost_clipping=ghost)
    how = recipe("full").model_copy(
        update={**CAUSALLY, "private": private, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0}
    )
    data = TrainingSet(ids, token_targets(ids, "causal"), torch.arange(4)[None])
    train_privately(model, data, how, 0, lambda samples: None)
    moved = sum(float(((model.state_dict()[name] - old) ** 2).sum()) for name, old in before.items()) ** 0.5
    # One step of a batch of four texts at the learning rate 1, each clipped: at most their mean norm.
    assert 0 < moved <= 1e-3 * 4 / 4 * 1.01 * how.epochs


PAIRS, FIRST = texts([10, 6, 9]), torch.tensor([4, 2, 8])
ONE_STEP = {**CAUSALLY, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0, "batch_size": 3}


def losses_of_responses(model: LanguageModel) -> list[torch.Tensor]:
    """The loss of every token of every response, pair by pair."""
    return [
        functional.cross_entropy(model(text[None])[0, begin - 1 : -1], text[begin:], reduction="none")
        for text, begin in zip((pair[pair >= 0] for pair in PAIRS), FIRST, strict=True)
    ]


def assert_a_step_on(model: LanguageModel, before: LanguageModel, loss: torch.Tensor) -> None:
    """Every weight moved against the gradient of a loss of the model before."""
    torch.autograd.backward(loss)
    for found, old in zip(model.parameters(), before.parameters(), strict=True):
        expected = old if old.grad is None else old - old.grad
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_of_pairs_the_responses_alone_are_learned(transfer: str) -> None:
    model, before = finetuned(transfer), finetuned(transfer)
    labels = token_targets(PAIRS, "causal", FIRST)
    train([model], TrainingSet(PAIRS, labels, torch.arange(3)[None]), recipe(transfer).model_copy(update=ONE_STEP), [1])
    of_tokens = torch.cat(losses_of_responses(before.train()))
    assert len(of_tokens) == (10 - 4) + (6 - 2) + (9 - 8)
    assert_a_step_on(model, before, of_tokens.mean())

    seen = torch.tensor([True, True, False])
    with torch.no_grad():
        expected = losses_of_responses(model.eval())
    facts = measured(model, PAIRS, labels, seen)
    assert facts["test_perplexity"] == pytest.approx(float(expected[2].mean().exp()), rel=1e-4)
    assert facts["train_perplexity"] == pytest.approx(float(torch.cat(expected[:2]).mean().exp()), rel=1e-4)


@pytest.mark.parametrize("ghost", [False, True])
@pytest.mark.parametrize("transfer", ["full", "lora"])
def test_private_finetuning_learns_the_responses_alone(transfer: str, ghost: bool) -> None:
    model, before = finetuned(transfer), finetuned(transfer)
    private = PrivacyConfig(noise_multiplier=0.0, clip=1e6, ghost_clipping=ghost)
    how = recipe(transfer).model_copy(update={**ONE_STEP, "private": private})
    data = TrainingSet(PAIRS, token_targets(PAIRS, "causal", FIRST), torch.arange(3)[None])
    train_privately(model, data, how, 0, lambda samples: None)
    assert_a_step_on(model, before, torch.stack([each.mean() for each in losses_of_responses(before.train())]).mean())
