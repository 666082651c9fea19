from __future__ import annotations

import math
import re
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tmi.config import EncoderConfig, QueryConfig
from tmi.data.encoding import encode, hashed_words
from tmi.data.points import Points, as_floats
from tmi.data.queries import drop_words, make_queries, shift
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
        ("text", QueryConfig(augmentation="flip-crop", count=2), "is for images; the points are texts"),
        ("image", QueryConfig(augmentation="truncation", count=2), "is for texts; the points are images"),
        ("text", QueryConfig(augmentation="word-masking", count=2, strength=1.5), "query.strength is 1.5, expected at"),
        (
            "text",
            QueryConfig(augmentation="truncation", count=2, strength=20),
            "query.strength is 20, expected at most",
        ),
        ("image", QueryConfig(count=2), "query.count is 2, expected 1"),
        ("image", QueryConfig(augmentation="flip-crop", count=3, strength=1.5), "query.strength is 1.5, expected a"),
        ("image", QueryConfig(augmentation="flip-crop", count=3, strength=6), "whole number of pixels below 6"),
    ],
)
def test_queries_that_do_not_fit(kind: Literal["image", "text"], query: QueryConfig, sentence: str) -> None:
    with pytest.raises(TmiError, match=sentence):
        make_queries(points(kind), query, seed=0)


@st.composite
def image_points(draw: st.DrawFn) -> tuple[Points, int, int]:
    """Images of any size, with or without channels, in bytes or floats; pixels of a crop; a seed."""
    height, width = draw(st.integers(2, 6)), draw(st.integers(2, 6))
    channels = draw(st.sampled_from([(), (1,), (3,)]))
    number, seed = draw(st.integers(1, 5)), draw(st.integers(0, 1000))
    images = np.random.default_rng(seed).integers(0, 256, (number, *channels, height, width), dtype=np.uint8)
    raw: NDArray[Any] = images if draw(st.booleans()) else images.astype(np.float32) / 255
    pixels = draw(st.integers(0, min(height, width) - 1))
    return Points(raw, np.zeros(number, dtype=np.int64), ("a",), "image"), pixels, seed


def crop_queries(points: Points, pixels: int, seed: int, count: int = 6) -> NDArray[Any]:
    return make_queries(points, QueryConfig(augmentation="flip-crop", count=count, strength=pixels), seed)


def _reflected(start: int, size: int) -> list[int]:
    """Where the pixels of a window come from that begins at ``start``: the border pixel itself is not repeated."""
    return [abs(place) if place < size else 2 * (size - 1) - place for place in range(start, start + size)]


def windows(image: NDArray[Any], pixels: int) -> set[bytes]:
    """All windows of an image padded by reflection, and their mirror images."""
    height, width = image.shape[-2:]
    found = set()
    for top in range(-pixels, pixels + 1):
        for left in range(-pixels, pixels + 1):
            rows, columns = _reflected(top, height), _reflected(left, width)
            cut = image[..., rows, :][..., columns]
            found |= {cut.tobytes(), cut[..., ::-1].tobytes()}
    return found


@settings(deadline=None, max_examples=60)
@given(image_points())
def test_flip_crop_asks_about_the_image_its_mirror_image_and_windows(drawn: tuple[Points, int, int]) -> None:
    points, pixels, seed = drawn
    queries = crop_queries(points, pixels, seed)
    assert queries.shape == (len(points), 6, *points.raw.shape[1:])
    assert queries.dtype == points.raw.dtype
    assert (queries[:, 0] == points.raw).all()
    assert (queries[:, 1] == points.raw[..., ::-1]).all()
    for image, own in zip(points.raw, queries, strict=True):
        allowed = windows(image, pixels)
        assert all(query.tobytes() in allowed for query in own)


@settings(deadline=None, max_examples=60)
@given(image_points(), st.randoms(use_true_random=False))
def test_flip_crop_of_a_point_depends_on_the_point_and_the_seed_alone(
    drawn: tuple[Points, int, int], random: Any
) -> None:
    points, pixels, seed = drawn
    queries = crop_queries(points, pixels, seed)
    # Any other points in any other order, fewer queries, another process: the same queries.
    order = np.array(random.choices(range(len(points)), k=4))
    assert (crop_queries(points.take(order), pixels, seed) == queries[order]).all()
    for count in (1, 2, 4):
        assert (crop_queries(points, pixels, seed, count) == queries[:, :count]).all()
    if points.raw.dtype == np.uint8:
        floats = Points(as_floats(points.raw), points.labels, points.class_names, "image")
        assert (crop_queries(floats, pixels, seed) == as_floats(queries)).all()


def test_flip_crop_draws_every_window_and_differs_between_points_seeds_and_purposes() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 5), dtype=np.uint8)
    both = Points(np.stack([image, image[::-1]]), np.zeros(2, dtype=np.int64), ("a",), "image")
    queries = crop_queries(both, 1, seed=0, count=400)
    assert {query.tobytes() for query in queries[0]} == windows(image, 1)
    assert len(windows(image, 1)) == 18
    # About half of them are mirrored, about one in nine is not moved.
    same = (queries[0] == image).all(axis=(1, 2, 3)) | (queries[0] == image[..., ::-1]).all(axis=(1, 2, 3))
    assert 25 < same.sum() < 70
    # The planes of the second image are those of the first in another order: other draws, not the same ones.
    assert not (queries[0] == queries[1, :, ::-1]).all()
    assert not (queries == crop_queries(both, 1, seed=1, count=400)).all()
    query = QueryConfig(augmentation="flip-crop", count=400, strength=1)
    assert not (queries == make_queries(both, query, 0, "reference queries")).all()


def text_points(texts: list[str]) -> Points:
    return Points(np.array(texts, dtype=object), np.zeros(len(texts), dtype=np.int64), ("a",), "text")


def text_queries(texts: list[str], augmentation: str, strength: float, seed: int, count: int = 6) -> NDArray[Any]:
    query = QueryConfig.model_validate({"augmentation": augmentation, "count": count, "strength": strength})
    return make_queries(text_points(texts), query, seed, mask_token="[M]")


words_and_spaces = st.text(st.sampled_from("abc \n\u00a0"), max_size=40).filter(str.strip)


@settings(deadline=None, max_examples=150)
@given(words_and_spaces, st.floats(0, 1), st.integers(0, 5))
def test_masking_replaces_words_and_leaves_all_else(text: str, strength: float, seed: int) -> None:
    own = text_queries([text], "word-masking", strength, seed)[0]
    assert own[0] == text
    for query in own[1:]:
        words = query.split()
        assert [old for old, new in zip(text.split(), words, strict=True) if new not in (old, "[M]")] == []
        assert words.count("[M]") < len(words)
        assert re.split(r"\S+", query) == re.split(r"\S+", text)
    without_token = make_queries(
        text_points([text]), QueryConfig(augmentation="word-masking", count=6, strength=strength), seed
    )
    assert [" ".join(w for w in query.split() if w != "[M]") for query in own[1:]] == without_token[0, 1:].tolist()


@settings(deadline=None, max_examples=150)
@given(words_and_spaces, st.floats(0, 1), st.integers(0, 5))
def test_truncation_cuts_at_most_its_share(text: str, strength: float, seed: int) -> None:
    own = text_queries([text], "truncation", strength, seed)[0]
    assert own[0] == text
    number = len(text.split())
    for query in own[1:]:
        assert text.startswith(query)
        left_out = number - len(query.split())
        assert query.split() == text.split()[: number - left_out]
        assert 0 <= left_out <= min(strength * number, number - 1)
        assert left_out > 0 or strength * number < 1 or number == 1


@settings(deadline=None, max_examples=40)
@given(st.lists(words_and_spaces, min_size=1, max_size=4), st.sampled_from(["word-masking", "truncation"]), st.data())
def test_variations_of_a_text_depend_on_the_text_and_the_seed_alone(
    texts: list[str], augmentation: str, data: st.DataObject
) -> None:
    queries = text_queries(texts, augmentation, 0.6, seed=3)
    order = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=5))
    assert (text_queries([texts[i] for i in order], augmentation, 0.6, seed=3) == queries[order]).all()
    for count in (1, 3):
        assert (text_queries(texts, augmentation, 0.6, seed=3, count=count) == queries[:, :count]).all()


def test_shares_of_masked_and_cut_words() -> None:
    text = " ".join(f"w{i}" for i in range(50))
    masked = text_queries([text], "word-masking", 0.3, seed=0, count=201)[0, 1:]
    shares = [query.split().count("[M]") / 50 for query in masked]
    assert 0.27 < np.mean(shares) < 0.33
    assert len(set(masked)) == 200
    lengths = [len(query.split()) for query in text_queries([text], "truncation", 0.2, seed=0, count=201)[0, 1:]]
    assert set(lengths) == set(range(40, 50))
    # Another seed or purpose, other draws.
    assert (masked != text_queries([text], "word-masking", 0.3, seed=1, count=201)[0, 1:]).all()
    query = QueryConfig(augmentation="word-masking", count=201, strength=0.3)
    other = make_queries(text_points([text]), query, 0, "reference queries", mask_token="[M]")
    assert (masked != other[0, 1:]).all()


def test_word_dropout_draws_what_it_always_drew() -> None:
    dropped = text_queries([f"a{i} b c d e f g h" for i in range(3)], "word-dropout", 0.4, seed=7, count=3)
    assert dropped[:, 1:].tolist() == [["a0 b c f g", "c e"], ["d f g", "d e f"], ["a2 b c d h", "g"]]


def test_shift_of_bytes_is_that_of_floats_and_other_queries_stay_bytes() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 6, 6), dtype=np.uint8)
    in_bytes = Points(images, np.arange(4), ("a", "b", "c", "d"), "image")
    in_floats = Points(images.astype(np.float32) / 255, np.arange(4), ("a", "b", "c", "d"), "image")
    query = QueryConfig(augmentation="shift", count=3, strength=0.25)
    shifted = make_queries(in_bytes, query, 0)
    assert shifted.dtype == np.float32
    assert (shifted == make_queries(in_floats, query, 0)).all()
    assert shifted.max() <= 1
    assert make_queries(in_bytes, QueryConfig(), 0).dtype == np.uint8


def test_pixels_in_bytes_are_encoded_without_a_copy() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 6, 6), dtype=np.uint8)
    encoded = encode(images, "image", EncoderConfig(kind="pixels"))
    assert encoded.dtype == np.uint8
    assert np.shares_memory(encoded, images)
    assert encode(images.astype(np.float64), "image", EncoderConfig(kind="pixels")).dtype == np.float32


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


@pytest.mark.parametrize("query", [{"augmentation": "shift", "strength": 1.0}, {"augmentation": "flip-crop"}])
def test_queries_that_there_is_no_memory_for(query: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmi.system.memory.total_memory", lambda: 1 << 20)
    make_queries(points("image"), QueryConfig(count=9, **query), seed=0)
    with pytest.raises(TmiError, match=r"query\.count is 1000, which for 4 points takes 576,000 bytes of memory"):
        make_queries(points("image"), QueryConfig(count=1000, **query), seed=0)


def test_lower_case_varies_a_text_in_one_way() -> None:
    assert text_queries(["Ab C", "d"], "lower-case", 0.0, seed=0, count=2).tolist() == [["Ab C", "ab c"], ["d", "d"]]
    with pytest.raises(TmiError, match=r"query\.count is 3, expected 2 with query\.augmentation 'lower-case'"):
        text_queries(["Ab"], "lower-case", 0.0, seed=0, count=3)
