"""Plain files, and what all layouts have in common."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from made.formats import POINTS, Leak, same, write_tensorflow
from tmi.cli.saved import check, convert
from tmi.errors import TmiError
from tmi.predictions.arrays import Predictions
from tmi.predictions.formats import LAYOUTS, read_saved, write_saved


@pytest.mark.parametrize("augmentations", [True, False])
def test_one_npy_file_is_mapped(tmp_path: Path, leak: Leak, augmentations: bool) -> None:
    logits, membership, labels = leak
    stored = logits if augmentations else logits[:, :, 0]
    for name, array in (("p", stored), ("m", membership), ("y", labels)):
        np.save(tmp_path / f"{name}.npy", array)
    found = read_saved(tmp_path / "p.npy", tmp_path / "m.npy", tmp_path / "y.npy")
    assert same(found, logits if augmentations else logits[:, :, :1], membership)
    assert all(isinstance(model, np.memmap) for model in found.models)
    np.testing.assert_array_equal(Predictions(found.models).block(slice(3, 9)), np.stack(found.models)[:, 3:9])
    np.testing.assert_array_equal(found.labels, labels)


def test_float64_and_transposed_and_float_membership_are_understood(tmp_path: Path, leak: Leak) -> None:
    logits, membership, _ = leak
    np.save(tmp_path / "p.npy", logits.astype(np.float64))
    np.save(tmp_path / "m.npy", membership.T.astype(np.int64))
    found = read_saved(tmp_path / "p.npy", tmp_path / "m.npy")
    assert same(found, logits, membership)
    assert found.models[0].dtype == np.float32
    said = " ".join(found.read_as)
    assert all(word in said for word in ("float64", "transposed", "int64"))


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_one_archive_holds_everything(tmp_path: Path, leak: Leak, suffix: str) -> None:
    logits, membership, labels = leak
    arrays: dict[str, Any] = {
        "logits": logits,
        "keep": membership,
        "labels": labels,
        "pretraining_labels": 9 - labels,
        "target": logits[0],
        "other": labels,
    }
    file = tmp_path / f"all.{suffix}"
    np.savez_compressed(file, **arrays) if suffix == "npz" else save_file(arrays, file)
    found = read_saved(file)
    assert same(found, logits, membership)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.pretraining_labels, 9 - labels)
    np.testing.assert_array_equal(found.target, logits[0])


@pytest.mark.parametrize("inner", ["", "predictions"])
def test_a_run_directory_and_its_predictions(tmp_path: Path, leak: Leak, inner: str) -> None:
    logits, membership, labels = leak
    np.save(tmp_path / "pretraining_labels.npy", labels)
    (tmp_path / "predictions").mkdir()
    np.save(tmp_path / "membership.npy", membership)
    for model, array in enumerate(logits):
        np.save(tmp_path / "predictions" / f"{model:03d}.npy", array)
    found = read_saved(tmp_path / inner)
    assert same(found, logits, membership)
    np.testing.assert_array_equal(found.pretraining_labels, labels)
    assert found.labels is None
    (tmp_path / "predictions" / "004.npy").unlink()
    with pytest.raises(TmiError, match="not that of model 4"):
        read_saved(tmp_path)


def test_a_single_logit_becomes_two_classes(tmp_path: Path, leak: Leak) -> None:
    np.save(tmp_path / "p.npy", leak[0][:, :, 0, :1])
    np.save(tmp_path / "m.npy", leak[1])
    found = read_saved(tmp_path / "p.npy", tmp_path / "m.npy")
    np.testing.assert_array_equal(np.stack(found.models)[:, :, 0, 1], leak[0][:, :, 0, 0])
    assert not np.stack(found.models)[..., 0].any()


@pytest.mark.parametrize(
    ("name", "message"), [("empty", "of no layout that is known"), ("absent", "no such file"), ("a.pth", "is a pickle")]
)
def test_what_is_no_layout(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TmiError, match=message):
        read_saved(tmp_path / name)


def test_pickles_of_sacro_ml_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "shadow_models" / "0").mkdir(parents=True)
    (tmp_path / "shadow_models" / "0" / "indices_train.pkl").write_bytes(b"")
    with pytest.raises(TmiError, match="SACRO-ML keeps shadow models in pickles"):
        read_saved(tmp_path)


def test_an_unknown_layout_is_named(tmp_path: Path) -> None:
    with pytest.raises(TmiError, match="did you mean 'leakpro'"):
        read_saved(tmp_path, layout="leakpor")


def test_nothing_imports_torch() -> None:
    code = "import sys, tmi.predictions.formats, tmi.attacks.checks, tmi.cli.saved\nsys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_convert_gives_the_same_arrays(tmp_path: Path, leak: Leak) -> None:
    write_tensorflow(tmp_path / "in", leak)
    np.save(tmp_path / "L.npy", leak[2] + 100)
    words = [str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--pretraining-labels", str(tmp_path / "L.npy")]
    run = CliRunner().invoke(convert, words, catch_exceptions=False)
    assert run.exit_code == 0
    assert "12 models, 40 points, 3 queries per point, 5 classes" in run.output
    found = read_saved(tmp_path / "out")
    assert same(found, leak[0], leak[1])
    np.testing.assert_array_equal(found.labels, leak[2])
    np.testing.assert_array_equal(found.pretraining_labels, leak[2] + 100)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "predictions.npy"), leak[0])
    with pytest.raises(TmiError, match="was read from"):
        write_saved(found, tmp_path / "out", force=True)
    with pytest.raises(TmiError, match="exists already"):
        write_saved(read_saved(tmp_path / "in"), tmp_path / "out")
    np.save(tmp_path / "p.npy", leak[0][:4])
    np.save(tmp_path / "m.npy", leak[1][:4])
    write_saved(read_saved(tmp_path / "p.npy", tmp_path / "m.npy"), tmp_path / "out", force=True)
    assert not list((tmp_path / "out").glob("*labels.npy"))
    assert same(read_saved(tmp_path / "out"), leak[0][:4], leak[1][:4])


def test_check_prints_what_it_found(tmp_path: Path, leak: Leak) -> None:
    paths = [str(tmp_path / "p.npy"), str(tmp_path / "m.npy")]
    np.save(paths[0], leak[0])
    np.save(paths[1], leak[1])
    good = CliRunner().invoke(check, paths, catch_exceptions=False)
    assert good.exit_code == 0
    assert "✓" in good.output
    assert "no errors" in good.output
    np.save(tmp_path / "y.npy", np.append(leak[2][:-1], 99))
    words = [*paths, "--pretraining-labels", str(tmp_path / "y.npy")]
    with_labels = CliRunner().invoke(check, words, catch_exceptions=False)
    assert "1 point of 40 with a label that no other point has" in " ".join(with_labels.output.split())
    assert "6 different, each of" in with_labels.output
    np.save(paths[0], np.where(np.arange(POINTS)[:, None, None] == 3, np.nan, leak[0]))
    bad = CliRunner().invoke(check, paths, catch_exceptions=False)
    assert bad.exit_code == 2
    assert "✗" in bad.output


def test_every_layout_has_a_page() -> None:
    text = (Path(__file__).parents[2] / "docs" / "saved-predictions.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in LAYOUTS)
