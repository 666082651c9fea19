"""Private finetuning of text networks, and which networks are refused for it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tmi.config import EncoderConfig, FinetuneConfig, ModelConfig
from tmi.errors import TmiError
from tmi.shadows.networks import Classifier, apply_transfer, build_classifier, check_private
from tmi.shadows.training.data import TrainingSet
from tmi.shadows.training.private import train_privately

TOKENS = EncoderConfig(kind="tokens")
VOCABULARY, LENGTH, POINTS, CLASSES, RATE = 30, 8, 6, 3, 0.5
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
# Sizes of their own: these tests are about kinds of layers.
TINY: dict[str, dict[str, Any]] = {
    "gpt2-mini": {"n_embd": 16},
    "bert-mini": {"hidden_size": 16, "intermediate_size": 24},
    "llama-mini": {"hidden_size": 16, "intermediate_size": 24},
}


def recipe(transfer: str, ghost_clipping: bool, clip: float) -> FinetuneConfig:
    return FinetuneConfig.model_validate(
        {"transfer": transfer, "lora_rank": 2, "optimizer": "sgd", "momentum": 0.0, "learning_rate": RATE}
        | {"schedule": "constant", "epochs": 1, "batch_size": POINTS}
        | {"private": {"noise_multiplier": 0.0, "clip": clip, "ghost_clipping": ghost_clipping}}
    )


def texts() -> Tensor:
    ids = torch.randint(VOCABULARY, (POINTS, LENGTH), generator=torch.Generator().manual_seed(0))
    return ids.masked_fill(torch.arange(LENGTH) >= torch.tensor([8, 5, 3, 1, 8, 7])[:, None], -1)


LABELS = torch.arange(POINTS) % CLASSES


def finetunable(architecture: str, transfer: str, **keys: Any) -> Classifier:
    """A classifier whose blank head and adapters have weights already: they would pass no gradients on."""
    settings = keys or TINY.get(architecture, {})
    model = ModelConfig(kind="transformers", architecture=architecture, settings=settings)
    classifier = build_classifier(model, TOKENS, (LENGTH,), CLASSES, 0, VOCABULARY)
    apply_transfer(classifier, recipe(transfer, False, 1.0), CLASSES, 0)
    generator = torch.Generator().manual_seed(1)
    for parameter in classifier.parameters():
        if parameter.requires_grad and not parameter.any():
            parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return classifier


def step_by_hand(classifier: Classifier, clip: float) -> dict[str, Tensor]:
    """What one step makes of the trained parameters: Abadi et al. 2016, algorithm 1, without noise."""
    trained = {name: parameter for name, parameter in classifier.named_parameters() if parameter.requires_grad}
    total = [torch.zeros_like(parameter) for parameter in trained.values()]
    for point in range(POINTS):
        loss = functional.cross_entropy(classifier(texts()[point : point + 1]), LABELS[point : point + 1])
        gradients = torch.autograd.grad(loss, list(trained.values()))
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        total = [s + g * min(1.0, clip / norm.item()) for s, g in zip(total, gradients, strict=True)]
    return {name: p - RATE * s / POINTS for (name, p), s in zip(trained.items(), total, strict=True)}


@pytest.mark.parametrize("ghost_clipping", [False, True])
@pytest.mark.parametrize("transfer", ["head", "last-1", "lora", "full"])
@pytest.mark.parametrize("architecture", TINY)
def test_a_private_step_clips_every_text(architecture: str, transfer: str, ghost_clipping: bool) -> None:
    classifier, clip = finetunable(architecture, transfer), 0.7
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    check_private(classifier, texts(), ghost_clipping)
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.state_dict().items())

    expected = step_by_hand(copy.deepcopy(classifier), clip)
    data = TrainingSet(texts(), LABELS, torch.arange(POINTS)[None])
    train_privately(classifier, data, recipe(transfer, ghost_clipping, clip), 0, lambda samples: None)
    for name, tensor in classifier.state_dict().items():
        torch.testing.assert_close(tensor, expected.get(name, before[name]), rtol=1e-4, atol=1e-6)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in classifier.state_dict().items())


def test_dropout_is_no_problem_for_the_check() -> None:
    classifier = finetunable("gpt2", "full", **SMALL)
    check_private(classifier, texts())
    assert {layer.p for layer in classifier.modules() if isinstance(layer, nn.Dropout)} == {0.1}


class PositionsOnce(nn.Module):
    """Looks the positions up once for a whole batch: Opacus would take that for a batch of one point."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(VOCABULARY, 4), nn.Embedding(LENGTH, 4)

    def forward(self, ids: Tensor) -> Tensor:
        positions = self.positions(torch.arange(ids.shape[1])[None])
        hidden: Tensor = torch.tanh(self.words(ids.clamp(min=0)) + positions)
        return hidden.mean(dim=1)


def test_a_layer_that_opacus_gets_wrong_is_named() -> None:
    classifier = Classifier(PositionsOnce(), nn.Linear(4, CLASSES))
    apply_transfer(classifier, recipe("full", False, 1.0), CLASSES, 0)
    for points in (texts(), texts()[:1]):
        with pytest.raises(TmiError, match=r"does not find the gradients of single points for 'backbone\.positions"):
            check_private(classifier, points)
    apply_transfer(classifier, recipe("head", False, 1.0), CLASSES, 0)
    check_private(classifier, texts())


@pytest.mark.parametrize(
    ("architecture", "keys", "transfer", "ghost_clipping", "message"),
    [
        # Its layers see the tokens of all texts as one list.
        (
            "opt",
            SMALL | {"ffn_dim": 8, "word_embed_proj_dim": 16},
            "last-1",
            False,
            "gradients of single points for 'backbone.model.decoder.layers.1.fc1.weight'",
        ),
        # Its blocks share their weights.
        (
            "albert",
            SMALL | {"intermediate_size": 8, "embedding_size": 8},
            "full",
            True,
            "cannot train this network: NotImplementedError: Parameter tying",
        ),
        ("albert", SMALL | {"intermediate_size": 8, "embedding_size": 8}, "full", False, None),
        (
            "gemma",
            SMALL | {"num_key_value_heads": 2, "intermediate_size": 8, "head_dim": 8},
            "full",
            False,
            "cannot train this network: NotImpl",
        ),
        ("gemma", SMALL | {"num_key_value_heads": 2, "intermediate_size": 8, "head_dim": 8}, "lora", False, None),
    ],
)
def test_architectures_that_opacus_cannot_train(
    architecture: str, keys: dict[str, Any], transfer: str, ghost_clipping: bool, message: str | None
) -> None:
    classifier = finetunable(architecture, transfer, **keys)
    if message is None:
        check_private(classifier, texts(), ghost_clipping)
    else:
        with pytest.raises(TmiError, match=message):
            check_private(classifier, texts(), ghost_clipping)
