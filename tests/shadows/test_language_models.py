"""Text networks: what they read and what they predict."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from made.texts import (
    CAUSAL,
    CLASSES,
    LANGUAGE_MODELS,
    LENGTH,
    MASK,
    MINIS,
    NETWORKS,
    PADDED,
    SMALL,
    TOKENS,
    VOCABULARY,
    build,
    language_model,
    text_model,
    texts,
)
from tmi.shadows.networks import (
    Likelihoods,
    build_classifier,
    language,
    token_targets,
)
from tmi.shadows.networks.text import TextFeatures


@pytest.mark.parametrize("architecture", MINIS)
def test_small_networks(architecture: str) -> None:
    built = build(architecture)
    assert (built.head.in_features, built.head.out_features, len(built.blocks)) == (128, CLASSES, 2)
    assert not any(module.p for module in built.modules() if isinstance(module, nn.Dropout))
    assert built.get_submodule("backbone.model").config._attn_implementation == "sdpa"
    ids = texts([10, 4, 1])
    assert torch.equal(built.train()(ids), built.eval()(ids))
    tables = [layer for layer in built.modules() if isinstance(layer, nn.Embedding)]
    assert max(table.num_embeddings for table in tables) == VOCABULARY
    # No token is taken for padding, whose embedding nothing would train.
    assert all(table.padding_idx is None for table in tables)
    assert all(bool(table.weight.any(dim=1).all()) for table in tables)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "vocabulary", "length", "parameters"),
    # Radford et al. 2019 and Devlin et al. 2019 as transformers counts them, here BERT without its pooler.
    [
        ("gpt2", 50_257, 1024, 124_439_808),
        ("distilgpt2", 50_257, 1024, 81_912_576),
        ("bert-base", 30_522, 512, 109_482_240 - 590_592),
    ],
)
def test_published_sizes(architecture: str, vocabulary: int, length: int, parameters: int) -> None:
    built = build_classifier(text_model(architecture), TOKENS, (length,), CLASSES, 0, vocabulary)
    assert sum(parameter.numel() for parameter in built.backbone.parameters()) == parameters
    assert any(module.p == 0.1 for module in built.modules() if isinstance(module, nn.Dropout))


def test_other_model_types_of_the_library() -> None:
    ids = texts([10, 3])
    for model_type, keys, pooling in (
        ("roberta", SMALL | {"intermediate_size": 8}, "mean"),
        ("gpt_neox", SMALL | {"intermediate_size": 8}, "last"),
        ("distilbert", {"dim": 16, "hidden_dim": 8, "n_layers": 2, "n_heads": 2}, "mean"),
        # Both names of a setting are known.
        ("gpt2", {"n_layer": 2, "hidden_size": 16, "n_head": 2}, "last"),
        ("opt", SMALL | {"ffn_dim": 8, "word_embed_proj_dim": 16}, "last"),
        ("bert", SMALL | {"intermediate_size": 8, "is_decoder": True}, "last"),
    ):
        built = build(model_type, settings=keys).eval()
        assert (built.head.in_features, len(built.blocks)) == (16, 2), model_type
        assert isinstance(built.backbone, TextFeatures)
        assert built.backbone.pooling == pooling, model_type
        alone = built.backbone(ids[1:, :3])
        torch.testing.assert_close(built.backbone(ids)[1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", MINIS)
def test_every_layer_is_decided_by_the_seed_alone(architecture: str) -> None:
    before = torch.random.get_rng_state()
    one = language_model(architecture, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(7)
    same, other = language_model(architecture, seed=3), language_model(architecture, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        assert not torch.equal(a, b) or (a.ndim == 1 and torch.equal(a, a[:1].expand_as(a))), name
    assert one.training


# What is read.


@pytest.mark.parametrize("architecture", MINIS)
@given(place=st.integers(1, LENGTH - 1), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_causal_models_do_not_know_what_follows(architecture: str, place: int, seed: int) -> None:
    ids = texts([LENGTH], seed=seed)
    changed = ids.clone()
    changed[0, place] = (ids[0, place] + 1) % VOCABULARY
    with torch.no_grad():
        one, other = LANGUAGE_MODELS[architecture](torch.cat([ids, changed]))
    assert torch.allclose(one[:place], other[:place], atol=1e-6) == (architecture in CAUSAL)
    assert not torch.allclose(one[place], other[place], atol=1e-4)


@pytest.mark.parametrize("pooling", ["last", "mean", "cls"])
@pytest.mark.parametrize("architecture", MINIS)
@given(lengths=st.lists(st.integers(1, LENGTH), min_size=1, max_size=4), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_padding_makes_no_difference(architecture: str, pooling: str, lengths: list[int], seed: int) -> None:
    backbone, model = NETWORKS[architecture].backbone, LANGUAGE_MODELS[architecture]
    assert isinstance(backbone, TextFeatures)
    backbone = TextFeatures(backbone.model, pooling)  # type: ignore[arg-type]
    ids = texts(lengths, seed=seed)
    with torch.no_grad():
        together, logits = backbone(ids), model(ids)
        assert logits.shape == (len(ids), LENGTH, VOCABULARY)
        for row, length in enumerate(lengths):
            text = ids[row : row + 1, :length]
            assert text.min() >= 0
            torch.testing.assert_close(together[row : row + 1], backbone(text), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(logits[row : row + 1, :length], model(text), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", MINIS)
def test_features_are_pooled_hidden_states(architecture: str) -> None:
    ids, lengths = texts([10, 4, 1]), [10, 4, 1]
    for pooling, expected in (
        ("last", lambda hidden, length: hidden[length - 1]),
        ("mean", lambda hidden, length: hidden[:length].mean(dim=0)),
        ("cls", lambda hidden, length: hidden[0]),
    ):
        if architecture in CAUSAL and pooling == "cls":
            continue
        backbone = build(architecture, pooling=pooling).eval().backbone
        assert isinstance(backbone, TextFeatures)
        hidden = backbone.hidden_states(ids)
        by_hand = torch.stack([expected(states, length) for states, length in zip(hidden, lengths, strict=True)])
        torch.testing.assert_close(backbone(ids), by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", MINIS)
def test_a_text_without_tokens_has_features(architecture: str) -> None:
    ids = texts([0, 5])
    features = NETWORKS[architecture].backbone(ids)
    assert torch.isfinite(features).all()
    torch.testing.assert_close(features[1:], NETWORKS[architecture].backbone(ids[1:]), rtol=1e-4, atol=1e-5)
    assert torch.equal(ids[0], torch.full((LENGTH,), PADDED))


# What is predicted.


@given(lengths=st.lists(st.integers(0, LENGTH), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_targets(lengths: list[int], seed: int) -> None:
    ids = texts(lengths, seed=seed)
    causal, masked = token_targets(ids, "causal"), token_targets(ids, "masked")
    for row, length in enumerate(lengths):
        words = ids[row, :length].tolist()
        assert causal[row].tolist() == words[1:] + [-100] * (LENGTH - max(0, length - 1))
        assert masked[row].tolist() == words + [-100] * (LENGTH - length)


def test_likelihoods_are_those_of_one_token_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [10, 6, 2, 1]
    ids = texts(lengths)
    for architecture in CAUSAL:
        model = language_model(architecture)
        logits = Likelihoods(model)(ids)
        assert not model.training
        assert not logits[:, 1].any()
        for row, length in enumerate(lengths):
            words = ids[row, :length]
            steps = [
                model(words[None, :place])[0, -1].log_softmax(dim=0)[words[place]].item() for place in range(1, length)
            ]
            assert logits[row, 0].item() == pytest.approx(np.mean(steps) if steps else 0.0, abs=1e-4)
        monkeypatch.setattr(language, "LOGITS_AT_ONCE", 2 * LENGTH * VOCABULARY)
        torch.testing.assert_close(Likelihoods(model)(ids), logits)


@pytest.mark.parametrize("fraction", [0.15, 0.3, 0.5])
def test_masked_likelihoods_are_those_of_masked_tokens(fraction: float) -> None:
    model, lengths = LANGUAGE_MODELS["bert-mini"], [10, 7, 1]
    ids = texts(lengths)
    found = Likelihoods(model, MASK, fraction)(ids)
    every = round(1 / fraction)
    for row, length in enumerate(lengths):
        total = 0.0
        for place in range(length):
            question = ids[row : row + 1, :length].clone()
            question[0, place % every :: every] = MASK
            total += model(question)[0, place].log_softmax(dim=0)[ids[row, place]].item()
        assert found[row, 0].item() == pytest.approx(total / length, abs=1e-4)
    with pytest.raises(ValueError, match="mask_id is None"):
        Likelihoods(model)(ids)


@pytest.mark.parametrize("architecture", MINIS)
def test_what_was_learned_is_more_likely(architecture: str) -> None:
    model, ids, others = language_model(architecture), texts([10] * 4, seed=1), texts([10] * 4, seed=2)
    before = Likelihoods(model, MASK)(torch.cat([ids, others]))[:, 0]
    assert before.mean().item() == pytest.approx(-math.log(VOCABULARY), abs=0.3)
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(25):
        targets, inputs = token_targets(ids, model.objective), ids
        if model.objective == "masked":
            hidden = torch.rand(ids.shape, generator=generator) < 0.3
            inputs, targets = ids.masked_fill(hidden, MASK), targets.masked_fill(~hidden, -100)
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()).backward()
        optimizer.step()
    after = Likelihoods(model, MASK)(torch.cat([ids, others]))[:, 0]
    assert after[:4].min() > after[4:].max() + 0.5
