from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from tmi.config import EncoderConfig, FinetuneConfig, ModelConfig
from tmi.errors import TmiError
from tmi.shadows.networks import (
    Classifier,
    apply_transfer,
    build_classifier,
    changed_weights,
    load_changed,
    load_weights,
    point_mixing_layer,
    weights_of,
)

SHAPE, POINTS, CLASSES = (8, 8), 6, 3
NETWORKS: dict[str, ModelConfig] = {
    "mlp": ModelConfig(hidden=[12, 10, 8, 6]),
    "cnn": ModelConfig(kind="cnn", channels=[4, 6, 8], features=10),
    "resnet-18": ModelConfig(
        kind="transformers",
        architecture="resnet-18",
        stem="small",
        settings={"embedding_size": 4, "hidden_sizes": [4, 6, 8, 10]},
    ),
    "vit-tiny": ModelConfig(
        kind="transformers",
        architecture="vit-tiny",
        stem="small",
        settings={"num_hidden_layers": 3, "hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2},
    ),
    "convnext-atto": ModelConfig(
        kind="transformers",
        architecture="convnext-atto",
        stem="small",
        settings={"depths": [1, 1, 2, 1], "hidden_sizes": [4, 6, 8, 10], "layer_scale_init_value": 1.0},
    ),
}
TRANSFERS = ["head", "last-1", "last-3", "full", "lora"]


def recipe(transfer: str, rank: int = 2) -> FinetuneConfig:
    return FinetuneConfig(transfer=transfer, lora_rank=rank, learning_rate=0.05, epochs=1, batch_size=4)


def pretrained(network: str, seed: int = 0) -> Classifier:
    """Not really, but its running statistics have seen data."""
    classifier = build_classifier(NETWORKS[network], EncoderConfig(kind="pixels"), SHAPE, 5, seed)
    with torch.no_grad():
        classifier(images(seed=99))
    return classifier


def transferred(network: str, transfer: str, seed: int = 0) -> Classifier:
    classifier = pretrained(network)
    apply_transfer(classifier, recipe(transfer), CLASSES, seed)
    return classifier


def images(seed: int = 0) -> Tensor:
    return torch.rand(POINTS, *SHAPE, generator=torch.Generator().manual_seed(seed))


def train(classifier: Classifier, steps: int = 4) -> None:
    """Every parameter, as whoever ignores what is frozen would do it; Adam moves also those with tiny gradients."""
    classifier.train()
    optimizer = torch.optim.Adam(classifier.parameters(), 0.01)
    labels = torch.arange(POINTS) % CLASSES
    for step in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(classifier(images(step)), labels).backward()
        optimizer.step()


def state(classifier: Classifier) -> dict[str, Tensor]:
    return copy.deepcopy(classifier.state_dict())


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_exactly_what_is_trained_moves(network: str, transfer: str) -> None:
    classifier = transferred(network, transfer)
    before = state(classifier)
    train(classifier)
    changed = moved(before, state(classifier))
    assert changed == set(changed_weights(classifier))

    buffers = {name for name, _ in classifier.named_buffers()}
    if transfer == "head":
        assert changed == {"head.weight", "head.bias"}
    elif transfer == "full":
        assert changed == set(before)
    elif transfer == "lora":
        assert all("lora_" in name or name.startswith("head.") for name in changed)
        assert not changed & buffers
    else:
        assert {"head.weight", "head.bias"} < changed < set(before)


@pytest.mark.parametrize(
    ("network", "last", "trained", "frozen"),
    [
        ("mlp", 2, ["backbone.5.", "backbone.7."], ["backbone.1.", "backbone.3."]),
        ("cnn", 1, ["backbone.4.1."], ["backbone.1.0.", "backbone.2.0.", "backbone.3.0."]),
        ("resnet-18", 1, ["encoder.stages.3.layers.1."], ["embedder.", "encoder.stages.3.layers.0."]),
        # The shortcut that halves the image is part of its block.
        ("resnet-18", 2, ["encoder.stages.3."], ["embedder.", "encoder.stages.2."]),
        ("vit-tiny", 1, ["layers.2.", "model.layernorm.", "model.pooler."], ["embeddings.", "layers.0.", "layers.1."]),
        # The downsampling behind the first trained block is trained, that in front of it is not.
        ("convnext-atto", 1, ["stages.3.layers.0.", "model.layernorm."], ["stages.3.downsampling_layer.", "stages.2."]),
        (
            "convnext-atto",
            2,
            ["stages.2.layers.1.", "stages.3.", "model.layernorm."],
            ["stages.2.downsampling_layer.", "stages.2.layers.0"],
        ),
    ],
)
def test_last_blocks_and_what_follows_them(network: str, last: int, trained: list[str], frozen: list[str]) -> None:
    classifier = transferred(network, f"last-{last}")
    changed = {name for name in changed_weights(classifier) if name.startswith("backbone.")}
    for part in trained:
        assert any(part in name for name in changed), part
    for part in frozen:
        assert any(part in name for name in classifier.state_dict()), part
        assert not any(part in name for name in changed), part
    assert all(any(part in name for part in trained) for name in changed)


@given(last=st.integers(1, 8))
@settings(max_examples=8, deadline=None)
def test_more_blocks_change_more(last: int) -> None:
    sizes = ModelConfig(hidden=[4] * 8)
    changed = []
    for number in (last, last + 1):
        classifier = build_classifier(sizes, EncoderConfig(kind="pixels"), (5,), 2, 0)
        if number == 9:
            with pytest.raises(TmiError, match=r"'last-9', but the backbone has only 8 blocks"):
                apply_transfer(classifier, recipe("last-9"), 2, 0)
            return
        apply_transfer(classifier, recipe(f"last-{number}"), 2, 0)
        changed.append(set(changed_weights(classifier)))
    assert changed[0] < changed[1]
    assert len(changed[0]) == 2 * (last + 1)


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_the_new_head_has_no_opinion(transfer: str) -> None:
    classifier = transferred("cnn", transfer)
    logits = classifier(images())
    assert logits.shape == (POINTS, CLASSES)
    assert not logits.any()


@pytest.mark.parametrize("network", NETWORKS)
def test_adapters_start_as_what_they_adapt(network: str) -> None:
    classifier, plain = transferred(network, "lora"), pretrained(network)
    torch.testing.assert_close(classifier.eval().backbone(images()), plain.eval().backbone(images()))
    layers = [layer for layer in plain.backbone.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    dense = [layer for layer in layers if getattr(layer, "groups", 1) == 1]
    adapters = {name: array for name, array in changed_weights(classifier).items() if name.startswith("backbone.")}
    assert len(adapters) == 2 * len(dense)
    assert len(dense) < len(layers) or network != "convnext-atto"
    for name, array in adapters.items():
        assert 2 in array.shape, "the rank"
        assert bool(array.any()) == (".lora_A." in name)


def test_an_adapter_adds_twice_the_product_of_its_matrices() -> None:
    """Hu et al. 2022, section 4.1, with alpha = 2 r."""
    classifier, plain = transferred("mlp", "lora"), pretrained("mlp")
    train(classifier)
    adapters = changed_weights(classifier)
    for name, layer in plain.backbone.named_children():
        if isinstance(layer, nn.Linear):
            first, second = (adapters[f"backbone.{name}.lora_{matrix}.default.weight"] for matrix in "AB")
            layer.weight.data += 2 * torch.from_numpy(second @ first)
    torch.testing.assert_close(classifier.backbone(images()), plain.backbone(images()))


def test_the_seed_alone_decides_adapters() -> None:
    before = torch.random.get_rng_state()
    one = changed_weights(transferred("cnn", "lora", 3))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(7)
    same, other = (changed_weights(transferred("cnn", "lora", seed)) for seed in (3, 4))
    for name, array in one.items():
        assert np.array_equal(array, same[name])
        assert np.array_equal(array, other[name]) != (".lora_A." in name)


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_changed_weights_survive_a_file(network: str, transfer: str, tmp_path: Path) -> None:
    """A finetuned model is its pretrained base and what finetuning changed, nothing else."""
    finetuned = transferred(network, transfer)
    train(finetuned)
    save_file(changed_weights(finetuned), tmp_path / "finetuned.safetensors")

    again = build_classifier(NETWORKS[network], EncoderConfig(kind="pixels"), SHAPE, 5, seed=77)
    load_weights(again, weights_of(pretrained(network)))
    apply_transfer(again, recipe(transfer), CLASSES, seed=78)
    load_changed(again, load_file(tmp_path / "finetuned.safetensors"))
    assert moved(finetuned.state_dict(), again.state_dict()) == set()
    assert torch.equal(finetuned.eval()(images()), again.eval()(images()))
    assert finetuned(images()).abs().max() > 0


def test_changed_weights_of_another_transfer_are_refused() -> None:
    head, last = transferred("cnn", "head"), transferred("cnn", "last-1")
    weights = changed_weights(last)
    with pytest.raises(TmiError, match=r"the array 'backbone\.4\.1\.bias' is not expected"):
        load_changed(head, weights)
    with pytest.raises(TmiError, match=r"the array 'backbone\.4\.1\.bias' is missing"):
        load_changed(last, changed_weights(head))
    with pytest.raises(TmiError, match=r"'head\.bias' has shape \(2,\), expected \(3,\)"):
        load_changed(head, {"head.weight": weights["head.weight"], "head.bias": weights["head.bias"][:2]})


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_frozen_parts_stay_in_evaluation_mode(transfer: str) -> None:
    for network in ("resnet-18", "vit-tiny"):
        classifier = transferred(network, transfer)
        assert classifier.training
        noisy = [m for m in classifier.backbone.modules() if isinstance(m, nn.BatchNorm2d | nn.Dropout)]
        modes = {module.training for module in noisy}
        assert modes == {"head": {False}, "lora": {False}, "full": {True}}.get(transfer, {False, True})
        classifier.eval()
        assert not any(module.training for module in classifier.modules())
        classifier.train()
        assert {module.training for module in noisy} == modes


def test_the_mode_is_kept() -> None:
    classifier = pretrained("resnet-18").eval()
    apply_transfer(classifier, recipe("full"), CLASSES, 0)
    assert not any(module.training for module in classifier.modules())


def test_dropout_of_a_frozen_backbone_drops_nothing() -> None:
    frozen, full = transferred("vit-tiny", "head").train(), transferred("vit-tiny", "full").train()
    assert torch.equal(frozen.backbone(images()), frozen.backbone(images()))
    assert not torch.equal(full.backbone(images()), full.backbone(images()))


def test_only_trained_batch_normalisation_mixes_points() -> None:
    found = {transfer: point_mixing_layer(transferred("resnet-18", transfer)) for transfer in TRANSFERS}
    assert found["head"] is None
    assert found["lora"] is None
    assert "stages.3.layers.1." in str(found["last-1"])
    assert "embedder." in str(found["full"])


def test_batch_normalisation_without_running_statistics_mixes_points_even_when_frozen() -> None:
    backbone = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False))
    classifier = Classifier(backbone, nn.Linear(4, 2))
    apply_transfer(classifier, recipe("head"), 2, 0)
    assert point_mixing_layer(classifier) == "backbone.1"


def test_adapters_of_layers_with_similar_names() -> None:
    """Layer 1 inside of layer 11 is no reason to adapt what is called 11."""
    layers: list[Any] = [nn.Identity() for _ in range(12)]
    layers[1], layers[11] = nn.Linear(4, 4), nn.Sequential(nn.LayerNorm(4), nn.LayerNorm(4))
    classifier = Classifier(nn.Sequential(*layers), nn.Linear(4, 2))
    apply_transfer(classifier, recipe("lora"), 2, 0)
    adapters = {name for name in changed_weights(classifier) if name.startswith("backbone.")}
    assert adapters == {f"backbone.1.lora_{matrix}.default.weight" for matrix in "AB"}


def test_adapters_need_a_layer_and_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TmiError, match="no linear or convolution layer"):
        apply_transfer(Classifier(nn.Sequential(nn.LayerNorm(4)), nn.Linear(4, 2)), recipe("lora"), 2, 0)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(TmiError, match="pip install peft"):
        apply_transfer(pretrained("cnn"), recipe("lora"), 2, 0)
