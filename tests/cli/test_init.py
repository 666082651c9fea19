"""`tmi init`: a configuration for what is there, which `tmi plan` accepts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from made.commands import refused, tmi
from tmi.cli.init import source_of
from tmi.config import Config, load_config
from tmi.data.split import load_task

RANDOM = np.random.default_rng(0)
WORDS = [f"word{number}" for number in range(50)]


def texts(number: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, 12)) for _ in range(number)]


def make(folder: Path, what: str) -> Path:
    path = folder / what
    if what == "images.npz":
        np.savez(path, inputs=RANDOM.integers(0, 256, (90, 3, 16, 16), dtype=np.uint8), labels=np.arange(90) % 3)
    elif what == "vectors.npz":
        np.savez(path, inputs=RANDOM.normal(size=(160, 5)).astype(np.float32), labels=np.arange(160) % 8)
    elif what == "texts.csv":
        rows = [f"{text},{'abcdefgh'[index % 8]}" for index, text in enumerate(texts(160, 1))]
        path.write_text("\n".join(["text,label", *rows]))
    elif what == "numbers.csv":
        path.write_text("\n".join(["a;b;target", *(f"{index / 7};{-index};{index % 2}" for index in range(90))]))
    elif what == "texts.jsonl":
        lines = [{"text": text, "label": index % 2} for index, text in enumerate(texts(90, 2))]
        path.write_text("\n".join(map(json.dumps, lines)))
    elif what == "table.parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"text": texts(90, 3), "label": ["x", "y", "z"] * 30}), path)
    elif what == "pictures":
        for split, number in (("train", 25), ("test", 15)):
            for name in ("cat", "dog"):
                (path / split / name).mkdir(parents=True)
                for index in range(number):
                    Image.fromarray(RANDOM.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
                        path / split / name / f"{index}.png"
                    )
    else:
        path.write_text("\n\n".join(texts(90, 4)))
    return path


# What it is, the kind of encoder and of network, points of pool and task.
KINDS: dict[str, tuple[str, str, int, int]] = {
    "images.npz": ("pixels", "cnn", 45, 45),
    "vectors.npz": ("pixels", "mlp", 80, 80),
    "texts.csv": ("hashed-words", "mlp", 80, 80),
    "numbers.csv": ("pixels", "mlp", 45, 45),
    "texts.jsonl": ("hashed-words", "mlp", 45, 45),
    "table.parquet": ("hashed-words", "mlp", 45, 45),
    "pictures": ("pixels", "mlp", 50, 30),
}


def written(path: Path) -> Config:
    """The configuration, with what makes it quick."""
    return load_config(str(path), {"models": 3, "compute.workers": 1})


@pytest.mark.parametrize("what", KINDS)
def test_what_is_there_is_looked_at_and_a_configuration_written(tmp_path: Path, what: str) -> None:
    make(tmp_path, what)
    name = f"{Path(what).stem}.toml"
    assert f"Wrote {name}. Next: tmi plan {name}" in tmi("init", what, cwd=tmp_path)
    config = written(tmp_path / name)
    task = load_task(config)
    encoder, network, pool, downstream = KINDS[what]
    assert (config.encoder.kind, config.model.kind) == (encoder, network)
    assert (len(task.pool), len(task.downstream)) == (pool, downstream)
    assert not {*task.pool.digests} & {*task.downstream.digests}
    # Every key with a comment reads as TOML, and the paths are as they were given.
    assert f':{what}"' in (tmp_path / name).read_text()


def test_what_was_written_is_accepted_by_plan(tmp_path: Path) -> None:
    make(tmp_path, "vectors.npz")
    tmi("init", "vectors.npz", "--models", "4", cwd=tmp_path)
    quick = ("--set", "pretrain.epochs=2", "--set", "compute.workers=1", "--attack", "gaussian")
    assert "can tell" in tmi("plan", "vectors.toml", *quick, cwd=tmp_path)


def test_texts_without_labels_need_a_task_and_make_a_language_model(tmp_path: Path) -> None:
    make(tmp_path, "plain.txt")
    make(tmp_path, "texts.jsonl")
    assert "plain.txt: has no labels to finetune for: name data that has some with --task DATA, or --write" in refused(
        "init", tmp_path / "plain.txt"
    )
    # Five texts are in both.
    with (tmp_path / "texts.jsonl").open("a") as file:
        file.writelines("\n" + json.dumps({"text": text, "label": 1}) for text in texts(90, 4)[:5])
    out = tmp_path / "mine.toml"
    tmi("init", tmp_path / "plain.txt", "--task", tmp_path / "texts.jsonl", "--out", out)
    config = written(out)
    assert (config.encoder.kind, config.pretrain.objective) == ("tokens", "causal")
    assert config.downstream.drop_shared
    assert load_task(config).left_out == 5


@pytest.mark.parametrize("task", [None, "texts.jsonl"])
def test_models_that_write_need_no_labels(tmp_path: Path, task: str | None) -> None:
    (tmp_path / "long.txt").write_text("\n\n".join(" ".join(texts(8, seed)) for seed in range(20)))
    make(tmp_path, "texts.jsonl")
    tmi("init", "long.txt", *(("--task", task) if task else ()), "--write", "--models", "3", cwd=tmp_path)
    config = written(tmp_path / "long.toml")
    assert (config.pretrain.objective, config.finetune.objective) == ("causal", "causal")
    # Passages of texts that are long, texts that are short as they are.
    assert config.pool.chunk_words == 32
    assert config.downstream.chunk_words == (None if task else 32)
    quick = ("pretrain.epochs=1", "finetune.epochs=1", "encoder.vocabulary=300", "compute.workers=1")
    words = [word for setting in quick for word in ("--set", setting)]
    tmi(
        "attack",
        "long.toml",
        "--attack",
        "loss",
        *words,
        "--set",
        "model.settings={hidden_size=16, num_attention_heads=2}",
        cwd=tmp_path,
    )
    assert json.loads((tmp_path / "runs/long/results.json").read_text())["view"] == "tokens"


def test_a_long_text_or_two_leave_the_others_whole(tmp_path: Path) -> None:
    (tmp_path / "mixed.txt").write_text("\n\n".join([*texts(90, 4), " ".join(texts(8, 5))]))
    tmi("init", "mixed.txt", "--write", cwd=tmp_path)
    config = load_config(tmp_path / "mixed.toml")
    assert (config.pool.chunk_words, config.pool.size) == (None, 45)


def test_nothing_is_overwritten_and_what_is_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "vectors.npz")
    make(tmp_path, "plain.txt")
    Path("vectors.toml").write_text("mine")
    assert "vectors.toml: is there already; --force replaces it" in refused("init", "vectors.npz")
    assert Path("vectors.toml").read_text() == "mine"
    tmi("init", "vectors.npz", "--force")
    assert "[pool]" in Path("vectors.toml").read_text()
    assert "no such file or folder; a data set of the hub is named as hf:a/b" in refused("init", "a/b")
    Path("x.pkl").touch()
    assert "expected a file that ends in .npz, .csv" in refused("init", "x.pkl")
    Path("empty").mkdir()
    assert "empty: expected CIFAR, folders of images" in refused("init", "empty")
    assert "expected a file that ends in .toml" in refused("init", "vectors.npz", "--out", "x.json")
    few = ("init", "vectors.npz", "--out", "y.toml", "--task")
    assert "plain.txt: has no labels" in refused(*few, "plain.txt")
    make(tmp_path, "texts.jsonl")
    assert "texts.jsonl: holds texts, vectors.npz vectors" in refused(*few, "texts.jsonl")
    assert "90 of its 90 points are those of texts.jsonl" in refused(
        "init", "texts.jsonl", "--task", "texts.jsonl", "--out", "y.toml"
    )
    assert "vectors.npz: holds vectors, and models --write texts" in refused(
        "init", "vectors.npz", "--write", "--out", "y.toml"
    )
    np.savez("few.npz", inputs=np.eye(9, dtype=np.float32), labels=np.arange(9) % 3)
    assert "few.npz: has 9 points, expected 40 or more" in refused("init", "few.npz")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert "DATA is missing" in refused("init")


def test_in_a_terminal_it_is_asked_for_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "vectors.npz")
    make(tmp_path, "plain.txt")
    answers = iter(["vectors.npz", "", 12, "mine.toml"])
    asked: list[str] = []

    def prompt(text: str, *_: Any, **__: Any) -> Any:
        asked.append(text)
        return next(answers)

    monkeypatch.setattr("click.prompt", prompt)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    tmi("init", cwd=tmp_path)
    assert len(asked) == 4
    assert load_config(str(tmp_path / "mine.toml")).models == 12
    # Of texts, whether models write: that is what can be done with them where they have no labels.
    answers = iter(["plain.txt", "", 12, "writer.toml"])
    monkeypatch.setattr("click.confirm", lambda text, default: asked.append(text) or default)
    tmi("init", cwd=tmp_path)
    assert asked[-1].startswith("Finetune models to write")
    assert load_config(str(tmp_path / "writer.toml")).finetune.objective == "causal"


def test_sources_are_named_from_where_the_configuration_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "vectors.npz")
    (tmp_path / "configurations").mkdir()
    monkeypatch.chdir(tmp_path)
    assert source_of("vectors.npz", Path()) == {"source": "npz:vectors.npz"}
    assert source_of("vectors.npz", Path("configurations")) == {"source": f"npz:{tmp_path / 'vectors.npz'}"}
    assert source_of("npz:vectors.npz", Path()) == {"source": "npz:vectors.npz"}
    assert source_of("hf:owner/name", Path()) == {"source": "hf:owner/name"}
    batches = Path("data/cifar-10-batches-bin")
    batches.mkdir(parents=True)
    for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
        (batches / name).touch()
    assert source_of("data", Path()) == {"source": "cifar10:data"}
    assert source_of(str(batches), Path()) == {"source": f"cifar10:{batches}"}
