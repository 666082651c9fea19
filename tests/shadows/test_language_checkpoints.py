"""Text networks read from checkpoints, and backbones written as such."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from tmi.config import EncoderConfig, FinetuneConfig, ModelConfig
from tmi.errors import TmiError
from tmi.shadows.networks import Classifier, apply_transfer, build_classifier, export_checkpoint

TOKENS, PIXELS = EncoderConfig(kind="tokens"), EncoderConfig(kind="pixels")
VOCABULARY, LENGTH, CLASSES = 30, 8, 3
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def build(objective: str = "classification", vocabulary: int = VOCABULARY, length: int = LENGTH, **keys: Any) -> Any:
    model = ModelConfig(kind="transformers", **keys)
    return build_classifier(model, TOKENS, (length,), CLASSES, 0, vocabulary, objective).eval()


def texts() -> Tensor:
    ids = torch.randint(1, VOCABULARY, (4, LENGTH), generator=torch.Generator().manual_seed(0))
    return ids.masked_fill(torch.arange(LENGTH) >= torch.tensor([8, 5, 3, 1])[:, None], -1)


def saved(folder: Path, kind: str, head: str, **keys: Any) -> Any:
    """A small model of the library with a head, written as the library does it."""
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(5)
    described = transformers.AutoConfig.for_model(kind, **(SMALL | {"vocab_size": VOCABULARY} | keys))
    model = getattr(transformers, head)(described).eval()
    model.save_pretrained(folder)
    return model


# Written and read back.


@pytest.mark.parametrize("architecture", ["gpt2-mini", "bert-mini", "llama-mini"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_an_exported_backbone_is_read_back(architecture: str, pooling: str, tmp_path: Path) -> None:
    objective = "masked" if architecture == "bert-mini" else "causal"
    classifier = build(objective, architecture=architecture, pooling=pooling)
    export_checkpoint(classifier, tmp_path / "exported")
    assert {path.suffix for path in (tmp_path / "exported").iterdir()} == {".json", ".safetensors"}
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]
    again = build(checkpoint=str(tmp_path / "exported"), pooling=pooling)
    assert torch.equal(again.backbone(texts()), classifier.backbone(texts()))
    assert len(again.blocks) == len(classifier.blocks)
    # Once more, from a checkpoint.
    export_checkpoint(again, tmp_path / "twice")
    assert load_file(tmp_path / "twice/model.safetensors").keys() == {
        name.removeprefix("backbone.model.") for name in classifier.state_dict() if name.startswith("backbone.")
    }


def test_an_exported_image_backbone_is_read_back(tmp_path: Path) -> None:
    keys = {"hidden_size": 12, "num_hidden_layers": 2, "intermediate_size": 24}
    model = ModelConfig(kind="transformers", architecture="vit-tiny", stem="small", settings=keys)
    classifier = build_classifier(model, PIXELS, (3, 8, 8), CLASSES, 0).eval()
    export_checkpoint(classifier, tmp_path / "vit")
    read = ModelConfig(kind="transformers", checkpoint=str(tmp_path / "vit"))
    again = build_classifier(read, PIXELS, (3, 8, 8), CLASSES, 1).eval()
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.backbone(images), classifier.backbone(images))


def test_a_finetuned_backbone_is_exported(tmp_path: Path) -> None:
    classifier = build("causal", architecture="gpt2-mini")
    apply_transfer(classifier, finetune("full"), CLASSES, 0)
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.add_(0.1)
    export_checkpoint(classifier, tmp_path / "exported")
    again = build(checkpoint=str(tmp_path / "exported"))
    assert torch.equal(again.backbone(texts()), classifier.backbone(texts()))


def finetune(transfer: str) -> FinetuneConfig:
    return FinetuneConfig(transfer=transfer, learning_rate=0.1, epochs=1, batch_size=2)


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    def refused(classifier: Classifier, message: str, folder: Path = tmp_path / "exported") -> None:
        with pytest.raises(TmiError, match=message):
            export_checkpoint(classifier, folder)
        assert not (tmp_path / "exported").exists()

    sizes = {"depths": [1, 1], "hidden_sizes": [4, 8], "embedding_size": 4}
    resnet = {"kind": "transformers", "architecture": "resnet-18", "settings": sizes}
    for keys in ({"stem": "small"}, {"normalisation": "group"}):
        model = ModelConfig.model_validate(resnet | keys)
        refused(build_classifier(model, PIXELS, (3, 32, 32), CLASSES, 0), "is not as in .* ResNetModel; .*'small'")
    refused(build_classifier(ModelConfig(), PIXELS, (4,), CLASSES, 0), "only backbones of model.kind 'transformers'")
    adapted = build(architecture="gpt2-mini")
    apply_transfer(adapted, finetune("lora"), CLASSES, 0)
    refused(adapted, "is not as in the transformers library's GPT2Model; the adapters")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    refused(build(architecture="gpt2-mini"), "full exists already", tmp_path / "full")


# Checkpoints that others have written.


@pytest.mark.parametrize(
    ("kind", "head", "keys"),
    [
        ("gpt2", "GPT2LMHeadModel", {"n_positions": LENGTH}),
        ("llama", "LlamaForCausalLM", {"intermediate_size": 8, "tie_word_embeddings": False}),
    ],
)
def test_a_causal_checkpoint_goes_on_predicting(kind: str, head: str, keys: dict[str, Any], tmp_path: Path) -> None:
    reference = saved(tmp_path / "model", kind, head, **keys)
    ids = texts()
    model = build("causal", checkpoint=str(tmp_path / "model"), vocabulary=VOCABULARY - 4)
    expected = reference(ids.clamp(min=0), attention_mask=(ids >= 0).long()).logits
    torch.testing.assert_close(model(ids)[ids >= 0], expected[ids >= 0][:, : VOCABULARY - 4], rtol=1e-4, atol=1e-5)
    # The head is no part of the backbone that it is tied to.
    assert model.head.weight.data_ptr() != model.backbone.model.get_input_embeddings().weight.data_ptr()


@pytest.mark.parametrize(
    ("kind", "head", "prefix", "keys"),
    [
        ("bert", "BertForMaskedLM", "bert", {"max_position_embeddings": LENGTH}),
        # Its positions are counted from behind that of padding, which takes two of them.
        ("roberta", "RobertaForMaskedLM", "roberta", {"max_position_embeddings": LENGTH + 1, "pad_token_id": 0}),
    ],
)
def test_a_masked_checkpoint(kind: str, head: str, prefix: str, keys: dict[str, Any], tmp_path: Path) -> None:
    reference = saved(tmp_path / "model", kind, head, intermediate_size=8, **keys)
    ids = texts()
    model = build("masked", checkpoint=str(tmp_path / "model"))
    outputs = getattr(reference, prefix)(ids.clamp(min=0), attention_mask=(ids >= 0).long())
    hidden = model.backbone.hidden_states(ids)
    torch.testing.assert_close(hidden[ids >= 0], outputs.last_hidden_state[ids >= 0], rtol=1e-4, atol=1e-5)
    assert model(ids).shape == (4, LENGTH, VOCABULARY)
    with pytest.raises(TmiError, match=f"reads at most {LENGTH} tokens, found inputs of {LENGTH + 1}"):
        build(checkpoint=str(tmp_path / "model"), length=LENGTH + 1)


def test_a_checkpoint_that_does_not_fit(tmp_path: Path) -> None:
    saved(tmp_path / "model", "gpt2", "GPT2LMHeadModel", n_positions=LENGTH)
    with pytest.raises(TmiError, match="tokenizer does not fit, it has 31 tokens and the model's embedding only 30"):
        build(checkpoint=str(tmp_path / "model"), vocabulary=VOCABULARY + 1)
    with pytest.raises(TmiError, match=r"objective is 'masked', but model\.checkpoint .* reads from left to right"):
        build("masked", checkpoint=str(tmp_path / "model"))
    with pytest.raises(TmiError, match=r"model\.settings is given besides model\.checkpoint"):
        build(checkpoint=str(tmp_path / "model"), settings={"n_layer": 1})
    weights = load_file(tmp_path / "model/model.safetensors")
    lost = next(name for name in weights if "h.1.mlp" in name)
    rest = {name: array for name, array in weights.items() if name != lost}
    save_file(rest, tmp_path / "model/model.safetensors", {"format": "pt"})
    with pytest.raises(TmiError, match=r"lacks the weights 'h\.1\.mlp"):
        build("causal", checkpoint=str(tmp_path / "model"))


# Models of the hub.


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a cache of its own has the files of someone's model; the hub is not to be asked."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model, revision = tmp_path / "models--someone--gpt", "0123456789abcdef0123456789abcdef01234567"
    (model / "refs").mkdir(parents=True)
    (model / "refs/main").write_text(revision)
    (model / "snapshots" / revision).mkdir(parents=True)
    return model / "snapshots" / revision


def test_a_model_of_the_hub_is_read_from_the_cache(cached: Path) -> None:
    reference = saved(cached, "gpt2", "GPT2LMHeadModel", n_positions=LENGTH)
    model = build(checkpoint="someone/gpt")
    assert torch.equal(model.backbone.model.wte.weight, reference.transformer.wte.weight)


def test_parts_of_a_model_in_the_cache_are_not_the_model(cached: Path) -> None:
    message = r"'someone/gpt'.*the local Hugging Face cache does not have it.*hf download someone/gpt"
    (cached / "tokenizer.json").write_text("{}")
    with pytest.raises(TmiError, match=message):
        build(checkpoint="someone/gpt")
    saved(cached, "gpt2", "GPT2LMHeadModel", n_positions=LENGTH)
    (cached / "model.safetensors").rename(cached / "model-00001-of-00002.safetensors")
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (cached / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    with pytest.raises(TmiError, match=message):
        build(checkpoint="someone/gpt")
    with pytest.raises(TmiError, match="'someone/other': there is no such file or directory"):
        build(checkpoint="someone/other")
