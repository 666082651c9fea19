from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tmi.config import TrainingConfig
from tmi.data.tokens import PADDING
from tmi.shadows.networks.language import NO_TARGET
from tmi.shadows.training.data import Masking, TrainingSet, cut_images, epochs
from tmi.shadows.training.recipe import loss_of, mean_loss


def recipe(**changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"learning_rate": 0.1, "epochs": 3, "batch_size": 4, **changes})


def numbered_images(points: int, channels: int | None = 3, size: int = 6) -> torch.Tensor:
    shape = (points, size, size) if channels is None else (points, channels, size, size)
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from([None, 1, 3]), st.integers(4, 9), st.integers(0, 3))
def test_a_crop_is_a_window_of_the_padded_image(
    data: st.DataObject, channels: int | None, size: int, padding: int
) -> None:
    images = numbered_images(3, channels, size)
    down, right = data.draw(st.integers(-padding, padding)), data.draw(st.integers(-padding, padding))
    flip, point = data.draw(st.booleans()), data.draw(st.integers(0, 2))
    cut = cut_images(images, torch.tensor([point]), torch.tensor([flip]), torch.tensor([[down, right]]))[0]

    image = images[point][None] if channels is None else images[point]
    padded = functional.pad(image[None], [padding] * 4, mode="reflect")[0]
    window = padded[:, padding + down : padding + down + size, padding + right : padding + right + size]
    window = window.flip(-1) if flip else window
    torch.testing.assert_close(cut, window[0] if channels is None else window, rtol=0, atol=0)


def test_flips_alone_and_types() -> None:
    images = torch.randint(256, (5, 3, 4, 4), dtype=torch.uint8)
    flips = torch.tensor([[True, False], [False, True]])
    chosen = torch.tensor([[0, 1], [2, 4]])
    cut = cut_images(images, chosen, flips, None)
    assert cut.dtype == torch.uint8
    assert cut.shape == (2, 2, 3, 4, 4)
    assert torch.equal(cut[0, 0], images[0].flip(-1))
    assert torch.equal(cut[1, 0], images[2])


def test_an_epoch_shows_every_model_each_of_its_points_once() -> None:
    data = TrainingSet(torch.arange(20.0)[:, None], torch.arange(20), torch.tensor([[1, 3, 5, 7, 9], [0, 2, 4, 6, 8]]))
    orders = []
    for epoch in epochs(data, recipe(batch_size=2), [1, 2]):
        batches = list(epoch.batches())
        assert epoch.steps == len(batches) == 3
        seen = torch.cat([labels for _, labels in batches], dim=1)
        assert torch.equal(seen.sort(dim=1).values, data.subsets)
        assert all(torch.equal(inputs[..., 0].long(), labels) for inputs, labels in batches)
        orders.append(seen)
    assert not torch.equal(orders[0], orders[1])


@pytest.mark.parametrize("changes", [{"flip": True}, {"crop": 1}, {"flip": True, "crop": 2}])
def test_what_a_model_sees_depends_on_its_seed_and_the_epoch_only(changes: dict[str, object]) -> None:
    images = numbered_images(10)
    subsets = torch.stack([torch.arange(0, 6), torch.arange(4, 10)])
    data = TrainingSet(images, torch.arange(10), subsets)
    together = [list(epoch.batches()) for epoch in epochs(data, recipe(**changes), [5, 6])]
    alone = [list(epoch.batches()) for epoch in epochs(data.of(slice(1, 2)), recipe(**changes), [6], first=1)]
    for pairs, own in zip(together[1:], alone, strict=True):
        for (inputs, labels), (own_inputs, own_labels) in zip(pairs, own, strict=True):
            assert torch.equal(inputs[1:], own_inputs)
            assert torch.equal(labels[1:], own_labels)
    first, second = (torch.cat([inputs for inputs, _ in epoch], dim=1) for epoch in together[:2])
    assert not torch.equal(first, second)
    some = torch.cat([inputs for inputs, _ in together[0]], dim=1)[0]
    plain = images[torch.cat([labels for _, labels in together[0]], dim=1)[0]]
    assert 0 < (some == plain).flatten(1).all(dim=1).sum() < 6 or not torch.equal(some, plain)


def test_about_half_of_the_images_are_mirrored() -> None:
    images = numbered_images(2000, 1, 2)
    data = TrainingSet(images, torch.arange(2000), torch.arange(2000)[None])
    inputs, labels = next(iter(next(iter(epochs(data, recipe(flip=True, batch_size=2000), [3]))).batches()))
    mirrored = (inputs[0] == images[labels[0]].flip(-1)).flatten(1).all(dim=1).float().mean()
    assert 0.45 < mirrored < 0.55


def token_set(models: int = 1, masking: Masking | None = None) -> TrainingSet:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 50, (12, 8), generator=generator)
    lengths = torch.arange(12) % 6 + 2
    ids[torch.arange(8) >= lengths[:, None]] = PADDING
    targets = ids.masked_fill(ids == PADDING, NO_TARGET)
    return TrainingSet(ids, targets, torch.arange(12).expand(models, -1), masking=masking)


def test_batches_of_texts_are_as_short_as_they_can_be() -> None:
    data = token_set()
    for epoch in epochs(data, recipe(batch_size=3), [1]):
        for ids, targets in epoch.batches():
            assert ids.shape == targets.shape
            assert (ids[..., -1] != PADDING).any()
            assert torch.equal(ids.masked_fill(ids == PADDING, NO_TARGET), targets)


def test_masked_tokens_are_targets_and_nothing_else_is() -> None:
    data = token_set(masking=Masking(token=3, fraction=0.4))
    hidden_before: set[tuple[int, ...]] = set()
    for epoch in epochs(data, recipe(epochs=4, batch_size=12), [7]):
        ((ids, targets),) = list(epoch.batches())
        hidden = ids == 3
        assert torch.equal(hidden, targets != NO_TARGET)
        assert not (hidden & (ids == PADDING)).any()
        assert 0.2 < hidden.sum() / (ids != PADDING).sum() < 0.6
        hidden_before.add(tuple(hidden.flatten().int().tolist()))
    assert len(hidden_before) == 4


def test_masks_to_measure_with_are_fixed() -> None:
    data = token_set()
    masking = Masking(token=3, fraction=0.25)
    ids, targets = masking.every_so_many(data.inputs, data.labels)
    places = torch.arange(8) % 4 == 0
    assert torch.equal(ids == 3, places & (data.inputs != PADDING))
    assert torch.equal(targets != NO_TARGET, ids == 3)


def test_ignored_targets_count_for_nothing() -> None:
    logits = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([[1, 2, NO_TARGET, NO_TARGET], [0, 6, 3, NO_TARGET]])
    losses = loss_of(logits, targets, recipe())
    assert losses.shape == targets.shape
    assert (losses[targets == NO_TARGET] == 0).all()
    counted = targets != NO_TARGET
    expected = functional.cross_entropy(logits[counted], targets[counted])
    torch.testing.assert_close(mean_loss(logits, targets, recipe()), expected)
    assert mean_loss(logits, torch.full_like(targets, NO_TARGET), recipe()) == 0
