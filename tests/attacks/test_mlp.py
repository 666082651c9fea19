"""The metaclassifier of the TMI paper: a network per point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from tmi.attacks.metaclassifiers import mlp as mlp_metaclassifier
from tmi.attacks.registry import attack_named
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput


def one_network(
    rows: NDArray[np.float32], members: NDArray[np.bool_], asked: NDArray[np.float32], random: np.random.Generator
) -> float:
    """The authors' training loop for one point, on `mlp_metaclassifier`'s draws."""
    network = torch.nn.Sequential(torch.nn.Linear(rows.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
    with torch.no_grad():
        for layer in (network[0], network[2]):
            bound = layer.in_features**-0.5
            for parameter, shape in ((layer.weight, (layer.in_features, -1)), (layer.bias, (1, -1))):
                drawn = random.random((shape[0], layer.out_features), dtype=np.float32)
                parameter.copy_(torch.from_numpy(bound * (2 * drawn - 1)).T.reshape(parameter.shape))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.005, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.9)
    inputs, labels = torch.from_numpy(rows), torch.from_numpy(members.astype(np.int64))
    for _ in range(20):
        for batch in torch.from_numpy(random.permutation(len(rows))).split(64):
            bits = np.frombuffer(random.bytes(len(batch) * 8), dtype=np.uint8)
            kept = torch.from_numpy(np.unpackbits(bits)).reshape(len(batch), 64)
            optimizer.zero_grad()
            outputs = network[2](network[1](network[0](inputs[batch])) * kept * 2)
            torch.nn.functional.cross_entropy(outputs, labels[batch]).backward()
            optimizer.step()
        scheduler.step()
    with torch.no_grad():
        return float(network(torch.from_numpy(asked)).softmax(dim=1)[:, 1].mean())


def test_stacked_networks_are_those_of_each_point_alone() -> None:
    random = np.random.default_rng(0)
    points, rows, features = 3, 150, 4
    members = random.random((points, rows)) < 0.5
    x = random.normal(size=(points, rows, features)).astype(np.float32) + members[..., None].astype(np.float32)
    asked = random.normal(size=(points, 5, features)).astype(np.float32)

    def streams() -> list[np.random.Generator]:
        return [np.random.default_rng(point) for point in range(points)]

    together = mlp_metaclassifier.fit_and_score(x, members, asked, streams())
    alone = [one_network(*each) for each in zip(x, members, asked, streams(), strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-3)
    assert together.std() > 0.01


def test_every_point_and_target_of_tmi_mlp_has_draws_of_its_own() -> None:
    """The same answers and members everywhere: only the draws can differ."""
    model = np.random.default_rng(0).normal(size=(8, 1, 2, 3)).astype(np.float32)
    membership = np.broadcast_to(np.arange(8)[:, None] % 2 == 0, (8, 40)).copy()
    answers = AttackInput(Predictions(list(np.repeat(model, 40, axis=1))), membership)
    attack = attack_named("tmi-mlp")
    scores = attack.score(answers, [0, 1])
    assert len(np.unique(scores)) == scores.size
    np.testing.assert_array_equal(scores, attack.score(answers, [0, 1]))
    other_seed = AttackInput(answers.predictions, membership, seed=1)
    assert (attack.score(other_seed, [0, 1]) != scores).all()


@pytest.mark.parametrize(
    ("data", "reference"), [pytest.param("digits", 0.570, marks=pytest.mark.slow), ("text", 0.820)]
)
def test_tmi_mlp_is_as_strong_as_it_should_be(shared: Path, data: str, reference: float) -> None:
    """The authors' class on the same answers: the draws differ, so scores do, but hardly the AUC of 4 targets.

    Every second point will do, since each has a network of its own.
    """
    folder = shared / "golden" / data
    if not folder.is_dir():
        pytest.skip(f"needs the frozen predictions in {folder}")
    membership = np.load(folder / "membership.npy")[:, ::2]
    answers = AttackInput(Predictions(list(np.load(folder / "predictions.npy")[:, ::2])), membership)
    with np.load(folder / "reference_scores.npz") as scores:
        theirs = scores["tmi_mlp_reference"][:, ::2]
    ours = attack_named("tmi-mlp").score(answers, range(4))
    aucs = [
        np.mean([roc_auc_score(*pair) for pair in zip(membership[:4], scores, strict=True)])
        for scores in (ours, theirs)
    ]
    assert aucs[1] == pytest.approx(reference, abs=0.015)
    assert aucs[0] == pytest.approx(aucs[1], abs=0.03)
