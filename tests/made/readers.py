"""Small folders of valid files of every kind that others make, and what reads them; see `made.fuzz`."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save

from made.commands import tmi
from made.mutations import npy_bytes
from tmi.attacks.checks import check_arrays
from tmi.config import SourceConfig, load_any_config, load_config, preset_text
from tmi.config.target import TargetConfig
from tmi.data import split
from tmi.data.sources import load_points
from tmi.data.tokens import load_tokenizer, train_tokenizer
from tmi.predictions.formats import read_saved, read_target
from tmi.predictions.formats.files import read_array, read_ids
from tmi.predictions.intake import as_labels, as_non_members, as_pretraining_labels
from tmi.report.results import Results
from tmi.runs.directory import RunDirectory
from tmi.runs.finished import read_run
from tmi.shadows.artefacts import Artefacts
from tmi.system.files import parse_json, read_text, sidecar
from tmi.targets.cache import Answers
from tmi.targets.endpoint import seconds_to_wait
from tmi.targets.responses import numbers_of
from tmi.targets.saved import load_predictions
from tmi.targets.secrets import Secrets

Files = dict[str, bytes]
# As the arguments of `made.fuzz.Target`.
Reader = tuple[str, Files, Callable[[Path, str], object], Mapping[str, str], bool]

MODELS, POINTS, QUERIES, CLASSES = 5, 12, 2, 3
random = np.random.default_rng(0)
LOGITS = random.normal(size=(MODELS, POINTS, QUERIES, CLASSES)).astype(np.float32)
MEMBERSHIP = random.random((MODELS, POINTS)).argsort(axis=1) < POINTS // 2
LABELS = np.arange(POINTS) % CLASSES
IDS = [f"point {index}" for index in range(POINTS)]
TEXTS = [f"a text of {index} words, no more" for index in range(POINTS)]


def readers(folder: Path) -> Iterator[Reader]:
    """All of them; ``folder`` is for files that only a command makes."""
    for name, files, read in (*_saved(), *_sources(), *_others(folder)):
        yield name, files, read, {}, name == "configurations"
    yield _run(folder)


def arrays(**named: Any) -> Files:
    """Arrays as ``.npy`` files; a double underscore stands for a folder."""
    return {f"{name.replace('__', '/')}.npy": npy_bytes(array) for name, array in named.items()}


def archive(**named: Any) -> bytes:
    """Arrays as the content of a ``.npz`` file."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **named)
    return stream.getvalue()


def csv_bytes(**columns: Any) -> bytes:
    """Columns as the content of a ``.csv`` file."""
    rows = zip(*columns.values(), strict=True)
    return "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]).encode() + b"\n"


def parquet_bytes(**columns: Any) -> bytes:
    """Columns as the content of a ``.parquet`` file."""
    import pyarrow
    from pyarrow import parquet

    stream = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), stream)
    return stream.getvalue()


def image_bytes(size: int = 6, kind: str = "png", seed: int = 0) -> bytes:
    """A picture of noise."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, format={"jpg": "jpeg", "tif": "tiff"}.get(kind, kind))
    return stream.getvalue()


def _checked(path: Path, membership: Path | None = None, layout: str | None = None) -> None:
    """What `tmi check` does."""
    found = read_saved(path, membership, None, layout)
    check_arrays(
        found.models, found.membership, found.labels, found.target, pretraining_labels=found.pretraining_labels
    )


def _saved() -> Iterator[tuple[str, Files, Callable[[Path, str], object]]]:
    """Saved predictions of every layout."""
    own = {"predictions": LOGITS, "membership": MEMBERSHIP, "labels": LABELS}
    labelled = {"pretraining_labels": LABELS * 7, "target": LOGITS[0]}
    yield "tmi, files", arrays(**own, **labelled), lambda folder, name: _checked(folder)
    packed = {
        "a.npz": archive(**own, **labelled),
        "a.safetensors": save({k: np.ascontiguousarray(v) for k, v in own.items()}),
    }
    yield "tmi, archives", packed, lambda folder, name: _checked(folder / name)
    numbered = {
        f"{part}__{model:03d}": LOGITS[model]
        for part in ("predictions", "reference_predictions")
        for model in range(MODELS)
    }
    beside = {"membership": MEMBERSHIP, "reference_membership": MEMBERSHIP, "reference_labels": LABELS}
    yield "tmi, a run", arrays(**numbered, **beside), lambda folder, name: _checked(folder)
    experiments = {
        f"experiment-{m}_5__{part}": array
        for m in range(MODELS)
        for part, array in (
            ("keep", MEMBERSHIP[m]),
            ("logits__0000000100", LOGITS[m][:, None]),
            ("scores__0000000100", LOGITS[m, ..., 0]),
        )
    }
    yield (
        "tensorflow-privacy",
        arrays(**experiments, y_train=LABELS),
        lambda folder, name: _checked(folder, layout="tensorflow-privacy"),
    )
    folders = {
        f"{m}__{part}": array
        for m in range(MODELS)
        for part, array in (
            ("keep", MEMBERSHIP[m]),
            ("logits", LOGITS[m]),
            ("scores", LOGITS[m, ..., 0].astype(np.float64)),
        )
    }
    yield "lira-pytorch", arrays(**folders), lambda folder, name: _checked(folder)
    signals = 1 / (1 + np.exp(-LOGITS[:, :, 0, 0].T))
    yield (
        "privacy-meter",
        arrays(models__memberships=MEMBERSHIP, signals__rmia_signals=signals),
        lambda folder, name: _checked(folder, layout="privacy-meter"),
    )
    cache = {
        f"sm_{m}_7f3a_{part}": array
        for m in range(MODELS)
        for part, array in (("logits", LOGITS[m, :, 0]), ("indices", np.arange(POINTS)))
    }
    cache |= {"target_09c1_logits": LOGITS[0, :, 0], "target_09c1_indices": np.arange(POINTS)[::-1], "labels": LABELS}
    leakpro = arrays(**{f"attack_cache__{name}": array for name, array in cache.items()}, mask=MEMBERSHIP)
    yield "leakpro", leakpro, lambda folder, name: _checked(folder, folder / "mask.npy", "leakpro")
    pets = arrays(target_point_logits=LOGITS.swapaxes(0, 1), mask=MEMBERSHIP.T.astype(np.float64))
    yield "tmi-pets24", pets, lambda folder, name: _checked(folder)
    columns: dict[str, Any] = {"user_id": IDS, "score_orig": LOGITS[0, :, 0, 0]}
    for model in range(MODELS):
        columns |= {f"score_ref_{model}": LOGITS[model, :, 0, 0], f"member_ref_{model}": MEMBERSHIP[model]}
    frames = {
        f"{part}.{suffix}": write(**columns)
        for part in ("train", "test")
        for suffix, write in (("csv", csv_bytes), ("parquet", parquet_bytes))
    }
    for suffix in ("csv", "parquet"):
        chosen = {name: content for name, content in frames.items() if name.endswith(suffix)}
        yield f"privacyguard, {suffix}", chosen, lambda folder, name: _checked(folder)
    yield "a target", arrays(target=LOGITS[0], labels=LABELS), _read_target
    named = arrays(ids=np.arange(POINTS), labels=LABELS, non_members=MEMBERSHIP[0]) | {
        "ids.txt": "\n".join(IDS).encode(),
        "b.npz": archive(ids=IDS, labels=LABELS),
    }
    yield "labels and ids", named, _read_labels


def _read_target(folder: Path, name: str) -> None:
    path = folder / name
    if name == "target.npy":
        read_target(path)
        load_predictions(path, POINTS, QUERIES, CLASSES, "target")
    else:
        load_predictions(path, POINTS, 1, 1, "target")


def _read_labels(folder: Path, name: str) -> None:
    path = folder / name
    if "ids" in name:
        read_ids(path, POINTS)
    elif "non" in name:
        as_non_members(read_array(path, ["non_members"]), POINTS, str(path))
    else:
        as_labels(read_array(path, ["labels"]), POINTS, str(path))
        as_pretraining_labels(read_array(path, ["labels"]), POINTS, str(path))


def _sources() -> Iterator[tuple[str, Files, Callable[[Path, str], object]]]:
    """Points, of every source that reads files."""

    def load(kind: str, **options: Any) -> Callable[[Path, str], object]:
        return lambda folder, name: load_points(SourceConfig(source=f"{kind}:{folder / name}", **options))

    def load_all(kind: str, **options: Any) -> Callable[[Path, str], object]:
        return lambda folder, name: load_points(SourceConfig(source=f"{kind}:{folder}", **options))

    pixels = random.integers(0, 256, (POINTS, 4, 4), dtype=np.uint8)
    npz = {
        "a.npz": archive(inputs=pixels, labels=LABELS, class_names=["a", "b", "c"], ids=IDS),
        "b.npz": archive(inputs=LOGITS[0, :, 0], labels=LABELS),
        "c.npz": archive(inputs=TEXTS, labels=IDS),
    }
    yield "npz:", npz, load("npz")
    vectors = {f"x{index}": LOGITS[0, :, 0, index] for index in range(CLASSES)}
    tables = {"a.csv": csv_bytes(text=IDS, label=LABELS), "b.csv": csv_bytes(**vectors, label=IDS)}
    yield "csv:", tables, load("csv")
    records = [
        json.dumps({"text": text, "label": int(label), "name": name}).encode()
        for text, label, name in zip(TEXTS, LABELS, IDS, strict=True)
    ]
    yield "jsonl:", {"a.jsonl": b"\n".join(records)}, load("jsonl")
    yield (
        "text:",
        {"a.txt": "\n\n".join(TEXTS).encode(), "b.txt": TEXTS[0].encode()},
        lambda folder, name: (
            load("text", chunk_words=2)(folder, name),
            load_all("text", words_only=True)(folder, name),
        ),
    )
    pictures = [{"bytes": image_bytes(seed=seed), "path": None} for seed in range(POINTS)]
    parquet = {
        "a.parquet": parquet_bytes(text=TEXTS, label=LABELS),
        "b.parquet": parquet_bytes(image=pictures, label=IDS),
        "c.parquet": parquet_bytes(vector=LOGITS[0, :, 0].tolist(), label=LABELS),
    }
    yield "parquet:", parquet, load("parquet")
    kinds = ("png", "bmp", "gif", "jpg", "ppm", "tif", "webp")
    for kind in kinds:
        images = {f"{label}/{seed}.{kind}": image_bytes(kind=kind, seed=seed) for seed, label in enumerate("ab")}
        yield f"imagefolder: of {kind}", images, load_all("imagefolder")
    batches = [f"data_batch_{number}" for number in range(1, 6)]
    data = random.integers(0, 256, (2, 3072), dtype=np.uint8)
    of_python = {
        name: _pickled(protocol, data=data, labels=[3, 7], filenames=[b"a.png", b"b.png"])
        for protocol, name in zip((2, 2, 2, 3, 4, 2), [*batches, "test_batch"], strict=True)
    }
    of_python["batches.meta"] = _pickled(2, label_names=[f"name {index}".encode() for index in range(10)])
    yield "cifar10:, pickles", of_python, load_all("cifar10")
    record = np.column_stack([np.arange(2), data]).astype(np.uint8).tobytes()
    binary = {f"{name}.bin": record for name in [*batches, "test_batch"]} | {
        "batches.meta.txt": "\n".join(map(str, range(10))).encode()
    }
    yield "cifar10:, binary", binary, load_all("cifar10")
    fine = {
        name: _pickled(2, data=data, fine_labels=[3, 70], coarse_labels=np.array([3, 7])) for name in ("train", "test")
    }
    fine["meta"] = _pickled(2, fine_label_names=[str(index) for index in range(100)], coarse_label_names=[])
    yield "cifar100:", fine, load_all("cifar100")


def _pickled(protocol: int, **record: Any) -> bytes:
    return pickle.dumps({key.encode(): value for key, value in record.items()}, protocol=protocol)


def _others(folder: Path) -> Iterator[tuple[str, Files, Callable[[Path, str], object]]]:
    """Configurations, class names, answers of endpoints, kept answers, weights and tokenizers."""
    presets = {f"{name}.toml": preset_text(name).encode() for name in ("digits", "pydoc", "wikitext-dbpedia")}
    yield "configurations", presets, lambda folder, name: load_config(str(folder / name), data=folder)
    yield (
        "class names",
        {"a.json": json.dumps(dict.fromkeys("abcd", "x")).encode()},
        lambda folder, name: split._read_mapping(folder / name),
    )
    scores = LOGITS[0, 0, 0].astype(float).tolist()
    named = [{"label": name, "score": score} for name, score in zip("abc", (0.2, 0.3, 0.5), strict=True)]
    answers = {
        "logits": {"scores": scores},
        "several": {"outputs": [{"s": scores}, {"s": scores}]},
        "named": [named],
        "table": {"out": dict(zip("abc", scores, strict=True))},
        "label": {"out": {"class": "b"}},
        "wait": "120",
    }
    yield (
        "answers of an endpoint",
        {f"{name}.json": json.dumps(each).encode() for name, each in answers.items()},
        _read_answer,
    )
    with Answers(folder / "a.sqlite", "identity", CLASSES) as kept:
        kept.keep([kept.key(text) for text in TEXTS[:4]], LOGITS[0, :4, 0].astype(np.float64))
        kept.count(4)
    yield "answers.sqlite", {"a.sqlite": (folder / "a.sqlite").read_bytes()}, _read_kept
    tensors = {f"layer.{index}": LOGITS[index] for index in range(3)}
    yield "weights", {"weights/000.safetensors": save(tensors)}, _read_weights
    tokenizer = train_tokenizer(TEXTS, 300).content.encode()
    yield (
        "tokenizers",
        {"tokenizer.json": tokenizer},
        lambda folder, name: load_tokenizer(str(folder / name)).encode(TEXTS, 64, truncate=True),
    )


ENDPOINTS: dict[str, dict[str, Any]] = {
    "logits": {"scores": "scores"},
    "several": {"scores": "outputs.*.s", "body": '{"inputs": ${inputs}}', "batch_size": 2},
    "named": {"scores": "0.*.score", "names": "0.*.label", "classes": ["a", "b", "c"], "meaning": "probabilities"},
    "table": {"scores": "out", "classes": ["c", "a", "b"]},
    "label": {"scores": "out.class", "classes": ["a", "b", "c"], "meaning": "label"},
}


def _read_answer(folder: Path, name: str) -> None:
    text = read_text(folder / name, 1 << 30)
    if (kind := Path(name).stem) == "wait":
        seconds_to_wait(text)
        return
    common = {
        "kind": "http",
        "name": "x",
        "url": "https://example.org",
        "body": '{"inputs": ${input}}',
        "meaning": "logits",
    }
    config = TargetConfig.model_validate(common | ENDPOINTS[kind])
    numbers_of(parse_json(text, "the answer"), config, 2 if kind == "several" else 1, CLASSES, Secrets([]).show)


def _read_kept(folder: Path, name: str) -> None:
    for rest in ("-wal", "-shm"):
        (folder / f"{name}{rest}").unlink(missing_ok=True)
    with Answers(folder / name, "identity", CLASSES) as kept:
        keys = [kept.key(text) for text in TEXTS[:6]]
        for key in keys:
            kept.get(key)
        kept.sent()
        kept.count(1)
        kept.keep(keys[-1:], np.zeros((1, CLASSES)))


def _read_weights(folder: Path, name: str) -> None:
    files = Artefacts(folder)
    # As whoever changes weights may change what is said of them.
    files._record(folder / name, "key", {})
    files.load_tensors(folder / name)


def _run(folder: Path) -> Reader:
    """A finished audit."""
    saved, run = folder / "saved", folder / "run"
    saved.mkdir()
    for name, content in arrays(
        predictions=np.concatenate([LOGITS] * 2), membership=np.concatenate([MEMBERSHIP, ~MEMBERSHIP])
    ).items():
        (saved / name).write_bytes(content)
    how = ("--attack", "gaussian", "--workers", "1", "--force", "--set", "evaluation.resamples=100")
    tmi("attack", "--predictions", saved, "--out", run, *how)
    paths = [path for path in run.rglob("*") if path.suffix in (".json", ".npy", ".toml")]
    files = {path.relative_to(run).as_posix(): path.read_bytes() for path in paths}
    seals = {name: name.replace(".json", ".npy") for name in files if f"{name[:-5]}.npy" in files}
    return (
        "a run directory",
        files,
        _read_run,
        seals | {"manifest.json": "manifest.json", "results.json": "results.json"},
        True,
    )


def _read_run(folder: Path, name: str) -> None:
    if name == "results.json":
        Results.load(folder / name)
    load_any_config(folder / "config.toml")
    directory, beside = RunDirectory(folder), sidecar(folder / name)
    said = beside.read_bytes() if name.endswith(".npy") else b""
    if said:
        # As whoever changes an array may change what is said of it.
        directory._record(folder / name, json.loads(said)["key"], json.loads(said)["facts"])
    try:
        found = read_run(folder)
        for attack in found.attacks:
            found.scores(attack)
        directory.read_manifest()
        found.about  # noqa: B018
    finally:
        if said:
            beside.write_bytes(said)
