"""What finetuning changes of text networks, and which cannot be built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from made.texts import (
    CLASSES,
    LENGTH,
    MINIS,
    SMALL,
    TOKENS,
    TRANSFERS,
    VOCABULARY,
    build,
    language_model,
    objective_of,
    recipe,
    text_model,
    texts,
)
from tmi.config import EncoderConfig, ModelConfig
from tmi.errors import TmiError
from tmi.shadows.networks import (
    Classifier,
    Likelihoods,
    apply_transfer,
    build_classifier,
    changed_weights,
    load_changed,
    load_weights,
    weights_of,
)


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
        Likelihoods(again)(ids)


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
