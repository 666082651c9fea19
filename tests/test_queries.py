from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from tmi.augmentations import drop_words, make_queries, shift
from tmi.config import EncoderConfig, QueryConfig
from tmi.datasets import Points
from tmi.encoders import encode, hashed_words
from tmi.errors import TmiError


def points(kind: Literal["image", "text"]) -> Points:
    images = np.random.default_rng(0).random((4, 6, 6)).astype(np.float32)
    texts = np.array([" ".join(f"w{i}{j}" for j in range(30)) for i in range(4)], dtype=object)
    raw: NDArray[Any] = images if kind == "image" else texts
    return Points(raw, np.arange(4), ("a", "b", "c", "d"), kind)


def test_the_first_query_is_the_point_itself() -> None:
    for kind, query in (
        ("image", QueryConfig(augmentation="shift", count=5, strength=0.25)),
        ("text", QueryConfig(augmentation="word-dropout", count=5, strength=0.2)),
        ("image", QueryConfig()),
    ):
        queries = make_queries(points(kind), query, seed=0)  # type: ignore[arg-type]
        assert queries.shape[:2] == (4, query.count)
        assert (queries[:, 0] == points(kind).raw).all()  # type: ignore[arg-type]


def test_shift_moves_by_whole_and_half_pixels() -> None:
    image = np.zeros((1, 5, 5), dtype=np.float32)
    image[0, 2, 2] = 1
    right = shift(image, 0, 1)
    assert right[0, 2, 3] == 1
    assert right.sum() == 1
    down = shift(image, math.pi / 2, 0.5)
    np.testing.assert_allclose(down[0, 2:4, 2], [0.5, 0.5], atol=1e-6)
    colour = shift(np.stack([image, 2 * image], axis=1), 0, 1)
    assert colour[0, :, 2, 3].tolist() == [1, 2]


def test_word_dropout_keeps_order_and_something() -> None:
    random = np.random.default_rng(0)
    texts = np.array(["a b c d e f g h", "one"], dtype=object)
    dropped = drop_words(texts, 0.5, random)
    words = dropped[0].split()
    assert 0 < len(words) < 8
    assert words == sorted(words)
    assert drop_words(texts, 1.0, random).tolist() == ["a", "one"]
    assert drop_words(texts, 0.0, random).tolist() == texts.tolist()


def test_queries_depend_on_the_seed_alone() -> None:
    query = QueryConfig(augmentation="word-dropout", count=3, strength=0.3)
    first, again, other = (make_queries(points("text"), query, seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert not (first == other).all()


@pytest.mark.parametrize(
    ("kind", "query", "sentence"),
    [
        ("text", QueryConfig(augmentation="shift", count=2, strength=1), "is for images; the points are texts"),
        ("image", QueryConfig(augmentation="word-dropout", count=2, strength=1), "is for texts; the points are images"),
        ("image", QueryConfig(count=2), "query.count is 2, expected 1"),
    ],
)
def test_queries_that_do_not_fit(kind: Literal["image", "text"], query: QueryConfig, sentence: str) -> None:
    with pytest.raises(TmiError, match=sentence):
        make_queries(points(kind), query, seed=0)


def test_hashed_words() -> None:
    encoded = hashed_words(["b a a a a", "A a a a B", "", "c"], dimensions=64, norm=4.0)
    np.testing.assert_allclose(np.linalg.norm(encoded, axis=1), [4, 4, 0, 4], rtol=1e-6)
    np.testing.assert_array_equal(encoded[0], encoded[1])
    counts = np.sort(encoded[0])[-2:]
    np.testing.assert_allclose(counts[1] / counts[0], 2, rtol=1e-6)


def test_encoder_must_fit_the_points() -> None:
    with pytest.raises(TmiError, match="'pixels', which does not read texts"):
        encode(points("text").raw, "text", EncoderConfig(kind="pixels"))
    with pytest.raises(TmiError, match="'hashed-words', which does not read images"):
        encode(points("image").raw, "image", EncoderConfig(kind="hashed-words"))
