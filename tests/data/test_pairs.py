"""Prompts and responses, whatever the source that has them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tmi.config import Config, DownstreamConfig
from tmi.data.points import Points
from tmi.data.sources import load_points
from tmi.data.split import load_task
from tmi.errors import TmiError

PROMPTS = ["Who rowed?", "Who sang: ", "And then?"]
RESPONSES = ["The miller.", "Anna", "\nNothing."]
TEXTS = ["Who rowed?\nThe miller.", "Who sang: Anna", "And then?\nNothing."]


def write_jsonl(path: Path) -> None:
    pairs = zip(PROMPTS, RESPONSES, strict=True)
    path.write_text("".join(json.dumps({"question": prompt, "target": answer}) + "\n" for prompt, answer in pairs))


def write_csv(path: Path) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("question", "target"), *zip(PROMPTS, RESPONSES, strict=True)])


def write_npz(path: Path) -> None:
    np.savez(path, question=PROMPTS, target=RESPONSES, labels=[0, 0, 1])


def write_parquet(path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"question": PROMPTS, "target": RESPONSES}), path)


def load(source: str, response: str = "target") -> Points:
    return load_points(DownstreamConfig(source=source, inputs="question", response=response))


@pytest.mark.parametrize("write", [write_jsonl, write_csv, write_npz, write_parquet])
def test_a_response_follows_its_prompt(write: Callable[[Path], None], tmp_path: Path) -> None:
    kind = write.__name__.removeprefix("write_")
    path = tmp_path / f"pairs.{kind}"
    write(path)
    found = load(f"{kind}:{path}")
    assert found.raw.tolist() == TEXTS
    assert found.prompts is not None
    assert found.prompts.tolist() == [11, 10, 9]
    responses = [text[prompt:] for text, prompt in zip(found.raw, found.prompts, strict=True)]
    assert responses == RESPONSES
    last = found.take(np.array([2]))
    assert last.prompts is not None
    assert last.prompts.tolist() == [9]
    # Where a response begins is part of what is learned.
    assert load(f"{kind}:{path}", "question").fingerprint != found.fingerprint
    moved = Points(found.raw, found.labels, found.class_names, "text", prompts=found.prompts - 1)
    assert moved.fingerprint != found.fingerprint


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"question": "Who?"}, "line 2: expected an object with a string 'target'"),
        ({"question": "Who?", "target": " "}, "line 2: the text is empty"),
        ({"question": "Who?", "target": 3}, "line 2: expected an object with a string 'target'"),
    ],
)
def test_a_line_without_a_response_is_named(record: dict[str, object], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"question": "Where?", "target": "Here."}) + "\n" + json.dumps(record))
    with pytest.raises(TmiError) as error:
        load(f"jsonl:{path}")
    assert str(error.value).startswith(f"downstream.response is 'target': {path}, ")
    assert sentence in str(error.value)


def test_a_column_that_is_not_there_and_sources_without_columns(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    write_csv(path)
    with pytest.raises(TmiError, match=r"response is 'targt': .*no such column .did you mean 'target'"):
        load(f"csv:{path}", "targt")
    np.savez(tmp_path / "a.npz", question=PROMPTS, target=np.zeros((3, 2)), labels=[0, 0, 1])
    with pytest.raises(TmiError, match=r"response is 'target': .*vectors, expected texts"):
        load(f"npz:{tmp_path / 'a.npz'}")
    with pytest.raises(TmiError, match="response is 'x', but text has no response"):
        load_points(DownstreamConfig(source=f"text:{path}", response="x"))


@pytest.mark.parametrize("part", ["question", "target"])
def test_no_part_of_a_pair_is_in_the_pool(part: str, tmp_path: Path) -> None:
    pairs = [{"question": f"What is {each}?", "target": f"It is number {each}."} for each in range(40)]
    for name in ("pairs", "copy"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    source = {"source": f"jsonl:{tmp_path / 'pairs.jsonl'}"}
    recipe = {"objective": "causal", "learning_rate": 0.01, "epochs": 1, "batch_size": 4}
    document: dict[str, Any] = {
        "name": "pairs",
        "models": 3,
        # Without overlap_words, the same texts alone and with responses are refused.
        "pool": source | {"inputs": part, "size": 15, "overlap_words": 99},
        "downstream": source | {"inputs": "question", "response": "target"},
        "encoder": {"kind": "tokens", "vocabulary": 300},
        "model": {"kind": "transformers", "architecture": "gpt2-mini"},
        "pretrain": recipe,
        "finetune": recipe,
    }
    task = load_task(Config.model_validate(document))
    assert (len(task.pool), len(task.downstream), task.left_out) == (15, 25, 15)
    assert not any(known in pair for known in task.pool.raw for pair in task.downstream.raw)
    document["downstream"]["source"] = f"jsonl:{tmp_path / 'copy.jsonl'}"
    with pytest.raises(TmiError, match=r"has 15 points in common with the pool"):
        load_task(Config.model_validate(document))
