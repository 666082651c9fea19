"""Networks that a function of the user's makes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tmi.config import EncoderConfig, ModelConfig
from tmi.errors import TmiError
from tmi.shadows.networks import Classifier, build_classifier, point_mixing_layer


def build(model: ModelConfig, seed: int = 0) -> Classifier:
    return build_classifier(model, EncoderConfig(kind="pixels"), (8, 8), 4, seed)


OWN = """
import torch
from torch import nn

class Whole(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, features), nn.BatchNorm1d(features))
        self.head = nn.Linear(features, classes)

def whole(input_shape, classes):
    assert input_shape == (8, 8)
    return Whole(6, classes)

def backbone(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 5))

def other_classes(input_shape, classes):
    return Whole(6, classes + 1)

def no_module(input_shape, classes):
    return 3

def no_features(input_shape, classes):
    return nn.Identity()

def wrong_size(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(63, 6))

def failing(input_shape, classes):
    raise RuntimeError("out of ideas")

class Words(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary + 1, 7)

    def forward(self, ids):
        assert ids.dtype == torch.int64
        return self.embedding(ids + 1).sum(dim=1)

def words(input_shape, classes, vocabulary):
    assert input_shape == (6,)
    return Words(vocabulary)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)


def of_function(name: str, **keys: Any) -> ModelConfig:
    return ModelConfig(kind="python", architecture=f"own_networks.{name}", **keys)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(("name", "width", "blocks"), [("whole", 6, 2), ("backbone", 5, 2)])
def test_a_function_makes_the_network(name: str, width: int, blocks: int) -> None:
    one, same, other = (build(of_function(name), seed=seed) for seed in (0, 0, 1))
    assert one.head.in_features == width
    assert one.head.out_features == 4
    assert len(one.blocks) == blocks
    images = torch.randint(256, (3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one.eval()(images), same.eval()(images))
    assert not torch.equal(one(images), other.eval()(images))
    assert str(Path.cwd()) not in sys.path


@pytest.mark.usefixtures("own")
def test_group_normalisation_of_a_function_s_network() -> None:
    assert point_mixing_layer(build(of_function("whole"))) == "backbone.network.2"
    grouped = build(of_function("whole", normalisation="group"))
    assert point_mixing_layer(grouped) is None
    assert isinstance(grouped.blocks[-1], nn.GroupNorm)
    assert grouped.blocks[-1] is grouped.backbone.get_submodule("network.2")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("own_networks.other_classes", "its 'head' has 6 inputs and 5 outputs, expected 6.* and 4"),
        ("own_networks.no_module", "returned int, expected a torch.nn.Module"),
        ("own_networks.no_features", r"returns shape \(2, 8, 8\) for two points"),
        ("own_networks.wrong_size", r"does not read inputs of shape \(8, 8\)"),
        ("own_networks.failing", "the function raised RuntimeError: out of ideas"),
        ("own_networks.absent", "has no function 'absent'"),
        ("no_such_module.function", "the module 'no_such_module' cannot be imported"),
        ("function", "expected module.function"),
    ],
)
def test_functions_that_do_not_fit_are_named(architecture: str, message: str) -> None:
    with pytest.raises(TmiError, match=message):
        build(ModelConfig(kind="python", architecture=architecture))


@pytest.mark.usefixtures("own")
def test_a_function_makes_a_text_network() -> None:
    encoder = EncoderConfig(kind="tokens")
    built = build_classifier(of_function("words"), encoder, (6,), 4, 0, vocabulary=30)
    assert built.head.in_features == 7
    assert built(torch.tensor([[0, 29, 5, -1, -1, -1]])).shape == (1, 4)
    with pytest.raises(
        TmiError, match=r"objective is 'causal', which needs model\.kind 'transformers', found 'python'"
    ):
        build_classifier(of_function("words"), encoder, (6,), 4, 0, vocabulary=30, objective="causal")
    with pytest.raises(TmiError, match="unexpected keyword argument 'vocabulary'"):
        build_classifier(of_function("backbone"), encoder, (6,), 4, 0, vocabulary=30)
