from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tmi.config.target import TargetConfig
from tmi.errors import TmiError
from tmi.predictions.views import View
from tmi.system.progress import Silent
from tmi.targets import query_target, target_hashes
from tmi.targets.logits import as_logits

TEXTS = np.array([["red apple", "a green apple tree"], ["blue", "red red red blue"]], dtype=object)
MODULES = itertools.count()


def query(keys: dict[str, Any], folder: Path, queries: Any = TEXTS, kind: Any = "text", classes: int = 3) -> Any:
    config = TargetConfig.model_validate(keys)
    return query_target(config, queries, kind, classes, folder / "answers.sqlite", Silent(), folder)


# What numbers mean.


@given(hnp.arrays(np.float32, (4, 5), elements=st.floats(-200, 200, width=32)))
def test_probabilities_become_what_the_view_shows(logits: Any) -> None:
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    seen = View.parse("probabilities").apply(logits)
    for meaning, values in (("probabilities", np.exp(logs)), ("log-probabilities", logs)):
        np.testing.assert_allclose(as_logits(values, meaning, 5, "x"), seen, atol=2e-4)  # type: ignore[arg-type]


def test_a_probability_of_zero_has_a_logarithm() -> None:
    np.testing.assert_array_equal(as_logits(np.array([[1.0, 0.0]]), "probabilities", 2, "x"), [[0, -87]])
    np.testing.assert_array_equal(as_logits(np.array([[0.0, -np.inf]]), "log-probabilities", 2, "x"), [[0, -87]])


@pytest.mark.parametrize("label", [-1.0, 2.0, 0.5])
def test_labels_are_classes(label: float) -> None:
    with pytest.raises(TmiError, match="expected 0 to 1"):
        as_logits(np.array([[label]]), "label", 2, "x")


# A Python function.


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    name = f"own_target_{next(MODULES)}"
    Path(f"{name}.py").write_text(
        "import numpy as np\ncalls = []\n"
        "def classify(inputs):\n"
        "    calls.append(inputs)\n"
        "    return np.array([[len(text), text.count('e'), 0.5] for text in inputs])\n"
        "def labels(inputs):\n    return [len(text) % 3 for text in inputs]\n"
        "def images(inputs):\n    return inputs.reshape(len(inputs), -1)[:, :3]\n"
        "def fails(inputs):\n    raise OSError('no disk')\n"
        "def short(inputs):\n    return np.zeros((1, 3))\n"
        "def words(inputs):\n    return ['red'] * len(inputs)\n"
    )
    return name


def test_a_function_is_called_in_batches_and_its_answers_are_kept(module: str, tmp_path: Path) -> None:
    import importlib

    keys = {"kind": "python", "function": f"{module}.classify", "meaning": "logits", "batch_size": 3}
    answers = query(keys, tmp_path)
    np.testing.assert_array_equal(answers[1, 1], np.float32([16, 4, 0.5]))
    calls = importlib.import_module(module).calls
    assert calls == [["red apple", "a green apple tree", "blue"], ["red red red blue"]]
    np.testing.assert_array_equal(query(keys, tmp_path), answers)
    assert len(calls) == 2
    before = target_hashes(TargetConfig.model_validate(keys))
    with Path(f"{module}.py").open("a") as file:
        file.write("# changed\n")
    query(keys, tmp_path)
    assert len(calls) == 4
    assert target_hashes(TargetConfig.model_validate(keys)) != before


def test_a_function_may_return_labels_and_read_images(module: str, tmp_path: Path) -> None:
    labels = query({"kind": "python", "function": f"{module}.labels", "meaning": "label"}, tmp_path)
    np.testing.assert_array_equal(labels.argmax(axis=-1), [[0, 0], [1, 1]])
    images = np.random.default_rng(0).random((2, 1, 2, 2), dtype=np.float32)
    keys = {"kind": "python", "function": f"{module}.images", "meaning": "logits", "batch_size": 2}
    np.testing.assert_array_equal(query(keys, tmp_path, images, "image"), images.reshape(2, 1, 4)[..., :3])


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("fails", "the function raised OSError: no disk"),
        ("short", r"returned shape \(1, 3\) for 2 points, not \(2, 3\)"),
        ("words", "returned no array of numbers"),
        ("nothing", "has no function 'nothing'"),
    ],
)
def test_a_function_that_does_not_fit(module: str, tmp_path: Path, function: str, problem: str) -> None:
    keys = {"kind": "python", "function": f"{module}.{function}", "meaning": "logits", "batch_size": 2}
    with pytest.raises(TmiError, match=problem):
        query(keys, tmp_path)


# Saved predictions.


@pytest.mark.parametrize(("shape", "good"), [((2, 2, 3), True), ((2, 3), False), ((4, 3), False), ((2, 2, 4), False)])
def test_predictions_have_the_shape_of_the_queries(tmp_path: Path, shape: tuple[int, ...], good: bool) -> None:
    array = np.random.default_rng(0).normal(size=shape)
    np.save(tmp_path / "target.npy", array)
    keys = {"kind": "predictions", "path": "target.npy", "meaning": "logits"}
    if good:
        np.testing.assert_array_equal(query(keys, tmp_path), array.astype(np.float32))
        return
    with pytest.raises(TmiError, match=r"target.npy has shape .*, expected \(2, 2, 3\)"):
        query(keys, tmp_path)


def test_predictions_are_no_pickles(tmp_path: Path) -> None:
    np.save(tmp_path / "target.npy", np.array([{}], dtype=object), allow_pickle=True)
    keys = {"kind": "predictions", "path": "target.npy", "meaning": "logits"}
    with pytest.raises(TmiError, match=r"holds Python objects, which are pickles"):
        query(keys, tmp_path)
    with pytest.raises(TmiError, match="there is no such file"):
        query(keys | {"path": "other.npy"}, tmp_path)


# A saved model.


@pytest.fixture(scope="module")
def text_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = tmp_path_factory.mktemp("saved") / "text"
    words = ["[PAD]", "[UNK]", "red", "green", "blue", "apple", "tree"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=3
    ).save_pretrained(folder)
    torch.manual_seed(0)
    settings = transformers.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=8, pad_token_id=0, id2label={0: "warm", 1: "cold", 2: "neither"},
    )  # fmt: skip
    transformers.BertForSequenceClassification(settings).eval().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_saved_text_classifier_reads_with_its_own_tokenizer(
    text_checkpoint: Path, tmp_path: Path, batch_size: int
) -> None:
    import transformers

    answers = query({"kind": "checkpoint", "path": str(text_checkpoint), "batch_size": batch_size}, tmp_path)
    model = transformers.BertForSequenceClassification.from_pretrained(text_checkpoint).eval()
    # Three words of each are read: the tokenizer's longest text.
    ids = [[[2, 5], [1, 3, 5]], [[4], [2, 2, 2]]]
    with torch.no_grad():
        direct = [[model(torch.tensor([row])).logits[0].numpy() for row in rows] for rows in ids]
    np.testing.assert_allclose(answers, direct, atol=1e-6)
    keys = {"kind": "checkpoint", "path": str(text_checkpoint), "classes": ["neither", "warm", "cold"]}
    np.testing.assert_allclose(query(keys, tmp_path), answers[..., [2, 0, 1]], atol=1e-6)
    assert set(target_hashes(TargetConfig.model_validate(keys))) >= {"config.json", "model.safetensors"}


def test_a_saved_image_classifier_reads_with_its_own_processor(tmp_path: Path) -> None:
    import transformers
    from PIL import Image

    torch.manual_seed(0)
    settings = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=8, patch_size=4,
        num_labels=3,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(settings).eval()
    model.save_pretrained(tmp_path / "image")
    processor = transformers.ViTImageProcessorPil(size={"height": 8, "width": 8})
    processor.save_pretrained(tmp_path / "image")
    images = np.random.default_rng(0).integers(0, 256, (2, 2, 3, 10, 10), dtype=np.uint8)
    answers = query({"kind": "checkpoint", "path": "image", "batch_size": 3}, tmp_path, images, "image")
    picture = Image.fromarray(images[1, 0].transpose(1, 2, 0))
    with torch.no_grad():
        direct = model(**processor(images=picture, return_tensors="pt")).logits[0].numpy()
    np.testing.assert_allclose(answers[1, 0], direct, atol=1e-5)
    grey = query({"kind": "checkpoint", "path": "image"}, tmp_path, images[:, :, 0] / np.float32(255), "image")
    assert grey.shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "has no .*safetensors"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "no tokenizer that can be read"),
        (lambda folder: without_head(folder), r"lacks the weights 'classifier\.bias'"),
        (lambda folder: (folder / "config.json").unlink(), "no text classifier that can be read"),
    ],
)
def test_a_saved_classifier_must_be_whole(text_checkpoint: Path, tmp_path: Path, change: Any, problem: str) -> None:
    import shutil

    shutil.copytree(text_checkpoint, tmp_path / "copy")
    change(tmp_path / "copy")
    with pytest.raises(TmiError, match=problem):
        query({"kind": "checkpoint", "path": "copy"}, tmp_path)


def without_head(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    arrays = {
        name: array for name, array in load_file(folder / "model.safetensors").items() if "classifier" not in name
    }
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_saved_classifier_has_the_classes_of_the_task(text_checkpoint: Path, tmp_path: Path) -> None:
    keys = {"kind": "checkpoint", "path": str(text_checkpoint)}
    with pytest.raises(TmiError, match="the model has 3 classes, expected 4"):
        query(keys, tmp_path, classes=4)
    with pytest.raises(TmiError, match="the model has the class 'neither'"):
        query(keys | {"classes": ["warm", "cold", "both"]}, tmp_path)
    with pytest.raises(TmiError, match="reads texts and images; the points are vectors"):
        query(keys, tmp_path, np.zeros((1, 1, 3), dtype=np.float32), "vector")
    with pytest.raises(TmiError, match="there is no directory"):
        query(keys | {"path": "nowhere"}, tmp_path)


# The configuration.

HTTP = {"kind": "http", "url": "https://a.example/x", "body": '{"x": ${input}}', "scores": "s", "meaning": "logits"}


def test_a_complete_configuration_is_read_back() -> None:
    for keys in (HTTP, {"kind": "checkpoint", "path": "x"}, {"kind": "python", "function": "a.b", "meaning": "label"}):
        config = TargetConfig.model_validate(keys)
        assert TargetConfig.model_validate(config.model_dump(exclude_none=True)) == config
        json.dumps(config.identity)
        assert TargetConfig.model_validate(keys | {"name": "other"}).identity == config.identity


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"meaning": None}, "the key 'target.meaning' is missing"),
        ({"path": "x"}, "target.path is given, which does not belong to target.kind 'http'"),
        ({"url": "ftp://a.example"}, "expected to start with https:// or http://"),
        ({"url": "file:///etc/passwd"}, "expected to start with https:// or http://"),
        ({"url": "https://me:hunter2@a.example"}, "credentials belong in target.headers"),
        ({"url": "https://${HOST}/x"}, "more than a host and port"),
        ({"url": "https://a.example/x?api_key=hunter2"}, "has a value for 'api_key' in it"),
        ({"headers": {"Authorization": "Bearer hunter2"}}, "has a value for 'Authorization' in it"),
        ({"headers": {"X-Api-Key": "hunter2"}}, "has a value for 'X-Api-Key' in it"),
        ({"headers": "Bearer hunter2"}, "a table of texts"),
        ({"headers": {"X": "a\r\nY: hunter2"}}, "no text that a header can hold"),
        ({"body": '{"x": 1}'}, "has 0 of"),
        ({"body": "${input} ${inputs}"}, "has 2 of"),
        ({"body": '{"x": ${input}'}, "is not JSON"),
        ({"batch_size": 4}, "needs \\$\\{inputs\\}"),
        ({"body": "${inputs}"}, "expected a \\* for the points"),
        ({"scores": "a..b"}, "dots between"),
        ({"names": "n"}, "needs target.classes"),
        ({"classes": ["a", "a"]}, "a name twice"),
    ],
)
def test_a_configuration_that_does_not_fit(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(TmiError, match=problem) as caught:
        TargetConfig.model_validate(HTTP | changes)
    assert "hunter2" not in str(caught.value)


def test_the_classes_are_those_of_the_task(tmp_path: Path) -> None:
    with pytest.raises(TmiError, match=r"target.classes has 2 names, expected 3"):
        query(HTTP | {"classes": ["a", "b"]}, tmp_path)
