from __future__ import annotations

import math
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
from torch.func import functional_call, stack_module_state, vmap

from tmi.config import EncoderConfig, ModelConfig
from tmi.errors import TmiError
from tmi.shadows.networks import Classifier, build_classifier, load_weights, point_mixing_layer, weights_of
from tmi.shadows.networks.architectures import build_transformers
from tmi.shadows.networks.building import FlattenedImages

PIXELS = EncoderConfig(kind="pixels")
COLOUR, GREYSCALE = (3, 32, 32), (8, 8)
# A network of each kind that is quick to build, by the name of what it shows.
NETWORKS: dict[str, ModelConfig] = {
    "mlp": ModelConfig(hidden=[12, 8]),
    "cnn": ModelConfig(kind="cnn", channels=[4, 6], features=10),
    "resnet": ModelConfig(
        kind="transformers",
        architecture="resnet-18",
        stem="small",
        settings={"depths": [1, 2], "hidden_sizes": [6, 10], "embedding_size": 6},
    ),
    "vit": ModelConfig(
        kind="transformers",
        architecture="vit-tiny",
        stem="small",
        settings={"hidden_size": 12, "num_hidden_layers": 2, "intermediate_size": 24},
    ),
    "convnext": ModelConfig(
        kind="transformers",
        architecture="convnext-atto",
        stem="small",
        settings={"depths": [1, 1, 1, 1], "hidden_sizes": [4, 6, 8, 10]},
    ),
}


def build(model: ModelConfig, shape: tuple[int, ...] = GREYSCALE, seed: int = 0, classes: int = 4) -> Classifier:
    return build_classifier(model, PIXELS, shape, classes, seed)


def transformers_model(architecture: str | None = None, **keys: Any) -> ModelConfig:
    return ModelConfig(kind="transformers", architecture=architecture, **keys)


def random_images(shape: tuple[int, ...], points: int = 3) -> Tensor:
    return torch.rand(points, *shape, generator=torch.Generator().manual_seed(0))


# What is built.


def test_the_mlp_is_the_one_of_every_run_so_far() -> None:
    """Bit for bit what the initialisation has always been, names included: existing runs depend on it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU())
        expected = nn.ModuleDict({"backbone": backbone, "head": nn.Linear(8, 3)})
        for layer in expected.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
    built = build(NETWORKS["mlp"], (8, 8), seed=5, classes=3)
    assert list(built.state_dict()) == list(expected.state_dict())
    for name, tensor in expected.state_dict().items():
        assert torch.equal(built.state_dict()[name], tensor)
    images = random_images((8, 8))
    assert torch.equal(built(images), expected["head"](backbone(images)))


def test_the_cnn_is_convolutions_and_a_linear_layer() -> None:
    built = build(ModelConfig(kind="cnn"), COLOUR).eval()
    weights = [tuple(parameter.shape) for parameter in built.parameters() if parameter.ndim > 1]
    assert weights == [(32, 3, 3, 3), (64, 32, 3, 3), (128, 64, 3, 3), (128, 128 * 4 * 4), (4, 128)]
    assert len(built.blocks) == 4
    images = random_images(COLOUR)
    hidden = images
    for block in built.blocks[:3]:
        convolution = next(layer for layer in block.modules() if isinstance(layer, nn.Conv2d))
        hidden = torch.relu(nn.functional.conv2d(hidden, convolution.weight, convolution.bias, stride=2, padding=1))
    linear = next(layer for layer in built.blocks[3].modules() if isinstance(layer, nn.Linear))
    features = torch.relu(linear(hidden.flatten(1)))
    torch.testing.assert_close(built.backbone(images), features)


@given(channels=st.lists(st.integers(1, 4), min_size=1, max_size=4), size=st.tuples(*[st.integers(1, 20)] * 2))
@settings(max_examples=25, deadline=None)
def test_a_cnn_reads_images_of_any_size(channels: list[int], size: tuple[int, int]) -> None:
    built = build(ModelConfig(kind="cnn", channels=channels, features=5), size)
    assert built(random_images(size)).shape == (3, 4)


@pytest.mark.parametrize("kind", ["cnn", "mlp"])
def test_he_initialisation(kind: str) -> None:
    sizes = {"hidden": [256, 128]} if kind == "mlp" else {}
    built = build(ModelConfig.model_validate({"kind": kind} | sizes), COLOUR)
    for parameter in built.parameters():
        if parameter.ndim == 1:
            assert not parameter.any()
        else:
            expected = math.sqrt(2 / parameter[0].numel())
            assert parameter.std().item() == pytest.approx(expected, rel=4 / math.sqrt(2 * parameter.numel()))


# Parameters of the published networks without their heads: torchvision's resnet18 has 11,689,512 with one of 513,000.
# ViT-Ti has 5,717,416 with a head of 193,000; here it has 192 positions of 192 numbers fewer and a pooler of 37,056.
@pytest.mark.parametrize(
    ("architecture", "width", "blocks", "parameters"),
    [
        ("resnet-18", 512, 8, 11_176_512),
        ("resnet-34", 512, 16, 21_284_672),
        ("resnet-50", 2048, 16, 23_508_032),
        ("vit-tiny", 192, 12, 5_717_416 - 193_000 - 192 * 192 + 37_056),
        ("convnext-atto", 320, 12, 3_374_520),
        ("convnext-tiny", 768, 18, 28_589_128 - 769_000),
    ],
)
def test_named_architectures(architecture: str, width: int, blocks: int, parameters: int) -> None:
    built = build(transformers_model(architecture), COLOUR)
    assert built.head.in_features == width
    assert len(built.blocks) == blocks
    assert sum(parameter.numel() for parameter in built.backbone.parameters()) == parameters


@pytest.mark.parametrize("shape", [COLOUR, GREYSCALE, (1, 12, 20)], ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_logits_have_a_row_per_point(network: str, shape: tuple[int, ...]) -> None:
    built = build(NETWORKS[network], shape).eval()
    images = random_images(shape, points=5)
    logits = built(images)
    assert logits.shape == (5, 4)
    assert built.backbone(images).shape == (5, built.head.in_features)
    assert torch.isfinite(logits).all()
    assert logits.std(dim=0).min() > 0
    torch.testing.assert_close(built(images[2:3]), logits[2:3], rtol=1e-4, atol=1e-5)


def test_the_small_stem_keeps_the_resolution() -> None:
    def resolution(model: ModelConfig) -> torch.Size:
        stem = build(model, COLOUR).eval().backbone.get_submodule("network.model.embedder")
        with torch.no_grad():
            return torch.Size(stem(random_images(COLOUR)).shape[2:])

    small = NETWORKS["resnet"]
    assert resolution(small) == (32, 32)
    assert resolution(small.model_copy(update={"stem": "imagenet"})) == (8, 8)


def test_other_model_types_of_the_library() -> None:
    sizes = {"window_size": 4, "depths": [1, 2], "num_heads": [2, 2], "embed_dim": 8, "patch_size": 2}
    swin = build(transformers_model("swin", settings=sizes), COLOUR)
    assert (swin.head.in_features, len(swin.blocks)) == (16, 3)
    sizes = {"depths": [1, 1], "hidden_sizes": [4, 8], "groups_width": 4, "embedding_size": 4}
    assert len(build(transformers_model("regnet", settings=sizes), COLOUR).blocks) == 2


# Seeds.


@pytest.mark.parametrize("network", NETWORKS)
def test_every_layer_is_decided_by_the_seed_alone(network: str) -> None:
    model = NETWORKS[network]
    before = torch.random.get_rng_state()
    one = build(model, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(7)
    same, other = build(model, seed=3), build(model, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        # Biases, scales of normalisations and ConvNeXt's layer scales are constants.
        assert not torch.equal(a, b) or (a.ndim == 1 and torch.equal(a, a[:1].expand_as(a))), name
    assert one.training
    assert all(parameter.requires_grad for parameter in one.parameters())


def test_all_stages_of_a_resnet_34_differ_between_models() -> None:
    one, other = (weights_of(build(transformers_model("resnet-34", stem="small"), seed=seed)) for seed in (0, 1))
    shared = [name for name in one if one[name].ndim > 1 and np.array_equal(one[name], other[name])]
    assert shared == []
    assert sum(array.ndim > 1 for array in one.values()) == 36 + 1  # convolutions, three of them in shortcuts; the head


# Pixels.


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_bytes_are_read_as_the_floats_that_they_stand_for(network: str) -> None:
    built = build(NETWORKS[network], (4, 64))
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 4, 64)
    assert torch.equal(built(images), built(images.float() / 255))


@pytest.mark.parametrize("network", NETWORKS)
def test_channels_are_standardised(network: str) -> None:
    mean, std = [0.1, 0.5, 0.3], [0.2, 0.7, 1.5]
    encoder = EncoderConfig(kind="pixels", mean=mean, std=std)
    shape = (3, 16, 16)
    standardising, plain = (build_classifier(NETWORKS[network], e, shape, 4, 0).eval() for e in (encoder, PIXELS))
    assert list(standardising.state_dict()) == list(plain.state_dict())
    images = torch.randint(256, (2, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    by_hand = np.stack([(images[:, c].numpy() / 255 - mean[c]) / std[c] for c in range(3)], axis=1)
    expected = plain(torch.from_numpy(by_hand.astype(np.float32)))
    torch.testing.assert_close(standardising(images), expected, rtol=1e-4, atol=1e-5)


def test_greyscale_images_are_standardised_by_one_number() -> None:
    encoder = EncoderConfig(kind="pixels", mean=[0.5], std=[0.25])
    images = random_images(GREYSCALE)
    for shape, model in ((GREYSCALE, "cnn"), (GREYSCALE, "mlp"), ((1, 8, 8), "cnn")):
        standardising, plain = (build_classifier(NETWORKS[model], e, shape, 4, 0) for e in (encoder, PIXELS))
        reshaped = images.reshape(-1, *shape)
        torch.testing.assert_close(standardising(reshaped), plain((reshaped - 0.5) / 0.25))


def test_a_standardising_mlp_can_be_stacked() -> None:
    encoder = EncoderConfig(kind="pixels", mean=[0.5, 0.1], std=[0.25, 0.5])
    members = [build_classifier(NETWORKS["mlp"], encoder, (2, 4, 4), 3, seed) for seed in range(3)]
    parameters, buffers = stack_module_state(members)  # type: ignore[arg-type]
    images = torch.randint(256, (3, 5, 2, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def call(own_parameters: Any, own_buffers: Any, inputs: Tensor) -> Any:
        return functional_call(members[0], (own_parameters, own_buffers), (inputs,))

    expected = torch.stack([member(own) for member, own in zip(members, images, strict=True)])
    torch.testing.assert_close(vmap(call)(parameters, buffers, images), expected)


@pytest.mark.parametrize(
    ("shape", "mean", "message"),
    [
        ((3, 8, 8), [0.5], r"encoder\.mean has 1 entries, expected 3"),
        ((8, 8), [0.5, 0.5, 0.5], r"encoder\.mean has 3 entries, expected 1"),
        ((20,), [0.5], r"encoder\.mean is for images, found inputs of shape \(20,\)"),
    ],
)
def test_means_that_do_not_fit_the_images(shape: tuple[int, ...], mean: list[float], message: str) -> None:
    encoder = EncoderConfig(kind="pixels", mean=mean, std=[1.0] * len(mean))
    with pytest.raises(TmiError, match=message):
        build_classifier(NETWORKS["mlp"], encoder, shape, 3, 0)


# Group normalisation.


def test_group_normalisation_replaces_every_batch_normalisation() -> None:
    own = build(NETWORKS["resnet"])
    group = build(NETWORKS["resnet"].model_copy(update={"normalisation": "group"}))
    batch_layers = [layer for layer in own.modules() if isinstance(layer, nn.BatchNorm2d)]
    group_layers = [layer for layer in group.modules() if isinstance(layer, nn.GroupNorm)]
    assert [layer.num_channels for layer in group_layers] == [layer.num_features for layer in batch_layers]
    assert [layer.num_groups for layer in group_layers] == [math.gcd(32, n.num_features) for n in batch_layers]
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in group.modules())
    first = point_mixing_layer(own)
    assert first is not None
    assert own.get_submodule(first) is batch_layers[0]
    assert point_mixing_layer(group) is None

    # In training mode, a point's features depend on its companions with batch normalisation only.
    images = random_images(GREYSCALE, points=4)
    with torch.no_grad():
        assert not torch.allclose(own(images)[:2], own(images[:2]), atol=1e-3)
        torch.testing.assert_close(group(images)[:2], group(images[:2]), rtol=1e-4, atol=1e-5)


# Weights as arrays.


@pytest.mark.parametrize("network", NETWORKS)
def test_weights_survive_a_file(network: str, tmp_path: Path) -> None:
    one, other = build(NETWORKS[network], seed=0), build(NETWORKS[network], seed=1)
    with torch.no_grad():
        one(random_images(GREYSCALE, points=6))  # moves the running statistics and their integer counters
    save_file(weights_of(one), tmp_path / "weights.safetensors")
    load_weights(other, load_file(tmp_path / "weights.safetensors"))
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert a.dtype == b.dtype, name
        assert torch.equal(a, b), name
    counters = [tensor for name, tensor in other.state_dict().items() if name.endswith("num_batches_tracked")]
    assert all(counter == 1 for counter in counters)
    assert bool(counters) == (network == "resnet")


# Checkpoints.


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small ViT classifier as the transformers library saves it: without a pooler, with a head."""
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(99)
    settings = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 8}
    model = ViTForImageClassification(ViTConfig(**settings, image_size=8, patch_size=4))
    model.save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


def test_a_checkpoint_gives_the_backbone_its_weights(
    checkpoint: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    from transformers import ViTForImageClassification

    reference = ViTForImageClassification.from_pretrained(checkpoint).eval()
    capfd.readouterr()
    one, other = (build(transformers_model(checkpoint=str(checkpoint)), (3, 8, 8), seed) for seed in (0, 1))
    images = random_images((3, 8, 8))
    tokens = reference.vit(images).last_hidden_state
    torch.testing.assert_close(one.eval().backbone(images), tokens[:, 0])
    assert not torch.equal(one.head.weight, other.head.weight)
    assert len(one.blocks) == 2
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


def test_checkpoints_that_cannot_be_loaded(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def refused(path: Path | str, message: str, shape: tuple[int, ...] = (3, 8, 8), **keys: Any) -> None:
        with pytest.raises(TmiError, match=message):
            build(transformers_model(checkpoint=str(path), **keys), shape)

    refused("someone/some-model", r"'someone/some-model': there is no such .*hf download someone/some-model")
    refused(tmp_path / "nowhere", "there is no such directory")
    refused(tmp_path, f"{tmp_path} has no weights that can be read, expected config.json and model.safetensors")
    refused(checkpoint, r"does not read inputs of shape \(8, 8\)", shape=(8, 8))
    refused(checkpoint, "model.stem is given besides model.checkpoint", stem="small")
    with pytest.raises(TmiError, match=r"model\.architecture is given besides"):
        build(transformers_model("vit-tiny", checkpoint=str(checkpoint)), (3, 8, 8))

    weights = load_file(checkpoint / "model.safetensors")
    lost = next(name for name in weights if "layers.1" in name or "layer.1" in name)
    save_file({k: v for k, v in weights.items() if k != lost}, checkpoint / "model.safetensors", {"format": "pt"})
    refused(checkpoint, "lacks the weights 'layers.1")
    (checkpoint / "model.safetensors").write_bytes(b"damaged")
    refused(checkpoint, "has no weights that can be read")
    (checkpoint / "model.safetensors").unlink()
    whole = {name: torch.from_numpy(array) for name, array in weights.items()}
    torch.save(whole, checkpoint / "pytorch_model.bin")  # a pickle: nothing is wrong with it but that
    refused(checkpoint, "has no weights that can be read, expected config.json and model.safetensors")


# What is refused.


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (transformers_model("resnet-19"), COLOUR, "'resnet-19', which tmi does not know.*'resnet-18'"),
        (transformers_model("resnet-18", settings={"depth": [1]}), COLOUR, "no setting 'depth' .did you mean 'depths'"),
        (transformers_model("resnet-18", settings={"dtype": "float16"}), COLOUR, "no setting 'dtype'"),
        (transformers_model("resnet-18", settings={"depths": "deep"}), COLOUR, "model.settings are refused .* resnet"),
        (transformers_model("resnet-18", settings={"hidden_act": "no"}), COLOUR, "model.settings is refused"),
        (transformers_model("vit-tiny"), GREYSCALE, r"'vit-tiny' with model.stem 'imagenet' \('small' is.*\(8, 8\)"),
        (transformers_model("convnext-atto"), GREYSCALE, r"does not read inputs of shape \(8, 8\)"),
        (transformers_model("swin", stem="small"), COLOUR, "model.stem is 'small', which .*'swin' does not have"),
        (transformers_model("resnet-18"), (64,), r"'transformers' reads images, found inputs of shape \(64,\)"),
        (ModelConfig(kind="cnn"), (64,), r"'cnn' reads images, found inputs of shape \(64,\)"),
    ],
)
def test_what_cannot_be_built_is_named(model: ModelConfig, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(TmiError, match=message):
        build(model, shape)


def test_a_missing_transformers_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(TmiError, match="pip install transformers"):
        build_transformers(transformers_model("resnet-18"), PIXELS, COLOUR, 3)


def test_gradients_of_flattened_images_come_back_in_their_layout() -> None:
    leaf = torch.randn(5, 4, 3, 6).to(memory_format=torch.channels_last).requires_grad_()
    images = leaf * 1
    flat = FlattenedImages()(images)
    assert torch.equal(flat, leaf.flatten(1))
    layouts: list[bool] = []
    images.register_hook(lambda gradient: layouts.append(gradient.is_contiguous(memory_format=torch.channels_last)))
    weights = torch.randn(flat.shape)
    (flat * weights).sum().backward()
    assert torch.equal(leaf.grad, weights.view(5, 4, 3, 6))
    assert layouts == [True]
