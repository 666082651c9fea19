"""Files that other tools really wrote, against the arrays behind them and the scores of the tools' own code.

The sets lie beside the checkout, in ``shared/peers``, whose README says how they were made.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tmi.errors import TmiError
from tmi.predictions.formats import SavedArrays, read_saved, read_target


def truth(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "truth.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def require_same(found: SavedArrays, expected: np.ndarray, membership: np.ndarray, *, tolerance: float = 0.0) -> None:
    np.testing.assert_allclose(np.stack(found.models), expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(found.membership, membership)


@pytest.mark.parametrize("tool", ["lira-pytorch", "tensorflow-privacy"])
def test_lira_logits_membership_and_labels(peers: Path, tool: str) -> None:
    right = truth(peers / tool)
    found = read_saved(peers / tool / "exp" / "cifar10")
    require_same(found, right["logits"], right["membership"])
    np.testing.assert_array_equal(found.labels, right["labels"])


@pytest.mark.parametrize("tool", ["lira-pytorch", "tensorflow-privacy"])
def test_labels_come_from_the_scores_where_nothing_else_tells_them(peers: Path, tmp_path: Path, tool: str) -> None:
    right = truth(peers / tool)
    copied = shutil.copytree(peers / tool / "exp" / "cifar10", tmp_path / "exp")
    (copied / "y_train.npy").unlink(missing_ok=True)
    found = read_saved(copied)
    np.testing.assert_array_equal(found.labels, right["labels"])
    assert any("found from scores and logits" in sentence for sentence in found.read_as)


@pytest.mark.parametrize("tool", ["lira-pytorch", "tensorflow-privacy"])
def test_lira_scores_alone(peers: Path, tmp_path: Path, tool: str) -> None:
    """Many keep no logits, which are large."""
    right = truth(peers / tool)
    copied = shutil.copytree(peers / tool / "exp" / "cifar10", tmp_path / "exp")
    for folder in copied.glob("*/"):
        shutil.rmtree(folder / "logits", ignore_errors=True)
        (folder / "logits.npy").unlink(missing_ok=True)
    found = read_saved(copied)
    two = np.stack([right["tool_scores"], np.zeros_like(right["tool_scores"])], axis=-1)
    require_same(found, two, right["membership"], tolerance=1e-6)
    np.testing.assert_array_equal(found.labels, np.zeros(120))


def test_one_model_of_lira_is_refused_by_name(peers: Path) -> None:
    for folder in ("lira-pytorch/exp/cifar10/3", "tensorflow-privacy/exp/cifar10/experiment-3_10"):
        with pytest.raises(TmiError, match="a single model, as lira-pytorch"):
            read_saved(peers / folder)
    with pytest.raises(TmiError, match="a single model, as lira-pytorch"):
        read_saved(peers / "lira-pytorch/exp/cifar10/3/logits.npy", peers / "lira-pytorch/exp/cifar10/3/keep.npy")


def leakpro(peers: Path, tmp_path: Path, name: str) -> tuple[Path, Path]:
    """A copy of a cache, and the file of the membership that a user exports."""
    cache = shutil.copytree(peers / name / "attack_cache", tmp_path / "attack_cache")
    np.save(tmp_path / "mask.npy", truth(peers / name)["in_indices_mask"])
    return cache, tmp_path / "mask.npy"


@pytest.mark.parametrize("name", ["leakpro", "leakpro-reordered"])
def test_leakpro_rows_follow_their_indices(peers: Path, tmp_path: Path, name: str) -> None:
    right = truth(peers / name)
    cache, mask = leakpro(peers, tmp_path, name)
    found = read_saved(tmp_path, mask)
    require_same(found, right["logits"], right["membership"])
    np.testing.assert_array_equal(found.target, right["target_logits"])
    np.testing.assert_array_equal(found.point_ids, right["point_ids"])
    assert str(right["model_ids"].tolist())[1:-1] in " ".join(found.read_as)
    (target,) = cache.glob("target_*_logits.npy")
    np.testing.assert_array_equal(read_target(target, found.point_ids), right["target_logits"])


def test_leakpro_target_in_another_order_is_aligned(peers: Path, tmp_path: Path) -> None:
    right = truth(peers / "leakpro")
    cache, mask = leakpro(peers, tmp_path, "leakpro")
    order = np.random.default_rng(0).permutation(120)
    (target,) = cache.glob("target_*_logits.npy")
    for file in cache.glob("target_*.npy"):
        np.save(file, np.load(file)[order])
    found = read_saved(tmp_path, mask)
    np.testing.assert_array_equal(found.target, right["target_logits"])
    np.testing.assert_array_equal(read_target(target, found.point_ids), right["target_logits"])


def test_leakpro_populations_are_not_mixed(peers: Path, tmp_path: Path) -> None:
    right = truth(peers / "leakpro")
    cache, mask = leakpro(peers, tmp_path, "leakpro")
    for file in list(cache.glob("sm_2_*")) + list(cache.glob("sm_10_*")):
        number, _, rest = file.name.removeprefix("sm_").split("_", 2)
        shutil.copy(file, cache / f"sm_{number}_{'0' * 64}_{rest}")
    with pytest.raises(TmiError, match="shadow models of 2 populations"):
        read_saved(tmp_path, mask)
    (one,) = cache.glob("sm_0_*_logits.npy")
    require_same(read_saved(one, mask), right["logits"], right["membership"])


def test_leakpro_files_about_other_points_are_refused_or_left_out(peers: Path, tmp_path: Path) -> None:
    cache, mask = leakpro(peers, tmp_path, "leakpro")
    (indices,) = cache.glob("target_*_indices.npy")
    np.save(indices, np.load(indices) + 1)
    found = read_saved(tmp_path, mask)
    assert found.target is None
    assert any("about other points than the shadow models" in sentence for sentence in found.read_as)
    with pytest.raises(TmiError, match="about other points: 2 of the 120"):
        read_target(next(cache.glob("target_*_logits.npy")), found.point_ids)
    (third,) = cache.glob("sm_3_*_indices.npy")
    np.save(third, np.load(third) + 1)
    with pytest.raises(TmiError, match=r"sm_3_.* is about other points: 2 of the 120"):
        read_saved(tmp_path, mask)
    third.unlink()
    with pytest.raises(TmiError, match=r"sm_3_.* has no _indices\.npy beside it"):
        read_saved(tmp_path, mask)


def test_several_leakpro_targets_are_named(peers: Path, tmp_path: Path) -> None:
    cache, mask = leakpro(peers, tmp_path, "leakpro")
    for file in list(cache.glob("target_*")):
        shutil.copy(file, cache / f"target_{'0' * 64}_{file.name.rpartition('_')[2]}")
    found = read_saved(tmp_path, mask)
    assert found.target is None
    assert any("There are 2 targets" in sentence for sentence in found.read_as)


def test_the_papers_code_saves_probabilities(peers: Path) -> None:
    folder = peers / "tmi-pets24"
    right = truth(folder)
    found = read_saved(folder / "ShadowModels" / "CIFAR100_tmi")
    require_same(found, np.log(right["probabilities"]), right["membership"], tolerance=1e-6)
    assert any("saves probabilities" in sentence for sentence in found.read_as)


def test_privacy_meter_with_all_points(peers: Path) -> None:
    right = truth(peers / "privacy-meter" / "demo_full")
    found = read_saved(peers / "privacy-meter" / "demo_full")
    signals = right["signals"].astype(np.float64)
    odds = np.log(signals) - np.log1p(-signals)
    with_two = np.stack([odds, np.zeros_like(odds)], axis=-1)[:, :, None]
    require_same(found, with_two, right["membership"], tolerance=1e-5)


def test_privacy_meter_with_some_points_needs_their_membership(peers: Path, tmp_path: Path) -> None:
    folder = peers / "privacy-meter" / "demo_half"
    with pytest.raises(TmiError, match=r"signals of 108 points, but .* of 300: with audit\.data_size below"):
        read_saved(folder)
    right = truth(folder)
    np.save(tmp_path / "auditing_membership.npy", right["membership"])
    found = read_saved(folder, tmp_path / "auditing_membership.npy")
    np.testing.assert_array_equal(found.membership, right["membership"])
    np.testing.assert_allclose(
        np.stack(found.models)[:, :, 0, 0], np.log(right["signals"] / (1 - right["signals"])), atol=1e-4
    )


@pytest.mark.parametrize("kind", ["rmia_csv", "rmia_parquet"])
def test_privacyguard_frames(peers: Path, kind: str) -> None:
    if kind == "rmia_parquet":
        pytest.importorskip("pyarrow")
    right = truth(peers / "privacyguard")
    found = read_saved(peers / "privacyguard" / kind)

    def odds(p: np.ndarray) -> np.ndarray:
        p = p.astype(np.float64)
        return np.log(p) - np.log1p(-p)

    np.testing.assert_allclose(np.stack(found.models)[..., 0, 0], odds(right["probabilities_of_the_label"]), atol=1e-6)
    assert found.target is not None
    np.testing.assert_allclose(found.target[:, 0, 0], odds(right["target_probability_of_the_label"]), atol=1e-6)
    np.testing.assert_array_equal(found.membership, right["membership"])
    np.testing.assert_array_equal(found.target_membership, right["target_membership"])


def test_privacyguard_summaries_are_refused_with_the_reason(peers: Path) -> None:
    with pytest.raises(TmiError, match="from which no answer of a single reference can be had"):
        read_saved(peers / "privacyguard" / "lira_csv")
