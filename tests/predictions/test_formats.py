from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tmi.cli.saved import check, convert
from tmi.errors import TmiError
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.formats import LAYOUTS, SavedArrays, read_saved, read_target
from tmi.predictions.formats.writing import write_saved

MODELS, POINTS, AUGMENTATIONS, CLASSES = 12, 40, 3, 5


@pytest.fixture
def leak() -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]:
    """Logits of models that answer their members more surely, membership and labels."""
    random = np.random.default_rng(7)
    membership = random.random((MODELS, POINTS)).argsort(axis=1) < POINTS // 2
    labels = random.integers(0, CLASSES, POINTS)
    logits = random.normal(size=(MODELS, POINTS, AUGMENTATIONS, CLASSES))
    logits += (2 + 2 * membership)[..., None, None] * np.eye(CLASSES)[labels][:, None]
    return logits.astype(np.float32), membership, labels


def same(found: SavedArrays, logits: NDArray[Any], membership: NDArray[np.bool_]) -> bool:
    """Whether exactly these arrays were read, and attacks take them."""
    np.testing.assert_array_equal(np.stack(found.models), logits)
    np.testing.assert_array_equal(found.membership, membership)
    AttackInput(Predictions(found.models), found.membership, labels=found.labels)
    assert found.read_as
    assert all(file.is_file() for file in found.files)
    return found.membership.dtype == np.bool_


def two_class(signals: NDArray[Any]) -> NDArray[np.float32]:
    return np.stack([signals, np.zeros_like(signals)], axis=-1).astype(np.float32)


Leak = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]


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
        "target": logits[0],
        "other": labels,
    }
    file = tmp_path / f"all.{suffix}"
    np.savez_compressed(file, **arrays) if suffix == "npz" else save_file(arrays, file)
    found = read_saved(file)
    assert same(found, logits, membership)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.target, logits[0])


@pytest.mark.parametrize("inner", ["", "predictions"])
def test_a_run_directory_and_its_predictions(tmp_path: Path, leak: Leak, inner: str) -> None:
    logits, membership, _ = leak
    (tmp_path / "predictions").mkdir()
    np.save(tmp_path / "membership.npy", membership)
    for model, array in enumerate(logits):
        np.save(tmp_path / "predictions" / f"{model:03d}.npy", array)
    assert same(read_saved(tmp_path / inner), logits, membership)
    (tmp_path / "predictions" / "004.npy").unlink()
    with pytest.raises(TmiError, match="not that of model 4"):
        read_saved(tmp_path)


def write_tensorflow(folder: Path, leak: Leak) -> None:
    logits, membership, labels = leak
    for model, array in enumerate(logits):
        experiment = folder / f"experiment-{model}_{MODELS}"
        (experiment / "logits").mkdir(parents=True)
        np.save(experiment / "keep.npy", np.append(membership[model], True))
        np.save(experiment / "logits" / "0000000010.npy", array[:, None] * 0)
        np.save(experiment / "logits" / "0000000100.npy", array[:, None])
    np.save(folder / "y_train.npy", np.append(labels, 0))


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


def write_privacy_meter(folder: Path, signals: NDArray[Any], membership: NDArray[Any], name: str) -> None:
    (folder / "models").mkdir(parents=True)
    (folder / "signals").mkdir()
    np.save(folder / "models" / "memberships.npy", membership)
    np.save(folder / "signals" / f"{name}_signals.npy", signals)
    np.save(folder / "signals" / f"{name}_signals_pop.npy", signals[:3])


@pytest.mark.parametrize("transposed", [False, True])
def test_privacy_meter(tmp_path: Path, leak: Leak, transposed: bool) -> None:
    logits, membership, _ = leak
    odds = logits[:, :, 0, 0].astype(np.float64)
    probabilities = 1 / (1 + np.exp(-odds))
    write_privacy_meter(tmp_path / "a", probabilities.T, membership.T if transposed else membership, "rmia")
    found = read_saved(tmp_path / "a")
    np.testing.assert_array_equal(found.membership, membership)
    np.testing.assert_allclose(np.stack(found.models), two_class(odds)[:, :, None], atol=1e-5)
    losses = 1 + odds**2
    write_privacy_meter(tmp_path / "b", losses.T, membership, "loss")
    assert same(read_saved(tmp_path / "b"), two_class(-losses)[:, :, None], membership)


def test_privacy_meter_with_some_of_the_points_is_explained(tmp_path: Path, leak: Leak) -> None:
    logits, membership, _ = leak
    write_privacy_meter(tmp_path, logits[:, ::2, 0, 0].T, membership, "rmia")
    with pytest.raises(TmiError, match=r"signals of 20 points, but .* of 40: with audit\.data_size below the size"):
        read_saved(tmp_path)
    np.save(tmp_path / "m.npy", membership[:, ::2])
    np.testing.assert_array_equal(read_saved(tmp_path, tmp_path / "m.npy").membership, membership[:, ::2])


def test_certain_probabilities_stay_finite(tmp_path: Path, leak: Leak) -> None:
    signals = np.tile(np.array([0.0, 1.0], dtype=np.float32), (POINTS, MODELS // 2))
    write_privacy_meter(tmp_path, signals, leak[1], "rmia")
    assert np.isfinite(np.stack(read_saved(tmp_path).models)).all()


def test_leakpro(tmp_path: Path, leak: Leak) -> None:
    logits, membership, labels = leak
    cache = tmp_path / "attack_cache"
    cache.mkdir()
    for model in range(1, MODELS):
        np.save(cache / f"sm_{model - 1}_logits.npy", logits[model, :, 0])
    np.save(cache / "target_logits.npy", logits[0, :, 0])
    with pytest.raises(TmiError, match="pickles, which are not read; save"):
        read_saved(tmp_path)
    np.save(tmp_path / "mask.npy", membership[1:].T)
    np.save(tmp_path / "labels.npy", labels)
    found = read_saved(tmp_path, tmp_path / "mask.npy", tmp_path / "labels.npy")
    assert same(found, logits[1:, :, :1], membership[1:])
    np.testing.assert_array_equal(found.target, logits[0, :, :1])
    np.testing.assert_array_equal(read_target(cache / "target_logits.npy"), logits[0, :, :1])


def write_leakpro(cache: Path, name: str, answers: NDArray[Any], points: NDArray[Any], order: NDArray[Any]) -> None:
    np.save(cache / f"{name}_logits.npy", answers[order])
    np.save(cache / f"{name}_indices.npy", points[order])


def test_leakpro_with_hashes_and_indices(tmp_path: Path, leak: Leak) -> None:
    logits, membership, _ = leak
    random = np.random.default_rng(0)
    cache = tmp_path / "attack_cache"
    cache.mkdir()
    points = np.sort(random.choice(1000, POINTS, replace=False))
    for model in range(1, MODELS):
        write_leakpro(cache, f"sm_{model}_7f3a", logits[model, :, 0], points, random.permutation(POINTS))
    write_leakpro(cache, "target_09c1", logits[0, :, 0], points, random.permutation(POINTS))
    np.save(tmp_path / "mask.npy", membership[1:])
    found = read_saved(tmp_path, tmp_path / "mask.npy")
    assert same(found, logits[1:, :, :1], membership[1:])
    np.testing.assert_array_equal(found.target, logits[0, :, :1])
    np.testing.assert_array_equal(found.point_ids, points)
    np.testing.assert_array_equal(read_target(cache / "target_09c1_logits.npy", points), logits[0, :, :1])
    assert "sm_1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 in this order" in " ".join(found.read_as)
    # Another target of the same points: it is not chosen by chance, and can be named.
    write_leakpro(cache, "target_5555", logits[1, :, 0], points, random.permutation(POINTS))
    assert read_saved(tmp_path, tmp_path / "mask.npy").target is None
    # Another population: a file says which is meant.
    write_leakpro(cache, "sm_3_aaaa", logits[3, :, 0], points, np.arange(POINTS))
    with pytest.raises(TmiError, match="shadow models of 2 populations"):
        read_saved(tmp_path, tmp_path / "mask.npy")
    assert same(read_saved(cache / "sm_5_7f3a_logits.npy", tmp_path / "mask.npy"), logits[1:, :, :1], membership[1:])
    np.save(cache / "sm_4_7f3a_indices.npy", points + 1000)
    with pytest.raises(TmiError, match="about other points: 40 of the 40"):
        read_saved(cache / "sm_5_7f3a_logits.npy", tmp_path / "mask.npy")
    np.save(cache / "sm_4_7f3a_indices.npy", np.zeros(POINTS, dtype=np.int64))
    with pytest.raises(TmiError, match="expected different whole numbers"):
        read_saved(cache / "sm_5_7f3a_logits.npy", tmp_path / "mask.npy")


def test_leakpro_squeezes_a_single_logit_away(tmp_path: Path, leak: Leak) -> None:
    logits, membership, _ = leak
    for model in range(MODELS):
        write_leakpro(tmp_path, f"sm_{model}_ab", logits[model, :, 0, 0], np.arange(POINTS), np.arange(POINTS))
    np.save(tmp_path / "mask.npy", membership)
    found = read_saved(tmp_path, tmp_path / "mask.npy")
    np.testing.assert_array_equal(np.stack(found.models)[:, :, 0, 1], logits[:, :, 0, 0])
    assert not np.stack(found.models)[..., 0].any()


def test_a_single_logit_becomes_two_classes(tmp_path: Path, leak: Leak) -> None:
    np.save(tmp_path / "p.npy", leak[0][:, :, 0, :1])
    np.save(tmp_path / "m.npy", leak[1])
    found = read_saved(tmp_path / "p.npy", tmp_path / "m.npy")
    np.testing.assert_array_equal(np.stack(found.models)[:, :, 0, 1], leak[0][:, :, 0, 0])
    assert not np.stack(found.models)[..., 0].any()


def test_the_papers_code(tmp_path: Path, leak: Leak) -> None:
    logits, membership, _ = leak
    (tmp_path / "target_point_logits.pth").write_bytes(b"")
    with pytest.raises(TmiError, match=r"export them with numpy\.save"):
        read_saved(tmp_path)
    np.save(tmp_path / "target_point_logits.npy", logits.swapaxes(0, 1))
    np.save(tmp_path / "mask.npy", membership.T.astype(np.float64))
    assert same(read_saved(tmp_path), logits, membership)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    probabilities[0, 0, 0] = np.eye(CLASSES)[2]
    np.save(tmp_path / "target_point_logits.npy", probabilities.swapaxes(0, 1))
    found = read_saved(tmp_path)
    np.testing.assert_allclose(np.exp(np.stack(found.models)), probabilities, rtol=1e-6, atol=1e-30)
    assert np.isfinite(np.stack(found.models)).all()
    assert any("saves probabilities" in sentence for sentence in found.read_as)
    np.save(tmp_path / "target_point_logits.npy", logits.swapaxes(0, 1))
    (tmp_path / "target_point_logits.npy").rename(tmp_path / "other.npy")
    with pytest.raises(TmiError, match="may be of the layouts tmi and tmi-pets24"):
        read_saved(tmp_path / "other.npy", tmp_path / "mask.npy")
    assert same(read_saved(tmp_path / "other.npy", tmp_path / "mask.npy", layout="tmi-pets24"), logits, membership)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_privacyguard(tmp_path: Path, leak: Leak, suffix: str) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    logits, membership, _ = leak
    scores = logits[:, :, 0, 0]
    columns: dict[str, NDArray[Any]] = {"user_id": np.array([f"u{point}" for point in range(POINTS)])}
    columns["score_orig"] = scores[0]
    for model in range(1, MODELS):
        columns[f"score_ref_{model - 1}"] = scores[model]
        columns[f"member_ref_{model - 1}"] = membership[model]
    order = np.argsort(~membership[0], kind="stable")
    members = int(membership[0].sum())
    for name, rows in (("df_train_merge", order[:members]), ("df_test_merge", order[members:])):
        write_frame(tmp_path / f"{name}.{suffix}", {key: values[rows] for key, values in columns.items()})
    found = read_saved(tmp_path)
    assert same(found, two_class(scores[1:, order])[:, :, None], membership[1:, order])
    np.testing.assert_array_equal(found.target, two_class(scores[0, order])[:, None])
    np.testing.assert_array_equal(found.target_membership, membership[0, order])
    del columns["member_ref_3"]
    write_frame(tmp_path / f"one.{suffix}", columns)
    with pytest.raises(TmiError, match="column 'member_ref_3' is missing"):
        read_saved(tmp_path / f"one.{suffix}")


@pytest.mark.parametrize("column", ["score_mean_in", "score_mean"])
def test_privacyguard_summaries_are_refused_with_the_reason(tmp_path: Path, column: str) -> None:
    write_frame(tmp_path / "lira.csv", {"score_orig": np.zeros(4), column: np.ones(4)})
    with pytest.raises(TmiError, match="from which no answer of a single reference can be had"):
        read_saved(tmp_path / "lira.csv")


def write_frame(path: Path, columns: dict[str, NDArray[Any]]) -> None:
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(columns), path)
        return
    rows = [",".join(columns), *(",".join(str(cell) for cell in row) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(rows) + "\n")


def test_parquet_without_pyarrow_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(TmiError, match=r'pip install "tmi-audit\[data\]"'):
        read_saved(tmp_path / "a.parquet")


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
    code = (
        "import sys, tmi.predictions.formats.writing, tmi.runs.check, tmi.cli.saved\nsys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_convert_gives_the_same_arrays(tmp_path: Path, leak: Leak) -> None:
    write_tensorflow(tmp_path / "in", leak)
    run = CliRunner().invoke(convert, [str(tmp_path / "in"), "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert run.exit_code == 0
    assert "12 models, 40 points, 3 queries per point, 5 classes" in run.output
    found = read_saved(tmp_path / "out")
    assert same(found, leak[0], leak[1])
    np.testing.assert_array_equal(found.labels, leak[2])
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "predictions.npy"), leak[0])
    with pytest.raises(TmiError, match="was read from"):
        write_saved(found, tmp_path / "out", force=True)
    with pytest.raises(TmiError, match="exists already"):
        write_saved(read_saved(tmp_path / "in"), tmp_path / "out")
    np.save(tmp_path / "p.npy", leak[0][:4])
    np.save(tmp_path / "m.npy", leak[1][:4])
    write_saved(read_saved(tmp_path / "p.npy", tmp_path / "m.npy"), tmp_path / "out", force=True)
    assert not (tmp_path / "out" / "labels.npy").exists()
    assert same(read_saved(tmp_path / "out"), leak[0][:4], leak[1][:4])


def test_check_prints_what_it_found(tmp_path: Path, leak: Leak) -> None:
    paths = [str(tmp_path / "p.npy"), str(tmp_path / "m.npy")]
    np.save(paths[0], leak[0])
    np.save(paths[1], leak[1])
    good = CliRunner().invoke(check, paths, catch_exceptions=False)
    assert good.exit_code == 0
    assert "✓" in good.output
    assert "no errors" in good.output
    np.save(paths[0], np.where(np.arange(POINTS)[:, None, None] == 3, np.nan, leak[0]))
    bad = CliRunner().invoke(check, paths, catch_exceptions=False)
    assert bad.exit_code == 2
    assert "✗" in bad.output


def test_every_layout_has_a_page() -> None:
    text = (Path(__file__).parents[2] / "docs" / "saved-predictions.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in LAYOUTS)
