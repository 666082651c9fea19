"""What is sent to an endpoint and how its answers are read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made.endpoint import Server, expected, logits_of, query, target, well
from tmi.errors import TmiError
from tmi.targets.rendering import as_json


def test_batches_have_a_list_of_points(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (200, {}, json.dumps([{"s": logits_of(text)} for text in body["inputs"]]))
    config = target(server, body='{"inputs": ${inputs}}', batch_size=3, scores="*.s")
    np.testing.assert_array_equal(query(config, tmp_path), expected())
    assert [len(body["inputs"]) for body in server.asked] == [3, 3, 2]


def test_named_scores_are_put_in_order(server: Server, tmp_path: Path) -> None:
    def sorted_by_score(number: int, body: Any) -> tuple[int, dict[str, str], str]:
        pairs = zip(("anger", "joy", "fear"), logits_of(body["inputs"]), strict=True)
        ranked = sorted(pairs, key=lambda pair: -pair[1])
        return 200, {}, json.dumps([[{"label": name, "score": score} for name, score in ranked]])

    server.answer = sorted_by_score
    classes = ["anger", "joy", "fear"]
    config = target(server, scores="0.*.score", names="0.*.label", classes=classes)
    np.testing.assert_array_equal(query(config, tmp_path), expected())
    wrong = target(server, scores="0.*.score", names="0.*.label", classes=["anger", "joy", "awe"])
    with pytest.raises(TmiError, match=r"the answer has the class 'fear', expected exactly those of target.classes"):
        query(wrong, tmp_path)
    named = target(server, scores="all", classes=classes)
    server.answer = lambda number, body: (
        200,
        {},
        json.dumps({"all": dict(reversed(list(zip(classes, logits_of(body["inputs"]), strict=True))))}),
    )
    np.testing.assert_array_equal(query(named, tmp_path), expected())


def test_labels_are_seen_as_the_view_shows_them(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (200, {}, '{"label": "joy"}')
    config = target(server, scores="label", classes=["anger", "joy"], meaning="label")
    answers = query(config, tmp_path, classes=2)
    np.testing.assert_allclose(answers, np.broadcast_to(np.log(np.float32([0.001, 1])), (4, 2, 2)), rtol=1e-6)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("<html>", "the answer: not JSON: JSONDecodeError: Expecting value: line 1 column 1 (char 0): <html>"),
        ("[" * 100_000, "the answer: its JSON is nested more than 100 deep"),
        ("[" * 200 + "]" * 200, "nested more than 100 deep"),
        ('{"scores": [1, 2]}', "the answer has 2 numbers for a point, expected 3, one per class"),
        ('{"scores": [1, 2, NaN]}', "an answer has NaN in it"),
        ('{"scores": [1, 2, Infinity]}', "an answer has an infinite logit in it"),
        ('{"scores": [1, 2, null]}', "target.scores leads to null, expected a number"),
        ('{"scores": [1, 2, "3"]}', "target.scores leads to 3, expected a number"),
        ('{"scores": [1, 2, true]}', "target.scores leads to true, expected a number"),
        ('{"scores": [1, 2, 1' + "0" * 400 + "]}", "a number of 401 digits"),
        ('{"scores": {"a": 1, "b": 2, "c": 3}}', "needs target.classes"),
        ('{"score": [1, 2, 3]}', "target.scores 'scores': the answer has no 'scores' in {"),
        ("[" + " " * 9_000_000 + "]", "the answer is larger than 8 MB"),
    ],
)
def test_an_answer_that_cannot_be_used_ends_it_but_what_came_before_is_kept(
    server: Server, tmp_path: Path, answer: str, problem: str
) -> None:
    server.answer = lambda number, body: (200, {}, answer) if number == 4 else well(number, body)
    with pytest.raises(TmiError, match=re.escape(problem)) as caught:
        query(target(server), tmp_path)
    assert len(server.asked) == 4
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(query(target(server), tmp_path), expected())
    assert len(server.asked) == 4 + 5


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([0.5, 0.4, 0.4], "add up to 1.3, expected 1"),
        ([50, 30, 20], "the probability 50, expected 0 to 1"),
        ([-0.1, 0.6, 0.5], "the probability -0.1, expected 0 to 1"),
    ],
)
def test_probabilities_are_probabilities(server: Server, tmp_path: Path, values: list[float], problem: str) -> None:
    server.answer = lambda number, body: (200, {}, json.dumps({"scores": values}))
    with pytest.raises(TmiError, match=problem):
        query(target(server, meaning="probabilities"), tmp_path)


def test_a_batch_of_another_length(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (200, {}, "[[1, 2, 3]]")
    with pytest.raises(TmiError, match=re.escape("has 1 entries at the first *, expected 2, one per point sent")):
        query(target(server, body='{"inputs": ${inputs}}', batch_size=2, scores="*.*"), tmp_path)


def test_a_point_that_looks_like_a_template_is_sent_as_it_is(server: Server, tmp_path: Path) -> None:
    texts = np.array([['${MY_TOKEN} ${input} "quoted" \\1 é\ud800']], dtype=object)
    query(target(server), tmp_path, texts)
    assert server.asked[0]["inputs"] == texts[0, 0]


def test_images_are_sent_as_png_or_lists(server: Server, tmp_path: Path) -> None:
    import base64
    import io

    from PIL import Image

    images = np.random.default_rng(0).integers(0, 256, (2, 2, 3, 4, 5), dtype=np.uint8)
    server.answer = lambda number, body: (200, {}, '{"scores": [0, 1, 2]}')
    query(target(server), tmp_path, images, "image")
    sent = np.array(Image.open(io.BytesIO(base64.b64decode(server.asked[0]["inputs"]))))
    np.testing.assert_array_equal(sent.transpose(2, 0, 1), images[0, 0])
    query(target(server, image="list"), tmp_path, images, "image")
    np.testing.assert_array_equal(server.asked[4]["inputs"], images[0, 0])
    grey = np.float32([[[0, 1], [0.5, 0.25]]])
    assert json.loads(as_json(grey[0], "image", "list")) == [[0, 1], [0.5, 0.25]]
    picture = Image.open(io.BytesIO(base64.b64decode(json.loads(as_json(grey[0], "image", "png")))))
    np.testing.assert_array_equal(np.array(picture), [[0, 255], [128, 64]])


def test_vectors_are_sent_as_lists(server: Server, tmp_path: Path) -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    server.answer = lambda number, body: (200, {}, json.dumps({"scores": body["inputs"]}))
    np.testing.assert_array_equal(query(target(server), tmp_path, vectors, "vector"), vectors)
