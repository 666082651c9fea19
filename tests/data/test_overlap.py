from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmi.data.overlap import WordRuns

texts = st.lists(st.lists(st.sampled_from(["a", "b", "B", "c", "ß", "SS"]), max_size=8).map(" ".join), max_size=6)


def runs_of(text: str, words: int) -> set[tuple[str, ...]]:
    found = text.casefold().split()
    return {tuple(found[start : start + words]) for start in range(len(found) - words + 1)}


@settings(max_examples=300)
@given(texts, texts, st.integers(1, 5))
def test_runs_are_found_as_by_comparing_all_pairs(first: list[str], second: list[str], words: int) -> None:
    runs = [runs_of(text, words) for text in first]
    others = set[tuple[str, ...]]().union(*(runs_of(text, words) for text in second))
    own, other = WordRuns.of(first, words), WordRuns.of(second, words)
    in_several = [any(a & b for j, b in enumerate(runs) if j != i) for i, a in enumerate(runs)]
    assert own.in_several().tolist() == in_several
    assert own.also_in(other).tolist() == [bool(a & others) for a in runs]


def test_the_order_of_words_and_white_space() -> None:
    runs = WordRuns.of(["one two three four", "x One  TWO\nthree", "three two one", "two one three", "one"], 3)
    assert runs.in_several().tolist() == [True, True, False, False, False]
    assert WordRuns.of(["a b a b a b"], 2).in_several().tolist() == [False]
    # Words that differ in one letter, at either end of a run.
    texts = [" ".join(["w"] * 20 + [f"v{i}"]) for i in range(50)]
    assert not WordRuns.of(texts, 21).in_several().any()
    assert WordRuns.of(texts, 20).in_several().all()


def test_many_long_texts_take_seconds() -> None:
    random = np.random.default_rng(0)
    vocabulary = np.array([f"word{i}" for i in range(5000)])
    texts = [" ".join(vocabulary[random.integers(0, 5000, 500)]) for _ in range(1200)]
    texts[7] = "prefix " + texts[900][: len(texts[900]) // 2]
    start = time.perf_counter()
    found = WordRuns.of(texts, 13).in_several()
    # Half a second here; comparing all pairs would take an hour.
    assert time.perf_counter() - start < 60
    assert np.flatnonzero(found).tolist() == [7, 900]


@pytest.mark.slow
def test_real_articles_overlap_as_by_sets(shared: Path, tmp_path: Path) -> None:
    import subprocess
    import sys
    from collections import Counter

    unpack = shared / "data" / "unpack.py"
    subprocess.run([sys.executable, unpack, tmp_path, "wikipedia"], check=True, capture_output=True)
    lines = (tmp_path / "wikipedia_en.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    runs = [runs_of(text, 13) for text in texts]
    owners = Counter(run for found in runs for run in found)
    expected = [any(owners[run] > 1 for run in found) for found in runs]
    assert WordRuns.of(texts, 13).in_several().tolist() == expected
    assert sum(expected) > 100
