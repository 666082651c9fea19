from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tmi.errors import TmiError
from tmi.runs.directory import RunDirectory, usual_place
from tmi.system import files
from tmi.system.files import atomic, content_hash, content_key, read_json, sidecar, write_json


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


def test_an_artefact_is_current_only_with_its_key_and_its_bytes(directory: RunDirectory) -> None:
    path = directory.predictions(0)
    assert not directory.is_current(path, "key")
    directory.save_array(path, np.arange(6.0), "key", {"seconds": 1.5})
    assert directory.is_current(path, "key")
    assert not directory.is_current(path, "another key")
    assert directory.facts(path) == {"seconds": 1.5}
    np.testing.assert_array_equal(directory.load_array(path), np.arange(6.0))


def test_same_size_but_other_bytes_is_damaged(directory: RunDirectory) -> None:
    path = directory.predictions(0)
    directory.save_array(path, np.arange(6.0), "key")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert not directory.is_current(path, "key")
    assert directory.state(path, "key") == "damaged"
    with pytest.raises(TmiError, match=r"predictions/000\.npy is damaged: its SHA-256 is not the one in 000\.json"):
        directory.load_array(path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"key": "key"}', '{"key": "key", "sha256": "1", "facts": {"a": 1e999}, "seal": "1"}'],
)
def test_a_broken_sidecar_makes_the_artefact_not_current(directory: RunDirectory, text: str) -> None:
    path = directory.predictions(0)
    directory.save_array(path, np.arange(6.0), "key")
    sidecar(path).write_text(text)
    assert directory.state(path, "key") == "damaged"
    with pytest.raises(TmiError, match=r"predictions/000\.json is damaged"):
        directory.facts(path)
    sidecar(path).unlink()
    with pytest.raises(TmiError, match=r"predictions/000\.npy: has no 000\.json beside it"):
        directory.load_array(path)


def test_what_a_sidecar_says_is_sealed(directory: RunDirectory) -> None:
    path = directory.finetuned(0)
    directory.save_array(path, np.arange(6.0), "key", {"test_accuracy": 0.5})
    written = sidecar(path).read_text()
    for before, after in (("0.5", "0.7"), ("accuracy", "accurady"), ('"seal"', '"sebl"'), ('"facts"', '"fects"')):
        sidecar(path).write_text(written.replace(before, after))
        assert directory.state(path, "key") == "damaged"
        with pytest.raises(TmiError, match="is damaged"):
            directory.facts(path)


def test_what_earlier_versions_wrote_has_no_seal_and_counts(directory: RunDirectory) -> None:
    path = directory.predictions(0)
    directory.save_array(path, np.arange(6.0), "key", {"seconds": 1.5})
    record = read_json(sidecar(path)) or {}
    del record["seal"]
    write_json(sidecar(path), record)
    assert directory.is_current(path, "key")
    assert directory.facts(path) == {"seconds": 1.5}


def test_models_that_share_a_key_are_not_taken_for_one_another(directory: RunDirectory) -> None:
    one, other = directory.predictions(0), directory.predictions(1)
    for path, numbers in ((one, np.zeros(3)), (other, np.ones(3))):
        directory.save_array(path, numbers, "key")
    for a, b in ((one, other), (sidecar(one), sidecar(other))):
        aside = a.with_name("aside")
        a.rename(aside)
        b.rename(a)
        aside.rename(b)
    assert [directory.state(path, "key") for path in (one, other)] == ["damaged", "damaged"]


def test_a_file_that_did_not_change_is_read_once(directory: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    path = directory.predictions(0)
    directory.save_array(path, np.arange(6.0), "key")
    read: list[Path] = []
    monkeypatch.setattr(files, "content_hash", lambda path: read.append(path) or content_hash(path))
    monkeypatch.setattr(files, "COARSEST_CLOCK", 0)
    for _ in range(3):
        assert directory.is_current(path, "key")
    assert read == [path]
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    assert directory.state(path, "key") == "damaged"
    assert read == [path, path]


def test_truncated_files_are_named(directory: RunDirectory) -> None:
    array, tensors = directory.predictions(0), directory.pretrained(0)
    directory.save_array(array, np.arange(6.0), "key")
    directory.save_tensors(tensors, {"w": np.arange(6.0).reshape(2, 3).T}, "key")
    np.testing.assert_array_equal(directory.load_tensors(tensors)["w"], np.arange(6.0).reshape(2, 3).T)
    for path in (array, tensors):
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(TmiError, match=r"predictions/000\.npy is damaged"):
        directory.load_array(array)
    with pytest.raises(TmiError, match=r"pretrained/000\.safetensors is damaged"):
        directory.load_tensors(tensors)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic(path) as file:
            file.write(b"new")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as told:
        fail()
    assert told.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_pickles_are_refused(directory: RunDirectory) -> None:
    path = directory.scores("tmi")
    directory.save_array(path, np.zeros(1), "key")
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    write_json(sidecar(path), {"key": "key", "sha256": content_hash(path), "facts": {}})
    with pytest.raises(TmiError, match="holds Python objects, which are pickles"):
        directory.load_array(path)


def test_only_one_process_works_in_a_run_directory(directory: RunDirectory) -> None:
    attempt = (
        "from pathlib import Path; from tmi.runs.directory import RunDirectory\n"
        f"with RunDirectory(Path({str(directory.root)!r})).locked(): pass"
    )
    with directory.locked():
        other = subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True, check=False)
    assert "another tmi process is working" in other.stderr
    assert subprocess.run([sys.executable, "-c", attempt], check=False).returncode == 0


def test_half_written_files_of_ours_are_removed_by_the_next_run(directory: RunDirectory) -> None:
    ours = [directory.scores("tmi"), sidecar(directory.scores("tmi")), directory.pretrained(0).with_suffix("")]
    ours[0].parent.mkdir()
    half = [path.with_name(f"{path.name}.123.tmp") for path in ours]
    half[0].touch()
    half[1].touch()
    (half[2] / "weights").mkdir(parents=True)
    replaced = half[2].with_name("000.123.replaced.tmp")
    replaced.mkdir()
    config = directory.config.with_name("config.toml.7.tmp")
    config.touch()
    others = [directory.root / name for name in ("mine.tmp", "scores/tmi.npy.tmp", "scores/mine.npy.123.tmp")]
    for path in others:
        path.write_text("precious")
    directory.begin(ours, "")
    assert not any(path.exists() for path in (*half, replaced, config))
    assert [path.read_text() for path in others] == ["precious"] * 3


def test_a_directory_of_something_else_is_refused_and_left(directory: RunDirectory) -> None:
    (directory.root / ".lock").touch()
    directory.refuse_foreign()
    for name in ("config.toml", "manifest.json", "results.json", "config.toml.12.tmp"):
        (directory.root / name).write_text('{"config": "seed = 1", "name": "a web page"}')
        with pytest.raises(TmiError, match=r"neither empty nor a run directory \(it has no \.tmi-run"):
            directory.refuse_foreign()
        directory.restore()
        assert directory.config.read_text() != "seed = 1"
    with directory.locked():
        directory.refuse_foreign()


def finished(directory: RunDirectory) -> list[Path]:
    """A few files of a run, which are returned, and of others beside them."""
    tree = directory.pretrained(1).with_suffix("")
    with directory.locked():
        directory.save_array(directory.scores("tmi", "label"), np.ones(3), "key")
        directory.save_array(directory.membership, np.ones(3), "key")
        with directory.saving_tree(tree, "key", {}, "here") as folder:
            (folder / "weights").touch()
    write_json(directory.results, {"schema": 1})
    for name in ("checkpoints/mine.pt", "target/notes.txt", "scores/label/mine.json", "report.json", "mine/tmi.json"):
        path = directory.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious")
    return [directory.scores("tmi", "label"), directory.membership, tree, directory.results]


@pytest.mark.parametrize("is_damaged", [False, True])
def test_nothing_is_removed_but_what_the_manifest_names(directory: RunDirectory, is_damaged: bool) -> None:
    ours = finished(directory)
    directory.begin([*ours, *map(sidecar, ours[:3])], "name = 1")
    if is_damaged:
        # What has a sidecar of ours goes, as in directories of earlier versions.
        directory.manifest.write_text("{")
    others = {path: path.read_text() for path in directory.root.rglob("*") if path.is_file() and "mine" in str(path)}
    others |= {directory.root / name: "precious" for name in ("report.json", "target/notes.txt")}
    directory.clear()
    left = {path: path.read_text() for path in directory.root.rglob("*") if path.is_file() and path.name[0] != "."}
    assert left == others
    assert not (directory.root / "pretrained").exists()


def test_a_manifest_of_somebody_else_names_nothing_outside(directory: RunDirectory, tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    outside.touch()
    run = RunDirectory(tmp_path / "run")
    run.prepare()
    write_json(run.manifest, {"seconds": {}, "files": ["../precious", str(outside), "results.json"]})
    run.clear()
    assert outside.exists()


def test_nothing_is_written_or_removed_through_a_link(directory: RunDirectory, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    run = RunDirectory(tmp_path / "run")
    for folder in (elsewhere, run.root):
        folder.mkdir()
    (elsewhere / "tmi.npy").write_text("precious")
    (run.root / "scores").symlink_to(elsewhere)
    with pytest.raises(TmiError, match="run/scores: is a symbolic link, which nothing is written through"):
        run.begin([run.scores("tmi")], "")
    write_json(run.manifest, {"seconds": {}, "files": ["scores/tmi.npy"]})
    with pytest.raises(TmiError, match="run/scores: is a symbolic link"):
        run.clear()
    assert (elsewhere / "tmi.npy").read_text() == "precious"


def test_the_manifest_and_the_configuration_vouch_for_each_other(directory: RunDirectory) -> None:
    with directory.locked():
        directory.begin([directory.results], "seed = 1")
    directory.config.write_text("seed = 3")
    directory.restore()
    assert directory.config.read_text() == "seed = 1"
    assert directory.notes == ["config.toml is damaged or was edited: made anew from manifest.json"]
    written = directory.manifest.read_text()
    directory.manifest.write_text(written.replace("seed = 1", "seed = 3"))
    with pytest.raises(TmiError, match=r"manifest\.json is damaged"):
        directory.read_manifest()
    directory.restore()
    assert directory.config.read_text() == "seed = 1"
    directory.begin([directory.results], "seed = 1")
    assert directory.notes[1:] == ["manifest.json is damaged: made anew, without the times of earlier stages"]
    assert directory.manifest.read_text() == written


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", ".", "", "a/../..", "a\0b"])
def test_names_stay_inside_the_folder_of_runs(name: str, directory: RunDirectory) -> None:
    with pytest.raises(TmiError, match=r"leads out of runs/|embedded null"):
        usual_place(name)
    with pytest.raises(TmiError, match="is no name of a folder"):
        directory.variant(name)
    assert usual_place("mine/first") == Path("runs/mine/first")


def test_content_key_ignores_the_order_of_keys_only() -> None:
    assert content_key({"a": 1, "b": [1, 2]}) == content_key({"b": [1, 2], "a": 1})
    assert content_key({"a": [1, 2]}) != content_key({"a": [2, 1]})
    assert content_key("a", "b") != content_key("ab")
