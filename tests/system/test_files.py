"""Directories as artefacts, files that are written whole, and files of others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmi.errors import TmiError
from tmi.system.files import atomic, content_hash, depth_of, parse_json, read_json, read_text, tree_hash, whole_tree

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


def test_numpy_does_not_say_where_the_disk_was_full(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic(tmp_path / "a.npy"):
            raise OSError("8000 requested and 512 written")

    with pytest.raises(TmiError, match=r"a\.npy: cannot be written: 8000 requested and 512 written; is the disk full"):
        fail()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "file: not JSON: JSONDecodeError: Expecting value"),
        ("[" * 100_000, "nested more than 100 deep"),
        ('{"a":' * 50_000 + "1" + "}" * 50_000, "nested more than 100 deep"),
        ("[" * 101 + "]" * 101, "nested more than 100 deep"),
        ("1" * 101, "a number of 101 digits, expected at most 100"),
        ("9" * 5000, "a number of 5000 digits"),
    ],
)
def test_hostile_json_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(TmiError, match=sentence) as told:
        parse_json(text, "file")
    assert "\n" not in str(told.value)


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner))
)
def test_json_is_read_as_it_was_written(value: Any) -> None:
    assert parse_json(json.dumps(value), "file") == value


def test_depth() -> None:
    assert [depth_of(value) for value in (1, [], [1, {}], {"a": [[2]], "b": 1})] == [0, 1, 2, 3]
    assert parse_json("[" * 100 + "]" * 100, "file")


def test_text_files(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbfword")
    assert read_text(path, 100) == "word"
    with pytest.raises(TmiError, match="a: has 7 bytes, expected at most 6"):
        read_text(path, 6)
    path.write_bytes(b"ab\xff")
    with pytest.raises(TmiError, match="a: not UTF-8 text: byte 2: "):
        read_text(path, 100)
    with pytest.raises(TmiError, match="is a folder; expected a file"):
        read_text(tmp_path, 100)


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(TmiError, match="is a pipe or device, which need not end; expected a file"):
            content_hash(path)
        assert read_json(path) is None
