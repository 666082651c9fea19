from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tmi.errors import TmiError
from tmi.runs.directory import RunDirectory
from tmi.system.files import atomic, content_key, sidecar


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
    assert directory.is_damaged(path, "key")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"key": "key"}'])
def test_a_broken_sidecar_makes_the_artefact_not_current(directory: RunDirectory, text: str) -> None:
    path = directory.predictions(0)
    directory.save_array(path, np.arange(6.0), "key")
    sidecar(path).write_text(text)
    assert not directory.is_current(path, "key")


def test_truncated_files_are_named(directory: RunDirectory) -> None:
    array, tensors = directory.predictions(0), directory.pretrained(0)
    directory.save_array(array, np.arange(6.0), "key")
    directory.save_tensors(tensors, {"w": np.arange(6.0).reshape(2, 3).T}, "key")
    np.testing.assert_array_equal(directory.load_tensors(tensors)["w"], np.arange(6.0).reshape(2, 3).T)
    for path in (array, tensors):
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(TmiError, match=r"predictions/000\.npy: not a readable \.npy file"):
        directory.load_array(array)
    with pytest.raises(TmiError, match=r"pretrained/000\.safetensors: not a readable \.safetensors file"):
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
    path.parent.mkdir()
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
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


def test_half_written_files_are_removed_by_the_next_run(directory: RunDirectory) -> None:
    leftover = directory.root / "scores" / "tmi.npy.123.tmp"
    leftover.parent.mkdir()
    leftover.touch()
    with directory.locked():
        assert not leftover.exists()


def test_content_key_ignores_the_order_of_keys_only() -> None:
    assert content_key({"a": 1, "b": [1, 2]}) == content_key({"b": [1, 2], "a": 1})
    assert content_key({"a": [1, 2]}) != content_key({"a": [2, 1]})
    assert content_key("a", "b") != content_key("ab")
