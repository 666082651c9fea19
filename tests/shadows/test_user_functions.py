"""Training code of the user's own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from made.user_functions import DOCUMENT, MEANS, configured, forget
from tmi import run_attack
from tmi.config import Config, load_config
from tmi.data.membership import draw_finetuning_set, draw_membership
from tmi.data.sources import load_points
from tmi.errors import TmiError
from tmi.runs.adversaries import with_attacks
from tmi.runs.directory import RunDirectory
from tmi.runs.export import export_pretrained
from tmi.runs.run import Run
from tmi.runs.stages import finetune, pretrain, query
from tmi.system.executor import executor_here
from tmi.system.files import read_json, tree_hash
from tmi.system.progress import Silent

DOCS = (Path(__file__).parents[2] / "docs" / "own-training.md").read_text(encoding="utf-8")


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
    # A piece is tried first.
    assert calls(here) == ["pretrain", "finetune"] + ["pretrain"] * 6 + ["finetune"] * 6
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
    run = trained(configured(), here / "run")
    (here / "run/pretrained/004.99.tmp/deep").mkdir(parents=True)
    (here / "run/predictions/004.npy.99.tmp").touch()
    with run.directory.locked():
        run.directory.begin(run.leaves, "")
        assert [path.name for path in (here / "run").rglob("*.tmp") if path.name != "notes.tmp"] == []
        assert len(list((here / "run").rglob("notes.tmp"))) == 6


def test_a_damaged_model_is_made_anew(here: Path) -> None:
    run = trained(configured(), here / "run")
    calls(here)
    (here / "run/finetuned/002/model.npz").write_bytes(b"nothing")
    assert run.directory.state(run.maker.finetuned(2), run.keys["finetune"]) == "damaged"
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


def test_models_of_functions_are_no_checkpoints(here: Path) -> None:
    with pytest.raises(TmiError, match="its models are of the functions of recipe, which alone can read them"):
        export_pretrained(Run(configured(), RunDirectory(here / "run")), 0, here / "checkpoint")


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
    assert "direct" in with_attacks(config).attack.names
    path = tmp_path / "own.toml"
    path.write_text(config.to_toml())
    assert load_config(str(path)) == config.model_copy(update={"code": str(tmp_path)})
    without = {key: value for key, value in DOCUMENT["recipe"].items() if key != "query_pretrained"}
    config = configured(attack={}, recipe=without)
    assert "direct" not in with_attacks(config).attack.names
    path.write_text(config.to_toml())
    assert load_config(str(path)) == config.model_copy(update={"code": str(tmp_path)})


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
