"""Training code of the user's own."""

from __future__ import annotations

import os
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tmi.shadows.makers.user_functions
from tmi import run_attack
from tmi.config import Config, RecipeConfig, load_config, validate
from tmi.data.membership import draw_finetuning_set, draw_membership
from tmi.data.sources import load_points
from tmi.errors import TmiError
from tmi.runs.directory import RunDirectory
from tmi.runs.run import Run
from tmi.runs.stages import finetune, pretrain, query
from tmi.shadows.makers.user_functions import call_query, call_training, check_functions, require_unedited
from tmi.system.executor import executor_here
from tmi.system.files import read_json, tree_hash, whole_tree
from tmi.system.progress import Silent

torch.set_num_threads(1)

DOCS = (Path(__file__).parents[2] / "docs" / "own-training.md").read_text(encoding="utf-8")

# A classifier by the nearest class mean: what it was trained on is in its means. It writes a line for every call.
MEANS = """
import random
from pathlib import Path
import numpy as np
import torch

def log(*words):
    with Path("calls.txt").open("a") as file:
        print(*words, file=file)

def flat(inputs):
    return np.asarray(inputs, dtype=np.float64).reshape(len(inputs), -1) / (255 if inputs.dtype == np.uint8 else 1)

def means(inputs, labels, classes):
    rows = flat(inputs)
    return np.stack([rows[labels == label].sum(axis=0) / (0.1 + (labels == label).sum()) for label in range(classes)])

def pretrain(inputs, labels, *, seed, directory, device, classes=10):
    log("pretrain")
    if Path("fail").exists() and len(Path("calls.txt").read_text().splitlines()) > 3:
        raise ValueError("out of paper")
    (directory / "deep").mkdir()
    draws = [random.random(), np.random.rand(), torch.rand(1).item()]
    np.savez(directory / "deep" / "means.npz", means=means(inputs, labels, classes), draws=draws, seed=seed,
             inputs=inputs, labels=labels)
    (directory / "notes.tmp").write_text(device)
    return {"points": np.int64(len(inputs)), "test_accuracy": 0.5}

def finetune(inputs, labels, *, pretrained, seed, directory, device, classes=10):
    log("finetune")
    base = np.load(pretrained / "deep" / "means.npz")["means"]
    head = means(flat(inputs) @ base.T, labels, 5)
    np.savez(directory / "model.npz", base=base, head=head, seed=seed, inputs=inputs, labels=labels)

def query(inputs, *, directory, device):
    model = np.load(directory / "model.npz")
    features = flat(inputs) @ model["base"].T
    return -((features[:, None] - model["head"]) ** 2).sum(axis=2)

def query_pretrained(inputs, *, directory, device):
    means = np.load(directory / "deep" / "means.npz")["means"]
    return -((flat(inputs)[:, None] - means) ** 2).sum(axis=2)
"""
DOCUMENT: dict[str, Any] = {
    "name": "own",
    "models": 6,
    "pool": {"source": "sklearn:digits", "size": 40},
    "downstream": {
        "source": "sklearn:digits",
        "relabel": [0, 1, 2, 3, 4] * 2,
        "size": 60,
        "points_per_model": 30,
    },
    "recipe": {
        "pretrain": "means.pretrain",
        "finetune": "means.finetune",
        "query": "means.query",
        "query_pretrained": "means.query_pretrained",
    },
    "query": {"augmentation": "shift", "count": 3, "strength": 0.25},
    "attack": {"names": ["adapted-lira", "direct"]},
    "evaluation": {"resamples": 100},
    "compute": {"workers": 1},
}


def configured(**tables: Any) -> Config:
    return validate(DOCUMENT | tables, "test")


def forget(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """What a new process does not know."""
    for module in modules:
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(tmi.shadows.makers.user_functions, "_hashes", {})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the functions."""
    (tmp_path / "means.py").write_text(MEANS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    forget(monkeypatch, "means", "own_functions", "mine")
    return tmp_path


def trained(config: Config, out: Path, workers: int = 1) -> Run:
    """A run after the stages that call the functions."""
    run = Run(
        config.model_copy(update={"compute": config.compute.model_copy(update={"workers": workers})}), RunDirectory(out)
    )
    run.check()
    run.directory.prepare()
    with executor_here(Silent(), workers, "cpu") as executor:
        for stage in (pretrain, finetune, query):
            stage.run_stage(run, executor)
    return run


def calls(here: Path) -> list[str]:
    path = here / "calls.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def drawn_so_far() -> tuple[Any, ...]:
    """The states of the random numbers that anyone may draw from."""
    legacy: Any = np.random.get_state()  # noqa: NPY002
    return random.getstate(), legacy[1].tolist(), torch.get_rng_state().tolist()


def test_the_functions_get_each_model_s_own_points(here: Path) -> None:
    config = configured()
    run = trained(config, here / "run")
    membership = draw_membership(0, 6, 40)
    seeds, draws = set(), set()
    for model in range(6):
        base = np.load(here / f"run/pretrained/{model:03d}/deep/means.npz")
        assert np.array_equal(base["inputs"], run.task.pool.raw[membership[model]])
        assert np.array_equal(base["labels"], run.task.pool.labels[membership[model]])
        tuned = np.load(here / f"run/finetuned/{model:03d}/model.npz")
        subset = draw_finetuning_set(0, model, 60, 30)
        assert np.array_equal(tuned["inputs"], run.task.downstream.raw[subset])
        assert np.array_equal(tuned["labels"], run.task.downstream.labels[subset])
        assert base["seed"] < 2**32
        seeds |= {int(base["seed"]), int(tuned["seed"])}
        draws |= set(base["draws"].tolist())
    assert len(seeds) == 12
    assert len(draws) == 18
    assert (here / "run/pretrained/000/notes.tmp").read_text() == "cpu"
    facts = run.directory.facts(run.maker.pretrained(0))
    assert facts == {"returned": {"points": 20, "test_accuracy": 0.5}, "test_accuracy": 0.5}


def test_the_models_are_asked_about_raw_points(here: Path) -> None:
    run = trained(configured(query={"augmentation": "shift", "count": 3, "strength": 0.25}), here / "run")
    sys.path.insert(0, str(here))
    try:
        import means  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(here))
    images = np.asarray(run.task.challenges.raw)
    predictions = run.directory.load_array(run.directory.predictions(4))
    assert predictions.shape == (40, 3, 5)
    assert predictions.dtype == np.float32
    floats = images.astype(np.float32) / 255 if images.dtype == np.uint8 else images
    expected = means.query(floats, directory=run.maker.finetuned(4), device="cpu")
    assert np.allclose(predictions[:, 0], expected, rtol=1e-5)
    # The accuracies are those of the answers.
    task = run.task.downstream
    right = means.query(task.raw, directory=run.maker.finetuned(4), device="cpu").argmax(axis=1) == task.labels
    seen = np.isin(np.arange(60), run.experiment.finetuning_set(4))
    facts = run.directory.facts(run.directory.predictions(4))
    assert facts["train_accuracy"] == pytest.approx(right[seen].mean())
    assert facts["test_accuracy"] == pytest.approx(right[~seen].mean())
    assert isinstance(facts["learned"], bool)


def test_a_run_from_end_to_end(here: Path) -> None:
    config = configured()
    results = run_attack(config, here / "run")
    assert set(results["attacks"]) == {"adapted-lira", "direct"}
    assert results["attacks"]["direct"]["auc"]["estimate"] > 0.6
    assert 0 < results["models"]["downstream_test_accuracy"]["mean"] < 1
    assert results["models"]["pretraining_train_accuracy"]["mean"] > 0.5
    assert (here / "run" / "report.html").exists()
    assert calls(here) == ["pretrain"] * 6 + ["finetune"] * 6
    # Nothing is made again, and a file of the functions' own that looks half-written is theirs.
    assert run_attack(load_config("run/config.toml"), here / "run")["attacks"].keys() == results["attacks"].keys()
    assert calls(here) == []
    assert (here / "run/pretrained/003/notes.tmp").exists()


@pytest.mark.slow
def test_any_number_of_workers_ends_in_the_same(here: Path) -> None:
    config = configured(models=4)
    one, two = trained(config, here / "one"), trained(config, here / "two", workers=2)
    for path in (one.directory.predictions, one.directory.pretrained_predictions):
        for model in range(4):
            name = path(model)
            assert name.read_bytes() == (two.directory.root / name.relative_to(here / "one")).read_bytes()
    record = read_json(here / "one/pretrained/002.json")
    assert record is not None
    assert record["sha256"] == tree_hash(here / "two/pretrained/002")


def test_a_failing_function_loses_nothing_that_is_finished(here: Path) -> None:
    (here / "fail").touch()
    message = r"recipe\.pretrain 'means\.pretrain', model \d: the function raised ValueError: out of paper"
    with pytest.raises(TmiError, match=message):
        trained(configured(), here / "run")
    finished = sorted((here / "run" / "pretrained").glob("*.json"))
    assert len(finished) == 3
    before = {path: path.stat().st_mtime_ns for path in finished}
    assert len(list((here / "run" / "pretrained").iterdir())) == 6
    (here / "fail").unlink()
    calls(here)
    run = trained(configured(), here / "run")
    assert calls(here) == ["pretrain"] * (6 - len(finished)) + ["finetune"] * 6
    assert before == {path: path.stat().st_mtime_ns for path in finished}
    whole = trained(configured(), here / "whole")
    assert run.directory.predictions(5).read_bytes() == whole.directory.predictions(5).read_bytes()


def test_what_was_half_written_is_removed(here: Path) -> None:
    trained(configured(), here / "run")
    (here / "run/pretrained/004.99.tmp/deep").mkdir(parents=True)
    (here / "run/finetuned/004.npy.99.tmp").touch()
    with RunDirectory(here / "run").locked():
        assert [path.name for path in (here / "run").rglob("*.tmp") if path.name != "notes.tmp"] == []
        assert len(list((here / "run").rglob("notes.tmp"))) == 6


def test_a_damaged_model_is_made_anew(here: Path) -> None:
    run = trained(configured(), here / "run")
    calls(here)
    (here / "run/finetuned/002/model.npz").write_bytes(b"nothing")
    assert run.directory.is_damaged(run.maker.finetuned(2), run.keys["finetune"])
    trained(configured(), here / "run")
    assert calls(here) == ["finetune"]
    assert run.directory.is_current(run.maker.finetuned(2), run.keys["finetune"])


def test_editing_the_code_trains_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "own_functions.py").write_text("from means import query")
    config = configured(recipe=DOCUMENT["recipe"] | {"query": "own_functions.query"})
    run = trained(config, here / "run")
    first = dict(run.keys)
    calls(here)
    # Of another file: only the answers depend on it.
    (here / "own_functions.py").write_text(
        "from means import query as asked\ndef query(**known): return 2 * asked(**known)"
    )
    with pytest.raises(TmiError, match=r"own_functions\.py was edited after this process had imported it"):
        trained(config, here / "run")
    answers = np.array(run.directory.load_array(run.directory.predictions(0)))
    forget(monkeypatch, "own_functions", "means")
    run = trained(config, here / "run")
    assert calls(here) == []
    assert np.array_equal(run.directory.load_array(run.directory.predictions(0)), 2 * answers)
    (here / "means.py").write_text(MEANS + "\n")
    forget(monkeypatch, "own_functions", "means")
    run = trained(config, here / "run")
    assert calls(here) == ["pretrain"] * 6 + ["finetune"] * 6
    assert first["membership"] == run.keys["membership"]
    assert first["pretrain"] != run.keys["pretrain"]


def test_the_pretrained_models_need_not_be_asked(here: Path) -> None:
    recipe = {key: value for key, value in DOCUMENT["recipe"].items() if key != "query_pretrained"}
    results = run_attack(configured(recipe=recipe, attack={"names": ["adapted-lira"]}), here / "run")
    assert not (here / "run" / "pretrained_predictions").exists()
    assert results["models"]["not_pretrained"] == []
    assert "pretraining_train_accuracy" not in results["models"]


def test_texts_come_as_strings(here: Path) -> None:
    (here / "own_functions.py").write_text(
        "import numpy as np\n"
        "def train(inputs, labels, directory, **_):\n"
        "    assert all(isinstance(text, str) for text in inputs)\n"
        "    np.save(directory / 'length.npy', np.mean([len(text) for text in inputs]))\n"
        "def query(inputs, directory, device):\n"
        "    return np.array([[len(text) - np.load(directory / 'length.npy'), 0.0] for text in inputs])\n"
    )
    recipe = {"pretrain": "own_functions.train", "finetune": "own_functions.train", "query": "own_functions.query"}
    classes = list(load_points("pydoc:topics").class_names[:2])
    config = configured(
        pool={"source": "pydoc:topics", "size": 20},
        downstream={"source": "pydoc:topics", "size": 12, "classes": classes},
        recipe=recipe,
        query={"augmentation": "word-dropout", "count": 2, "strength": 0.5},
        attack={"names": ["adapted-lira"]},
    )
    run = trained(config, here / "run")
    predictions = run.directory.load_array(run.directory.predictions(0))
    assert predictions.shape[1:] == (2, 2)
    assert (predictions[:, 1, 0] < predictions[:, 0, 0]).all()


def test_the_tables_of_networks_are_left_out(tmp_path: Path) -> None:
    config = configured(attack={})
    assert "direct" in config.attack.names
    path = tmp_path / "own.toml"
    path.write_text(config.to_toml())
    assert load_config(str(path)) == config
    without = {key: value for key, value in DOCUMENT["recipe"].items() if key != "query_pretrained"}
    config = configured(attack={}, recipe=without)
    assert "direct" not in config.attack.names
    path.write_text(config.to_toml())
    assert load_config(str(path)) == config


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"model": {"hidden": [3]}}, "model is configured, but recipe trains and reads: leave the table out"),
        (
            {"finetune": {"learning_rate": 1.0, "epochs": 2, "batch_size": 3}},
            "finetune is configured, but recipe trains",
        ),
        ({"variants": {"a": {"finetune": {"epochs": 3}}}}, "variants are other finetunings by the tool"),
        ({"recipe": {"pretrain": "a.b", "finetune": "a.b"}}, r"the key 'recipe\.query' is missing"),
        ({"recipe": DOCUMENT["recipe"] | {"quary": "a.b"}}, r"unknown key 'recipe\.quary' \(did you mean 'query'"),
        ({"recipe": DOCUMENT["recipe"] | {"query": "query"}}, r"the key 'recipe\.query' is 'query'"),
        ({"recipe": DOCUMENT["recipe"] | {"settings": {"seed": 3}}}, "expected no 'seed', which is an argument"),
        ({"recipe": DOCUMENT["recipe"] | {"settings": {"a": float("nan")}}}, "expected strings, finite numbers"),
        (
            {"recipe": {key: value for key, value in DOCUMENT["recipe"].items() if key != "query_pretrained"}},
            r"attack\.names has 'direct', which needs recipe\.query_pretrained",
        ),
    ],
)
def test_configurations_that_do_not_fit_are_named(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(TmiError, match=message):
        configured(**tables)


BAD = """
import numpy as np
import random
import sys
import torch

def train(**known): return None
def train_on(inputs, labels, seed, directory): return None
def bare(x): return None
def number(**known): return 3
def tensors(**known): return {"a": np.ones(2)}
def infinite(**known): return {"loss": float("inf")}
def percent(**known): return {"train_accuracy": 97.0}
def leaving(**known): sys.exit(3)
def drawing(**known): return {"drawn": [random.random(), np.random.rand(), torch.rand(1).item()]}
def settings(path, where, **known): return {"path": path, "where": where, "loss": torch.tensor(1.5)}

def vector(inputs, **known): return np.zeros(len(inputs))
def short(inputs, **known): return np.zeros((len(inputs) - 1, 3))
def wide(inputs, **known): return np.zeros((len(inputs), 4))
def nothing(**known): return None
def whole(inputs, **known): return np.zeros((len(inputs), 3), dtype=int)
def not_finite(inputs, **known):
    answers = np.zeros((len(inputs), 3)); answers[1, 2] = 1e300; answers[2, 0] = np.nan; return answers
def probabilities(inputs, **known): return np.full((len(inputs), 3), 1 / 3)
def tensor(inputs, **known): return torch.ones(len(inputs), 3, dtype=torch.bfloat16, requires_grad=True)
def changing(inputs, **known):
    inputs += 1; return np.stack([inputs.sum(axis=(1, 2)), inputs[:, 0, 0], 0 * inputs[:, 0, 0]], axis=1)
"""


@pytest.fixture
def bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RecipeConfig]:
    (tmp_path / "own_functions.py").write_text(BAD)
    monkeypatch.chdir(tmp_path)
    forget(monkeypatch, "own_functions")

    def make(settings: dict[str, Any] | None = None, **functions: str) -> RecipeConfig:
        names = {"pretrain": "train", "finetune": "train", "query": "train"} | functions
        return RecipeConfig(**{key: f"own_functions.{name}" for key, name in names.items()}, settings=settings or {})

    return make


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({"finetune": "absent"}, r"recipe\.finetune 'own_functions\.absent': the module .* has no function 'absent'"),
        (
            {"pretrain": "train_on"},
            r"takes \(inputs, labels, seed, directory\), expected .*, device: got an unexpected",
        ),
        ({"query": "bare"}, r"recipe\.query 'own_functions\.bare': takes \(x\), expected the keyword arguments inputs"),
        ({"query_pretrained": "bare"}, r"recipe\.query_pretrained 'own_functions\.bare'"),
    ],
)
def test_functions_are_checked_before_anything_is_trained(
    bad: Callable[..., RecipeConfig], functions: dict[str, str], message: str
) -> None:
    check_functions(bad())
    with pytest.raises(TmiError, match=message):
        check_functions(bad(**functions))


def trained_by(recipe: RecipeConfig) -> dict[str, Any]:
    known = {"inputs": None, "labels": None, "directory": Path(), "device": "cpu"}
    return call_training(recipe, "pretrain", 7, 2**40 + 5, **known)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("number", "model 7: the function returned a int, expected None or a dictionary"),
        ("tensors", "the function returned values that are not plain"),
        ("infinite", "the function returned values that are not plain: Out of range float"),
        ("percent", r"the function returned train_accuracy 97\.0, expected a number from 0 to 1"),
        ("leaving", "the function ended Python: SystemExit: 3"),
    ],
)
def test_what_training_returns_is_checked(bad: Callable[..., RecipeConfig], function: str, message: str) -> None:
    with pytest.raises(TmiError, match=message):
        trained_by(bad(pretrain=function))


def test_nobody_else_s_random_numbers_change(bad: Callable[..., RecipeConfig]) -> None:
    recipe = bad(pretrain="drawing")
    trained_by(recipe)
    before = drawn_so_far()
    facts = [trained_by(recipe) for _ in range(2)]
    assert facts[0] == facts[1]
    assert before == drawn_so_far()


def test_settings_may_have_any_name(bad: Callable[..., RecipeConfig]) -> None:
    facts = trained_by(bad({"path": 1, "where": [2]}, pretrain="settings"))
    assert facts == {"returned": {"path": 1, "where": [2], "loss": 1.5}}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("vector", r"recipe\.query 'own_functions\.vector', model 2: .* shape \(5,\), expected \(5, 3\)"),
        ("short", r"shape \(4, 3\), expected \(5, 3\)"),
        ("wide", r"shape \(5, 4\), expected \(5, 3\)"),
        ("nothing", r"shape \(\), expected \(5, 3\)"),
        ("whole", "numbers of type int64, expected floats"),
        ("not_finite", "2 of 5 answers are not finite"),
        ("probabilities", r"returned probabilities \(every row sums to 1\), expected logits"),
    ],
)
def test_answers_are_checked(bad: Callable[..., RecipeConfig], function: str, message: str) -> None:
    with pytest.raises(TmiError, match=message):
        call_query(bad(query=function), "query", 2, np.zeros((5, 4, 4)), 3, Path(), "cpu")


def test_answers_come_in_batches_of_copies(bad: Callable[..., RecipeConfig]) -> None:
    inputs = np.random.default_rng(0).random((2300, 2, 2))
    before = inputs.copy()
    answers = call_query(bad(query="changing"), "query", 0, inputs, None, Path(), "cpu")
    assert np.array_equal(inputs, before)
    assert np.allclose(answers[:, 0], before.sum(axis=(1, 2)) + 4)
    assert (call_query(bad(query="tensor"), "query", 0, inputs, 3, Path(), "cpu") == 1).all()


def test_models_with_other_classes_are_named(here: Path) -> None:
    (here / "own_functions.py").write_text(
        "import numpy as np\n"
        "def query_pretrained(inputs, directory, device):\n"
        "    return np.zeros((len(inputs), 4 if directory.name == '003' else 3))\n"
    )
    recipe = DOCUMENT["recipe"] | {"query_pretrained": "own_functions.query_pretrained"}
    with pytest.raises(TmiError, match=r"003\.npy has shape \(40, 3, 4\), expected \(40, 3, 3\) as of model 0"):
        trained(configured(recipe=recipe), here / "run")


@pytest.mark.parametrize("role", ["finetune", "query"])
def test_a_function_that_changes_what_it_reads_is_named(here: Path, role: str) -> None:
    target = "pretrained" if role == "finetune" else "directory"
    (here / "own_functions.py").write_text(
        f"import means\ndef {role}(*points, {target}, **known):\n"
        f"    ({target} / 'cache').write_text('mine')\n    return means.{role}(*points, {target}={target}, **known)\n"
    )
    with pytest.raises(TmiError, match=rf"'own_functions\.{role}', model 0: the function changed "):
        trained(configured(recipe=DOCUMENT["recipe"] | {role: f"own_functions.{role}"}), here / "run")


def test_a_module_without_a_file_is_refused() -> None:
    recipe = RecipeConfig(pretrain="time.sleep", finetune="time.sleep", query="time.sleep")
    with pytest.raises(TmiError, match="the module 'time' has no file"):
        require_unedited(recipe)


NAMES = st.text("ab", min_size=1, max_size=2)


@given(
    st.dictionaries(NAMES, st.binary(max_size=3), max_size=3), st.dictionaries(NAMES, st.binary(max_size=3), max_size=3)
)
def test_equal_hashes_are_equal_trees(tmp_path_factory: pytest.TempPathFactory, one: Any, other: Any) -> None:
    hashes = []
    for files in (one, other):
        root = tmp_path_factory.mktemp("tree")
        for name, content in files.items():
            (root / name).write_bytes(content)
        hashes.append(tree_hash(root))
    assert (hashes[0] == hashes[1]) == (one == other)


def test_a_tree_is_known_by_names_content_and_links(tmp_path: Path) -> None:
    def tree(name: str) -> Path:
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "file").write_bytes(b"content")
        return tmp_path / name

    plain = tree_hash(tree("plain"))
    assert tree_hash(tree("same")) == plain
    linked, empty, moved = tree("linked"), tree("empty"), tree("moved")
    (linked / "link").symlink_to("sub/file")
    (empty / "directory").mkdir()
    (moved / "sub" / "file").rename(moved / "file")
    assert len({plain, *map(tree_hash, (linked, empty, moved))}) == 4


def write_link_out(root: Path) -> None:
    (root / "link").symlink_to("../outside")


def write_absolute_link(root: Path) -> None:
    (root / "file").touch()
    (root / "link").symlink_to(root / "file")


def write_pipe(root: Path) -> None:
    os.mkfifo(root / "pipe")


def write_nothing(root: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_link_out, r"mine: the function wrote link, a symbolic link to \.\./outside, expected files"),
        (write_absolute_link, "the function wrote link, a symbolic link to /"),
        (write_pipe, "the function wrote pipe, which is neither a file nor a directory"),
        (write_nothing, "the function wrote nothing into its directory"),
    ],
)
def test_trees_that_cannot_be_kept_are_refused(tmp_path: Path, write: Callable[[Path], None], message: str) -> None:
    with pytest.raises(TmiError, match=message), whole_tree(tmp_path / "models" / "000", "mine") as directory:
        write(directory)
    assert list((tmp_path / "models").iterdir()) == []


def interrupted(directory: Path) -> None:
    (directory / "file").write_text("third")
    raise KeyboardInterrupt


def test_a_tree_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "000"
    for content in ("first", "second"):
        with whole_tree(path, "mine") as directory:
            (directory / "sub").mkdir()
            (directory / "sub" / "link").symlink_to("../file")
            (directory / "file").write_text(content)
        assert (path / "sub" / "link").read_text() == content
    with pytest.raises(KeyboardInterrupt), whole_tree(path, "mine") as directory:
        interrupted(directory)
    assert (path / "file").read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


def test_the_example_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    forget(monkeypatch, "mine")
    ((code,), (table,)) = (re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL) for language in ("python", "toml"))
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "mine.toml").write_text(table)
    small = {"evaluation.resamples": 100, "compute.workers": 1, "attack.names": ["gaussian", "direct"]}
    results = run_attack(load_config("mine.toml", small), tmp_path / "runs")
    assert results["attacks"]["direct"]["auc"]["low"] > 0.5
    assert results["models"]["not_finetuned"] == results["models"]["not_pretrained"] == []
    assert results["models"]["downstream_test_accuracy"]["mean"] > 0.7
