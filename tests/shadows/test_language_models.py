"""Text networks: what they read, what they predict, what finetuning changes, and what they are read from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from tmi.config import EncoderConfig, FinetuneConfig, ModelConfig
from tmi.errors import TmiError
from tmi.shadows.networks import (
    Classifier,
    LanguageModel,
    Likelihoods,
    apply_transfer,
    build_classifier,
    changed_weights,
    language,
    load_changed,
    load_weights,
    sequence_logits,
    token_targets,
    weights_of,
)
from tmi.shadows.networks.text import TextFeatures

torch.set_num_threads(1)

TOKENS = EncoderConfig(kind="tokens")
VOCABULARY, LENGTH, CLASSES, MASK = 40, 10, 3, 2
CAUSAL, BIDIRECTIONAL = ["gpt2-mini", "llama-mini"], ["bert-mini"]
MINIS = CAUSAL + BIDIRECTIONAL
TRANSFERS = ["head", "last-1", "full", "lora"]
PADDED = -1


def text_model(architecture: str | None = None, **keys: Any) -> ModelConfig:
    return ModelConfig(kind="transformers", architecture=architecture, **keys)


def build(
    architecture: str | None, seed: int = 0, objective: str = "classification", length: int = LENGTH, **keys: Any
) -> Classifier:
    model = text_model(architecture, **keys)
    return build_classifier(model, TOKENS, (length,), CLASSES, seed, VOCABULARY, objective)


def objective_of(architecture: str) -> str:
    return "masked" if architecture in BIDIRECTIONAL else "causal"


def language_model(architecture: str, seed: int = 0) -> LanguageModel:
    model = build(architecture, seed, objective_of(architecture))
    assert isinstance(model, LanguageModel)
    return model


def texts(lengths: list[int], width: int = LENGTH, seed: int = 0) -> Tensor:
    """Random ids of texts of these lengths."""
    ids = torch.randint(VOCABULARY, (len(lengths), width), generator=torch.Generator().manual_seed(seed))
    return ids.masked_fill(torch.arange(width) >= torch.tensor(lengths)[:, None], PADDED)


def recipe(transfer: str) -> FinetuneConfig:
    return FinetuneConfig(transfer=transfer, lora_rank=2, learning_rate=0.05, epochs=1, batch_size=4)


NETWORKS = {architecture: build(architecture).eval() for architecture in MINIS}
LANGUAGE_MODELS = {architecture: language_model(architecture).eval() for architecture in MINIS}


# What is built.


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


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


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
        logits = sequence_logits(model, ids)
        assert not model.training
        assert not logits[:, 1].any()
        for row, length in enumerate(lengths):
            words = ids[row, :length]
            steps = [
                model(words[None, :place])[0, -1].log_softmax(dim=0)[words[place]].item() for place in range(1, length)
            ]
            assert logits[row, 0].item() == pytest.approx(np.mean(steps) if steps else 0.0, abs=1e-4)
        monkeypatch.setattr(language, "LOGITS_AT_ONCE", 2 * LENGTH * VOCABULARY)
        torch.testing.assert_close(sequence_logits(model, ids), logits)


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
        sequence_logits(model, ids)


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


# What finetuning changes.


def transferred(architecture: str, transfer: str, seed: int = 0) -> Classifier:
    classifier = language_model(architecture)
    apply_transfer(classifier, recipe(transfer), CLASSES, seed)
    return classifier


def train(classifier: Classifier, ids: Tensor, steps: int = 3) -> None:
    """Every parameter, as whoever ignores what is frozen would do it."""
    classifier.train()
    optimizer = torch.optim.Adam(classifier.parameters(), 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(classifier(ids), torch.arange(len(ids)) % CLASSES).backward()
        optimizer.step()


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize("architecture", MINIS)
def test_a_pretrained_model_is_finetuned(architecture: str, transfer: str) -> None:
    """A finetuned model is its pretrained base, which predicted tokens, and what finetuning changed, nothing else."""
    ids = texts([10, 10, 4, 7, 1, 9])
    pretrained = language_model(architecture)
    names = set(pretrained.state_dict())
    finetuned = transferred(architecture, transfer)
    assert torch.equal(finetuned(ids), torch.zeros(6, CLASSES))
    before = {name: tensor.clone() for name, tensor in finetuned.state_dict().items()}
    train(finetuned, ids)

    changed = {name for name, tensor in finetuned.state_dict().items() if not torch.equal(tensor, before[name])}
    weights = changed_weights(finetuned)
    # Rows of embeddings that no text used, and biases of an attention's keys, have no gradients.
    never = {name for name in weights if "token_type" in name or name.endswith("key.bias")}
    assert set(weights) - never <= changed <= set(weights)
    if transfer == "lora":
        assert all("lora_" in name or name.startswith("head.") for name in changed)
    else:
        assert set(finetuned.state_dict()) == names
        assert (len(weights) == 2) == (transfer == "head")
        assert (set(weights) == names) == (transfer == "full")

    again = build(architecture, seed=77, objective=objective_of(architecture))
    load_weights(again, weights_of(pretrained))
    assert again(ids).shape == (6, LENGTH, VOCABULARY)
    apply_transfer(again, recipe(transfer), CLASSES, seed=78)
    load_changed(again, weights)
    assert torch.equal(finetuned.eval()(ids), again.eval()(ids))
    torch.testing.assert_close(again(ids), again.head(again.backbone(ids)))
    with pytest.raises(ValueError, match="predicts no tokens"):
        sequence_logits(again, ids)


@pytest.mark.parametrize(
    ("architecture", "keys", "trained", "frozen"),
    [
        ("gpt2-mini", {}, ["model.h.1.", "model.ln_f."], ["model.wte.", "model.wpe.", "model.h.0."]),
        ("bert-mini", {}, ["encoder.layer.1."], ["model.embeddings.", "encoder.layer.0."]),
        ("llama-mini", {}, ["model.layers.1.", "model.norm."], ["model.embed_tokens.", "model.layers.0."]),
        # Registers the norm that follows its blocks in front of them.
        (
            "opt",
            SMALL | {"ffn_dim": 8, "word_embed_proj_dim": 16},
            ["decoder.layers.1.", "decoder.final_layer_norm."],
            ["decoder.embed_", "decoder.layers.0."],
        ),
    ],
)
def test_the_last_block_and_what_follows_it(
    architecture: str, keys: dict[str, Any], trained: list[str], frozen: list[str]
) -> None:
    classifier = build(architecture, settings=keys)
    apply_transfer(classifier, recipe("last-1"), CLASSES, 0)
    changed = {name for name in changed_weights(classifier) if name.startswith("backbone.")}
    for part in trained:
        assert any(part in name for name in changed), part
    for part in frozen:
        assert any(part in name for name in classifier.state_dict()), part
    assert all(any(part in name for part in trained) for name in changed)


@pytest.mark.parametrize(
    ("architecture", "layers"), [("gpt2-mini", 2 * 4), ("bert-mini", 2 * 6), ("llama-mini", 2 * 7)]
)
def test_all_linear_layers_are_adapted(architecture: str, layers: int) -> None:
    plain, adapted = language_model(architecture).eval(), transferred(architecture, "lora").eval()
    ids = texts([10, 4])
    assert len([name for name in changed_weights(adapted) if name.startswith("backbone.")]) == 2 * layers
    torch.testing.assert_close(adapted.backbone(ids), plain.backbone(ids))


def test_an_adapter_of_gpt_2_adds_twice_the_product_of_its_matrices() -> None:
    """Its layers hold their matrices transposed."""
    ids, adapted, plain = texts([10, 4]), transferred("gpt2-mini", "lora"), language_model("gpt2-mini").eval()
    train(adapted, ids)
    adapters = changed_weights(adapted)
    for name, layer in plain.named_modules():
        if f"{name}.lora_A.default.weight" in adapters:
            first, second = (torch.from_numpy(adapters[f"{name}.lora_{matrix}.default.weight"]) for matrix in "AB")
            with torch.no_grad():
                layer.get_parameter("weight").add_(2 * (second @ first).T)
    torch.testing.assert_close(adapted.eval().backbone(ids), plain.backbone(ids), rtol=1e-4, atol=1e-5)


def test_dropout_of_a_frozen_backbone_drops_nothing() -> None:
    for transfer, same in (("head", True), ("lora", True), ("full", False)):
        classifier = build("gpt2", settings=SMALL)
        apply_transfer(classifier, recipe(transfer), CLASSES, 0)
        ids = texts([10, 4])
        assert torch.equal(classifier.train().backbone(ids), classifier.backbone(ids)) == same


# What is refused.


@pytest.mark.parametrize(
    ("model", "objective", "message"),
    [
        (text_model("bert-mini"), "causal", "objective is 'causal', but model.architecture 'bert-mini' reads texts in"),
        (text_model("gpt2-mini"), "masked", "objective is 'masked', but model.architecture 'gpt2-mini' reads from"),
        (text_model("gpt2-mini", pooling="cls"), "causal", "pooling is 'cls', but .*'gpt2-mini' reads from left"),
        (text_model("gpt2-min"), "causal", "'gpt2-min', which tmi does not know .did you mean 'gpt2-mini'"),
        (text_model("gpt2-mini", settings={"heads": 3}), "causal", "gpt2 has no setting 'heads'"),
        (text_model("gpt2-mini", settings={"n_head": 3}), "causal", "'gpt2-mini' with these model.settings is refused"),
        (text_model("gpt2-mini", settings={"vocab_size": 39}), "causal", "fit, it has 40 tokens and .* only 39"),
        (text_model("bert-mini", settings={"max_position_embeddings": 8}), "masked", "reads at most 8 tokens, found"),
        (text_model("resnet-18"), "classification", "'resnet-18', which tmi does not know"),
        (text_model("vit"), "classification", "'vit' does not read tokens"),
        (text_model("t5"), "causal", "'t5' has an encoder and a decoder"),
        (
            text_model("fnet", settings={"hidden_size": 16}),
            "masked",
            "'fnet' mixes the padding behind a text into the text",
        ),
        (text_model("gpt2-mini", stem="small"), "causal", "model.stem and model.normalisation are for images"),
        (ModelConfig(), "classification", "model.kind is 'mlp', which does not read encoder.kind 'tokens'"),
    ],
)
def test_what_cannot_be_built_is_named(model: ModelConfig, objective: str, message: str) -> None:
    with pytest.raises(TmiError, match=message):
        build_classifier(model, TOKENS, (LENGTH,), CLASSES, 0, VOCABULARY, objective)


def test_a_text_network_does_not_read_images() -> None:
    with pytest.raises(TmiError, match=r"'bert-mini' reads texts, found encoder\.kind 'pixels'"):
        build_classifier(text_model("bert-mini"), EncoderConfig(kind="pixels"), (3, 8, 8), CLASSES, 0)


def test_paths_are_no_models_of_the_hub(tmp_path: Path) -> None:
    with pytest.raises(TmiError, match="there is no such directory"):
        build(None, checkpoint=str(tmp_path / "nowhere"))
