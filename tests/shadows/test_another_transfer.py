"""A finetuning method of another distribution."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import nn

from made.plugins import install
from tmi.config import EncoderConfig, FinetuneConfig, ModelConfig, load_config
from tmi.errors import TmiError
from tmi.shadows.networks import apply_transfer, build_classifier, changed_weights

BIASES = """
from torch import nn

class Bias(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.bias = layer.bias

def trained_parts(classifier, finetune, number):
    layers = [module for module in classifier.backbone.modules() if isinstance(module, nn.Linear)]
    return [Bias(layer) for layer in layers[-number:]]
"""


def recipe(transfer: str) -> FinetuneConfig:
    return FinetuneConfig(transfer=transfer, learning_rate=0.1, epochs=1, batch_size=2)


def test_a_method_of_another_distribution_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "only_biases", raising=False)
    install(tmp_path, monkeypatch, "only-biases", "[tmi.transfers]\nbiases-k = only_biases\n", only_biases=BIASES)
    assert load_config("digits", {"finetune.transfer": "biases-2"}).finetune.transfer == "biases-2"
    model = ModelConfig(kind="mlp", hidden=[5, 4, 3])
    classifier = build_classifier(model, EncoderConfig(kind="pixels"), (6,), 2, seed=0)
    apply_transfer(classifier, recipe("biases-2"), 3, seed=0)
    last = [name for name, layer in classifier.named_modules() if isinstance(layer, nn.Linear)][-3:]
    expected = {f"{last[0]}.bias", f"{last[1]}.bias", "head.weight", "head.bias"}
    assert set(changed_weights(classifier)) == expected
    assert {name for name, parameter in classifier.named_parameters() if parameter.requires_grad} == expected


def test_a_broken_one_harms_only_those_who_ask_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "only_biases", raising=False)
    install(tmp_path, monkeypatch, "only-biases", "[tmi.transfers]\nbiases-k = only_biases\n", only_biases="1 / 0")
    classifier = build_classifier(ModelConfig(hidden=[4]), EncoderConfig(kind="pixels"), (6,), 2, seed=0)
    with pytest.raises(TmiError, match=r"'biases-k' of tmi\.transfers in the distribution only-biases .*ZeroDivision"):
        apply_transfer(classifier, recipe("biases-2"), 3, seed=0)
    apply_transfer(classifier, recipe("head"), 3, seed=0)


@pytest.mark.parametrize("name", ["last", "last-0", "last-k", "last-K", "head-3", "lora2", "biases-2"])
def test_other_names_are_refused_when_a_configuration_is_read(name: str) -> None:
    with pytest.raises(
        TmiError, match=r"'finetune.transfer' is '.*': there is no such finetuning method .*last-K, lora"
    ):
        load_config("digits", {"finetune.transfer": name})
