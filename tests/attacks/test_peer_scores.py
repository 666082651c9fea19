"""Attacks on files that other tools wrote, against the scores of the tools' own code on the same arrays.

Where the equations agree, so do the scores; where they do not, docs/attacks.md says how they differ.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from tmi.attacks.lira import LiraOffline, LiraOnline
from tmi.attacks.registry import Attack, attack_named
from tmi.attacks.rmia import Rmia, RmiaOffline
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.formats import SavedArrays, read_saved


def tool_scores(folder: Path, attack: str) -> dict[str, NDArray[np.float64]]:
    """The tool's scores by the name of the variant."""
    with np.load(folder / "truth.npz", allow_pickle=False) as arrays:
        names = arrays[f"scores_{attack}_variants"].tolist()
    return dict(zip(names, np.load(folder / f"scores_{attack}.npy", allow_pickle=False), strict=True))


def with_target(saved: SavedArrays) -> AttackInput:
    assert saved.target is not None
    return AttackInput(Predictions(saved.models), saved.membership, labels=saved.labels).with_target(saved.target)


def as_they_cut(saved: SavedArrays, target: int) -> AttackInput:
    """The target before the shadows that the published code uses.

    It takes as many of each side at every point as there are at the point with the fewest, the first ones.
    """
    logits, members = np.stack(saved.models), saved.membership
    others = np.delete(np.arange(len(members)), target)
    columns = np.arange(members.shape[1])
    sides = []
    for side in (members[others], ~members[others]):
        first = np.argsort(~side, axis=0, kind="stable")[: side.sum(axis=0).min()]
        sides.append(others[first])
    models = np.concatenate([np.full((1, len(columns)), target), *sides])
    membership = np.zeros(models.shape, dtype=bool)
    membership[1 : 1 + len(sides[0])] = True
    return AttackInput(Predictions(list(logits[models, columns])), membership, labels=saved.labels)


@pytest.mark.parametrize("tool", ["lira-pytorch", "tensorflow-privacy"])
def test_lira_on_the_shadows_that_the_published_code_uses_has_its_scores(peers: Path, tool: str) -> None:
    saved = read_saved(peers / tool / "exp" / "cifar10")
    queries = saved.models[0].shape[1]
    theirs = tool_scores(peers / tool, "lira")["online"]
    attack = LiraOnline("per-point-in-out", "median")
    ours = np.stack([attack.score(as_they_cut(saved, target), [0])[0] for target in range(len(saved.models))])
    # Ours adds up the queries, theirs are averaged. Deviations of a few equal scores are rounding errors in both.
    np.testing.assert_allclose(ours / queries, theirs, rtol=1e-3, atol=1e-3)
    truth = saved.membership.ravel()
    assert roc_auc_score(truth, ours.ravel()) == pytest.approx(roc_auc_score(truth, theirs.ravel()), abs=1e-4)


@pytest.mark.parametrize("tool", ["lira-pytorch", "tensorflow-privacy"])
def test_lira_finds_nothing_in_shuffled_membership(peers: Path, tool: str) -> None:
    saved = read_saved(peers / tool / "exp" / "cifar10")
    shuffled = np.random.default_rng(0).permuted(saved.membership, axis=0)
    answers = AttackInput(Predictions(saved.models), shuffled, labels=saved.labels)
    scores = attack_named("lira-online").score(answers, range(len(shuffled)))
    assert roc_auc_score(shuffled.ravel(), scores.ravel()) == pytest.approx(0.5, abs=0.05)


def test_adapted_lira_of_the_papers_code(peers: Path) -> None:
    saved = read_saved(peers / "tmi-pets24" / "ShadowModels" / "CIFAR100_tmi")
    theirs = tool_scores(peers / "tmi-pets24", "adapted_lira")["first 2 augmentations"]
    answers = AttackInput(Predictions([model[:, :2] for model in saved.models]), saved.membership)
    ours = attack_named("adapted-lira").score(answers, range(len(saved.models)))
    # It has 1 - p from p in single precision, where ours adds up the other classes.
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99995
    assert spearmanr(ours.ravel(), theirs.ravel()).statistic > 0.99999


LEAKPRO: list[tuple[str, str, Attack]] = [
    ("lira", "online, var_calculation=carlini", LiraOnline("global")),
    ("lira", "online, var_calculation=fixed", LiraOnline("per-point-in-out")),
    ("lira", "offline, var_calculation=carlini", LiraOffline("global")),
    ("lira", "offline, var_calculation=fixed", LiraOffline("per-point")),
    ("rmia", "online, gamma=1.0", Rmia(1.0)),
    ("rmia", "online, gamma=1.05", Rmia(1.05)),
    ("rmia", "offline, offline_a=0.3, gamma=1.0", RmiaOffline(1.0)),
    ("rmia", "offline, offline_a=0.3, gamma=1.05", RmiaOffline(1.05)),
]


@pytest.mark.parametrize(("kind", "variant", "attack"), LEAKPRO, ids=[variant for _, variant, _ in LEAKPRO])
def test_leakpro(peers: Path, tmp_path: Path, kind: str, variant: str, attack: Attack) -> None:
    with np.load(peers / "leakpro" / "truth.npz", allow_pickle=False) as truth:
        np.save(tmp_path / "membership.npy", truth["in_indices_mask"])
        np.save(tmp_path / "labels.npy", truth["labels"])
        members = truth["target_membership"]
    saved = read_saved(peers / "leakpro", tmp_path / "membership.npy", tmp_path / "labels.npy")
    ours, theirs = attack.score(with_target(saved), [0])[0], tool_scores(peers / "leakpro", kind)[variant]
    if kind == "lira":
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    else:
        # Its P(x) is the mean over all shadows (offline over all for z), and x is one of its z.
        assert spearmanr(ours, theirs).statistic > 0.997
    assert roc_auc_score(members, ours) == pytest.approx(roc_auc_score(members, theirs), abs=1e-3)


def test_privacyguard(peers: Path) -> None:
    folder = peers / "privacyguard"
    saved = read_saved(folder / "rmia_csv")
    answers = with_target(saved)
    lira = LiraOnline("per-point-in-out").score(answers, [0])[0]
    np.testing.assert_allclose(lira, tool_scores(folder, "lira")["online"], rtol=1e-3, atol=1e-3)
    # Its P(x) is the mean over all references, of which a point is in 2 to 10 here.
    rmia = Rmia(1.0).score(answers, [0])[0]
    assert spearmanr(rmia, tool_scores(folder, "rmia")["online, alpha_coefficient=0.3"]).statistic > 0.99


@pytest.mark.parametrize("offline_a", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_privacy_meter(peers: Path, offline_a: float) -> None:
    """It compares with a population of its own where we take the other points, and leaves the target's partner out."""
    folder = peers / "privacy-meter" / "demo_full"
    saved = read_saved(folder)
    theirs = tool_scores(folder, "rmia")[f"offline_a={offline_a}"]
    answers = AttackInput(Predictions(saved.models), saved.membership, labels=saved.labels)
    partners = {target: [model for model in range(16) if model not in (target, target ^ 1)] for target in range(16)}
    ours = np.stack(
        [
            RmiaOffline(1.0, offline_a).score(answers.restricted([target, *shadows]), [0])[0]
            for target, shadows in partners.items()
        ]
    )
    assert spearmanr(ours.ravel(), theirs.ravel()).statistic > 0.98
    truth = saved.membership.ravel()
    assert roc_auc_score(truth, ours.ravel()) == pytest.approx(roc_auc_score(truth, theirs.ravel()), abs=0.01)


def test_sacro_ml(peers: Path) -> None:
    """From arrays as the export in docs/saved-predictions.md makes them."""
    with np.load(peers / "sacro-ml" / "truth.npz", allow_pickle=False) as truth:
        models, target = (np.log(np.clip(truth[f"{name}probabilities"], 1e-16, 1)) for name in ("", "target_"))
        answers = AttackInput(
            Predictions(list(models.astype(np.float32))), truth["membership"], labels=truth["labels"].astype(np.int64)
        ).with_target(target.astype(np.float32))
    theirs = tool_scores(peers / "sacro-ml", "lira")
    for attack, variant in (
        (LiraOnline("per-point-in-out"), "online-carlini"),
        (LiraOnline("global"), "online-carlini, fix_variance"),
    ):
        np.testing.assert_allclose(attack.score(answers, [0])[0], theirs[variant], rtol=1e-3, atol=1e-2)
    for offline, variant in ((LiraOffline("per-point"), "offline"), (LiraOffline("global"), "offline, fix_variance")):
        # Its score is the probability itself, ours the logarithm.
        assert spearmanr(offline.score(answers, [0])[0], theirs[variant]).statistic > 0.9999
