"""Files of Privacy Meter, LeakPro, PrivacyGuard and the TMI paper's code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from made.formats import CLASSES, MODELS, POINTS, Leak, same, two_class
from tmi.errors import TmiError
from tmi.predictions.formats import read_saved, read_target


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
