"""Files of the LiRA codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from made.formats import AUGMENTATIONS, CLASSES, MODELS, POINTS, Leak, same, two_class, write_tensorflow
from tmi.errors import TmiError
from tmi.predictions.formats import read_saved, read_target


def test_tensorflow_privacy_takes_the_last_checkpoint(tmp_path: Path, leak: Leak) -> None:
    write_tensorflow(tmp_path, leak)
    found = read_saved(tmp_path)
    assert same(found, leak[0], leak[1])
    np.testing.assert_array_equal(found.labels, leak[2])
    np.testing.assert_array_equal(read_target(tmp_path / f"experiment-3_{MODELS}"), leak[0][3])


def test_lira_pytorch_logits_and_scores(tmp_path: Path, leak: Leak) -> None:
    logits, membership, _ = leak
    for model, array in enumerate(logits):
        (tmp_path / str(model)).mkdir()
        np.save(tmp_path / str(model) / "keep.npy", membership[model])
        np.save(tmp_path / str(model) / "logits.npy", array)
        np.save(tmp_path / str(model) / "scores.npy", array[..., 0])
    assert same(read_saved(tmp_path), logits, membership)
    for model in range(MODELS):
        (tmp_path / str(model) / "logits.npy").unlink()
    found = read_saved(tmp_path, layout="lira-pytorch")
    assert same(found, two_class(logits[..., 0]), membership)
    assert found.labels is not None
    assert not found.labels.any()


def log_odds(logits: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """As lira-pytorch scores: probabilities in double precision, 1e-45 added to each side."""
    wide = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    wide /= wide.sum(axis=-1, keepdims=True)
    is_label = np.arange(CLASSES) == labels[:, None, None]
    chosen, others = (np.where(side, wide, 0.0).sum(axis=-1) for side in (is_label, ~is_label))
    return np.log(chosen + 1e-45) - np.log(others + 1e-45)


def write_lira(folder: Path, leak: Leak, scale: float = 1.0) -> None:
    logits, membership, labels = leak
    for model, array in enumerate(scale * logits):
        (folder / str(model)).mkdir()
        np.save(folder / str(model) / "keep.npy", membership[model])
        np.save(folder / str(model) / "logits.npy", array.astype(np.float32))
        np.save(folder / str(model) / "scores.npy", log_odds(array, labels))


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_labels_are_found_from_scores_and_logits(tmp_path: Path, leak: Leak, scale: float) -> None:
    """With a large scale most log-odds lie beyond what the codes' 1e-45 lets through."""
    write_lira(tmp_path, leak, scale)
    found = read_saved(tmp_path)
    np.testing.assert_array_equal(found.labels, leak[2])
    assert any("found from scores and logits" in sentence for sentence in found.read_as)
    np.save(tmp_path / "labels.npy", leak[2] * 0)
    given = read_saved(tmp_path, labels=tmp_path / "labels.npy", layout="lira-pytorch")
    np.testing.assert_array_equal(given.labels, leak[2] * 0)


def test_labels_that_the_scores_do_not_tell_are_not_made_up(tmp_path: Path, leak: Leak) -> None:
    logits, membership, labels = leak
    twins = logits.copy()
    twins[:, 3, :, (labels[3] + 1) % CLASSES] = twins[:, 3, :, labels[3]]
    write_lira(tmp_path, (twins, membership, labels))
    found = read_saved(tmp_path)
    assert found.labels is None
    assert any("at 1 of 40 points not one class fits" in sentence for sentence in found.read_as)
    np.save(tmp_path / "3" / "scores.npy", np.full((POINTS, AUGMENTATIONS), np.nan))
    assert read_saved(tmp_path).labels is None
    (tmp_path / "7" / "scores.npy").unlink()
    assert read_saved(tmp_path).labels is None


@pytest.mark.parametrize("name", ["", "logits.npy"])
def test_one_model_is_not_taken_for_all(tmp_path: Path, leak: Leak, name: str) -> None:
    write_lira(tmp_path, leak)
    for layout in (None, "tmi", "lira-pytorch"):
        with pytest.raises(TmiError, match="a single model, as lira-pytorch and TensorFlow Privacy write it"):
            read_saved(tmp_path / "3" / name, tmp_path / "3" / "keep.npy", layout=layout)


def test_models_at_different_checkpoints_are_said_to_be(tmp_path: Path, leak: Leak) -> None:
    write_tensorflow(tmp_path, leak)
    (tmp_path / f"experiment-10_{MODELS}" / "logits" / "0000000100.npy").unlink()
    said = " ".join(read_saved(tmp_path).read_as)
    assert "The last checkpoints differ, from 0000000010.npy to 0000000100.npy" in said


def test_logits_and_labels_that_are_none(tmp_path: Path, leak: Leak) -> None:
    write_tensorflow(tmp_path / "a", leak)
    np.save(tmp_path / "a" / "y_train.npy", np.int64(3))
    with pytest.raises(TmiError, match=r"y_train\.npy: has shape \(\), expected labels \(40,\)"):
        read_saved(tmp_path / "a")
    (tmp_path / "b").mkdir()
    write_lira(tmp_path / "b", leak)
    file = tmp_path / "b" / "0" / "logits.npy"
    # Beginning at an odd byte, as no program writes it and none refuses it.
    content = file.read_bytes()
    file.write_bytes(
        content[:8] + (117).to_bytes(2, "little") + content[10:127].replace(b"  \n", b" \n ") + content[128:]
    )
    np.testing.assert_array_equal(read_saved(tmp_path / "b").labels, leak[2])
    logits = np.load(file)
    logits[3, 1, 2] = np.nan
    np.save(file, logits)
    with pytest.raises(TmiError, match=r"b/0: its logits hold NaN, expected numbers"):
        read_saved(tmp_path / "b")
    np.save(file, leak[0][0, :2])
    with pytest.raises(TmiError, match=r"predictions of model 1 have type float32 and shape \(40, 3, 5\), expected"):
        read_saved(tmp_path / "b")
