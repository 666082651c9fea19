from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tmi.config import Config
from tmi.data.split import Task, load_task
from tmi.errors import TmiError

Load = Callable[..., Task]


def distinct(number: int, seed: int, words: int = 12) -> list[str]:
    """Texts that have no word in common."""
    return [" ".join(f"s{seed}t{text}w{word}" for word in range(words)) for text in range(number)]


def run_of(text: str, words: int) -> set[tuple[str, ...]]:
    found = text.lower().split()
    return {tuple(found[start : start + words]) for start in range(len(found) - words + 1)}


def written(path: Path, texts: list[str], labels: bool) -> str:
    records = [{"text": text} | ({"label": "ab"[index % 2]} if labels else {}) for index, text in enumerate(texts)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return f"jsonl:{path}"


@pytest.fixture
def load(tiny: Callable[..., Config], tmp_path: Path) -> Load:
    """Load the task of a pool of texts and a downstream task of others, or of the same source."""

    def load(pool: list[str], downstream: list[str] | None = None, labels: bool = True, **changes: Any) -> Task:
        document = tiny("pydoc").model_dump(exclude_none=True)
        source = written(tmp_path / "pool.jsonl", pool, labels)
        other = source if downstream is None else written(tmp_path / "downstream.jsonl", downstream, True)
        document["pool"] = {"source": source}
        document["downstream"] = {"source": other}
        for key, value in changes.items():
            table, _, name = key.partition("__")
            document[table][name] = value
        return load_task(Config.model_validate(document))

    return load


def test_texts_that_overlap_count_as_duplicates(load: Load) -> None:
    pool, downstream = distinct(20, seed=0), distinct(30, seed=1)
    shared = pool[3].split()
    # Five words in a row, at another place and in upper case; four words in a row; all words in another order.
    pool[7] = " ".join([*pool[7].split()[:4], *shared[2:7]]).upper()
    pool[8] = " ".join([*shared[:4], *pool[8].split()])
    pool[9] = " ".join(shared[::-1])
    downstream[5] = " ".join([*downstream[5].split(), *shared[-5:]])
    downstream[6] = " ".join([*downstream[6].split(), *shared[-4:]])

    task = load(pool, downstream, pool__overlap_words=5)
    assert task.duplicates == 2
    assert set(task.challenges.raw) == {text for index, text in enumerate(pool) if index not in (3, 7)}
    assert task.left_out == 1
    assert set(task.downstream.raw) == {text for index, text in enumerate(downstream) if index != 5}
    for words, counts in ((4, (3, 2)), (6, (0, 0)), (0, (0, 0))):
        task = load(pool, downstream, pool__overlap_words=words)
        assert (task.duplicates, task.left_out) == counts
    with pytest.raises(TmiError, match="has only 18 points that are no duplicates"):
        load(pool, downstream, pool__overlap_words=5, pool__challenge_points=19)
    with pytest.raises(TmiError, match="all points of the pool but 1 are duplicates, which are not attacked"):
        load([*pool[:1] * 19, pool[1]], downstream)
    with pytest.raises(TmiError, match=r"downstream.size is 30, but its source has only 29 points"):
        load(pool, downstream, pool__overlap_words=5, downstream__size=30)
    # Equal points of two sources are refused all the same.
    downstream[9] = pool[4]
    with pytest.raises(TmiError, match="has 1 points in common with the pool"):
        load(pool, downstream, pool__overlap_words=5)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 59), min_size=1, max_size=12), st.integers(0, 9))
def test_texts_of_one_source_that_overlap_with_the_pool_are_left_out(load: Load, copied: list[int], seed: int) -> None:
    texts = distinct(60, seed=0)
    for index in copied:
        texts[index] += " " + " ".join(texts[(7 * index + 1) % 60].split()[:6])
    texts[11] = texts[12]
    task = load(texts, pool__size=24, pool__overlap_words=6)
    in_pool = set(task.pool.raw)
    runs = set[tuple[str, ...]]().union(*(run_of(text, 6) for text in in_pool))
    outside = [text for text in texts if text not in in_pool]
    expected = [text for text in outside if not run_of(text, 6) & runs]
    assert sorted(task.downstream.raw) == sorted(expected)
    assert task.left_out == 60 - 24 - len(expected)
    assert len(task.challenges) + task.duplicates == 24
    for text in task.challenges.raw:
        assert not any(run_of(text, 6) & run_of(other, 6) for other in task.pool.raw if other is not text)


def test_pieces_for_pool_and_downstream(load: Load) -> None:
    texts = distinct(20, seed=0, words=13)
    cut = {"pool__chunk_words": 4, "downstream__chunk_words": 4}
    task = load(texts, pool__size=30, **cut)
    assert len(task.downstream) == 3 * 20 - 30
    assert all(len(text.split()) == 4 for text in (*task.pool.raw, *task.downstream.raw))
    assert not set(task.pool.raw) & set(task.downstream.raw)
    assert len(load(texts, distinct(10, seed=1, words=8), **cut).downstream) == 20

    # The same words in pieces of another size would be finetuned on.
    other = {"pool__chunk_words": 4, "downstream__chunk_words": 3}
    with pytest.raises(TmiError, match=r"downstream.chunk_words is 3, but the pool of the same source has 4"):
        load(texts, pool__size=30, **other)
    task = load(texts, pool__size=30, pool__overlap_words=2, **other)
    words_of_pool = {word for text in task.pool.raw for word in text.split()}
    assert 0 < len(task.downstream) < 80 - 30
    assert max(len(words_of_pool & set(text.split())) for text in task.downstream.raw) < 2
    assert task.left_out == 80 - len(task.downstream)
    # Other sources may be cut in other ways.
    assert len(load(texts, distinct(10, seed=1), **other).downstream) == 40


def test_a_pool_without_labels_is_for_language_models(load: Load) -> None:
    pool, downstream = distinct(20, seed=0), distinct(30, seed=1)
    with pytest.raises(TmiError) as error:
        load(pool, downstream, labels=False)
    sentence = str(error.value)
    assert "has the single class 'unlabelled', but pretrain.objective is 'classification'" in sentence
    assert "pretrain.objective to 'causal' or 'masked', or take a source with labels" in sentence
    with pytest.raises(TmiError, match="has the single class 'a', but"):
        load(pool, downstream, pool__classes=["a"])
    tokens = {"encoder__kind": "tokens", "model__kind": "transformers", "model__architecture": "gpt2"}
    language = tokens | {"pretrain__objective": "causal"}
    without_hidden = {"model__hidden": [128, 128]}
    task = load(pool, downstream, labels=False, **language, **without_hidden)
    assert (task.pool.class_names, task.downstream.class_names) == (("unlabelled",), ("a", "b"))
    # A downstream task needs classes whatever was pretrained.
    with pytest.raises(TmiError, match="the downstream task has the single class 'unlabelled', expected two or more"):
        load(pool, labels=False, pool__size=10, **language, **without_hidden)
    with pytest.raises(TmiError, match="the downstream task has the single class 'a/b', expected two or more"):
        load(pool, downstream, downstream__relabel=[0, 0])


def test_a_downstream_task_of_no_classes_is_refused(load: Load) -> None:
    with pytest.raises(TmiError, match="the downstream task has no classes"):
        load(distinct(20, seed=0), pool__size=10, downstream__classes="others")


def test_overlap_is_for_texts(tiny: Callable[..., Config]) -> None:
    with pytest.raises(TmiError, match=r"pool.overlap_words is 3, which is for texts; the pool holds images"):
        load_task(tiny(pool__overlap_words=3))


def test_real_texts_overlap(load: Load) -> None:
    from tmi.data.sources import load_points

    texts = [str(text) for text in load_points("pydoc:topics").raw]
    task = load(texts, pool__size=400, pool__overlap_words=8)
    runs = [run_of(text, 8) for text in task.pool.raw]
    expected = [any(a & b for j, b in enumerate(runs) if i != j) for i, a in enumerate(runs)]
    assert task.duplicates == sum(expected)
    assert not np.array(expected)[task.challenge_points].any()
