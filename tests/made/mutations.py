"""Valid small files made hostile: bytes of any file, and what JSON, TOML, arrays, tables and databases are made of."""

from __future__ import annotations

import copy
import io
import json
import pickletools
import random
import re
import sqlite3
import string
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tmi.system.files import content_key

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MutateBytes = Callable[[random.Random, bytes], bytes]

# Whole numbers at the ends of types, and as many that a length could be.
LENGTHS = (
    *(0, 1, 2, 3, 127, 128, 255, 256, 65535, 1 << 31, (1 << 31) - 1),
    (1 << 32) - 1,
    1 << 40,
    (1 << 63) - 1,
    1 << 63,
)
NUMBERS = (
    *("0", "-1", "1e999", "-1e308", "nan", "inf", "0.5", "1" * 19, "9" * 400, "0x10", "", "1_0", "٣", "true", "None"),
)
JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 0.5, -0.5, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
    *(1 << 31, 1 << 63, -(1 << 63) - 1, 10**30, 10**99, 10**400),
    *(
        "",
        " ",
        "x",
        "0",
        "nan",
        "\0",
        "\x1b[31m",
        "\u202e",
        "\ud800",
        "a/../../b",
        "/",
        "..",
        "*",
        "[bold]",
        "x" * 5000,
    ),
    *([], {}, [[]], [None], {"": None}, [[[[[[[[[[]]]]]]]]]], ["a", 1], [0] * 3000),
)
DESCRIPTIONS = (
    *("<f4", ">f4", "<f2", "<f8", ">f8", "|b1", "|u1", "|i1", "<i4", "<u8", ">i8", "<c8", "<c16", "<U1", "<U4", "|S1"),
    *("|S4", "<U0", "|S0", "|O", "<f16", "<f3", "<U999999999", "<M8", "|V4", "f4", "=f4", "<f4,<f4", ""),
)
SPECIAL = (
    *(0.0, -0.0, 1.0, -1.0, 0.5, 2.0, np.nan, np.inf, -np.inf),
    *(3.4e38, -3.4e38, 1e-45, 65504.0, 1e300, -1e300, 1e-320),
)
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def mutated(draw: random.Random, name: str, files: dict[str, bytes]) -> bytes:
    """One of some files made hostile: in what its ending says it is made of, in its bytes, or in both."""
    content, structure = files[name], STRUCTURES.get(Path(name).suffix)
    is_done = False
    if structure is not None and draw.random() < 0.7:
        content, is_done = structure(draw, content), True
    if not is_done or draw.random() < 0.15:
        for _ in range(draw.choice((1, 1, 1, 2, 4))):
            content = _bytes(draw, content, files)
    return content


def _bytes(draw: random.Random, content: bytes, files: dict[str, bytes]) -> bytes:
    start = draw.randrange(len(content) + 1)
    end = min(len(content), start + draw.choice((1, 2, 4, 8, 16, 100, len(content))))
    kind = draw.randrange(8)
    if kind == 0 and content:
        flipped = bytearray(content)
        for _ in range(draw.choice((1, 1, 3, 20))):
            flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        return bytes(flipped)
    if kind == 1:
        return content[:start]
    if kind == 2:
        return content[:start] + content[end:]
    if kind == 3:
        return content[:end] + content[start:end] * draw.choice((1, 2, 50)) + content[end:]
    if kind == 4:
        other = files[draw.choice(sorted(files))]
        cut = draw.randrange(len(other) + 1)
        return content[:start] + other[cut : cut + draw.choice((4, 64, len(other)))] + content[end:]
    if kind == 5:
        return content[:start] + draw.randbytes(draw.choice((1, 4, 30))) + content[end:]
    if kind == 6:
        width = draw.choice((1, 2, 4, 8))
        number = draw.choice(LENGTHS) % (1 << 8 * width)
        return content[:start] + number.to_bytes(width, draw.choice(("little", "big"))) + content[start + width :]
    numbers = list(re.finditer(rb"\d+(\.\d+)?", content[:20_000]))
    if not numbers:
        return content[:start]
    found = draw.choice(numbers)
    return content[: found.start()] + draw.choice(NUMBERS).encode() + content[found.end() :]


def changed_tree(draw: random.Random, root: Any) -> Any:
    """A document of lists and dictionaries in which a few places hold something else; the given one is not changed."""
    root = json.loads(json.dumps(root))
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        places: list[tuple[Any, Any]] = []
        level = [root]
        while level:
            node = level.pop()
            keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
            places += [(node, key) for key in keys]
            level += [node[key] for key in keys]
        if not places:
            return copy.deepcopy(draw.choice(JUNK))
        node, key = draw.choice(places)
        value, kind = node[key], draw.randrange(8)
        if kind == 0:
            del node[key]
        elif kind == 1:
            other, of = draw.choice(places)
            # Written and read again: a tree has no loops.
            node[key] = json.loads(json.dumps(other[of])) if of in other or isinstance(other, list) else None
        elif kind == 2 and isinstance(node, dict):
            node[draw.choice(("", "x", "schema", "\0", "a.b"))] = copy.deepcopy(draw.choice(JUNK))
        elif kind == 3 and isinstance(value, int | float) and not isinstance(value, bool):
            node[key] = draw.choice((-value, value + 1, value * 1000, value // 3, str(value), [value]))
        elif kind == 3 and isinstance(value, str):
            node[key] = draw.choice((value + "x", value[:-1], value.upper(), value * 100, [value], {value: value}))
        elif kind == 3 and isinstance(value, list):
            node[key] = draw.choice((value[:-1], value + value[-1:], value[::-1], value * 50, [value]))
        elif kind == 4:
            node[key] = _nested(draw.choice((5, 25, 120)))
        else:
            node[key] = copy.deepcopy(draw.choice(JUNK))
    return root


def _nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def _json(draw: random.Random, content: bytes) -> bytes:
    document = changed_tree(draw, json.loads(content))
    return json.dumps(document, ensure_ascii=draw.random() < 0.5).encode(errors="surrogatepass")


def _jsonl(draw: random.Random, content: bytes) -> bytes:
    lines = content.splitlines()
    line = draw.randrange(len(lines))
    lines[line] = _json(draw, lines[line])
    return b"\n".join(lines)


def sealed(draw: random.Random, content: bytes, name: str) -> bytes:
    """A sealed document that says something else and has a seal which fits, as far as it is still an object."""
    document = changed_tree(draw, json.loads(content))
    if isinstance(document, dict) and "seal" in document:
        del document["seal"]
        try:
            document["seal"] = content_key(name, document)
        except ValueError:
            document["seal"] = None
    return json.dumps(document).encode()


def _toml(draw: random.Random, content: bytes) -> bytes:
    import tomli_w

    if draw.random() < 0.3:
        lines = content.splitlines()
        line = draw.randrange(len(lines))
        key = lines[line].split(b"=")[0]
        lines[line] = (
            key + b"= " + draw.choice([*NUMBERS, "[" * 30, "{}", "1979-05-27", "'x'", '"\\u0000"', "-nan"]).encode()
        )
        return b"\n".join(lines)
    try:
        return tomli_w.dumps(changed_tree(draw, tomllib.loads(content.decode()))).encode()
    except (TypeError, ValueError, AttributeError):  # TOML has no such value
        return _toml(draw, content)


def _npy(draw: random.Random, content: bytes) -> bytes:
    """Another header over the same numbers, or other numbers under the same header."""
    with io.BytesIO(content) as stream:
        array = np.load(stream, allow_pickle=False)
    if draw.random() < 0.5 and array.size and array.dtype.kind in "biuf":
        values = array.astype(draw.choice([array.dtype, np.float64, np.float32, np.float16, np.int64, np.bool_]))
        for _ in range(draw.choice((1, 1, 3, array.size))):
            special = draw.choice(SPECIAL) if values.dtype.kind == "f" else draw.choice((0, 1, -1, 7, (1 << 63) - 1))
            with np.errstate(over="ignore"):
                values.reshape(-1)[draw.randrange(values.size)] = np.array(special).astype(values.dtype)
        return npy_bytes(values)
    shape = list(array.shape)
    for _ in range(draw.choice((1, 1, 2))):
        axis = draw.randrange(len(shape) + 1)
        if draw.random() < 0.3 or not shape:
            shape.insert(axis, draw.choice((1, 1, 0, 2)))
        elif draw.random() < 0.3:
            del shape[axis % len(shape)]
        else:
            shape[axis % len(shape)] = draw.choice((0, 1, 2, shape[axis % len(shape)] - 1, *LENGTHS))
    descr = array.dtype.str if draw.random() < 0.5 else draw.choice(DESCRIPTIONS)
    lengths = ", ".join(map(str, shape)) + draw.choice((",", "", "L,"))
    if draw.random() < 0.1:
        lengths = draw.choice(("True,", "3.0,", "-1,", "1 " * 30, "(" * 200, "1," * 100, "'a'"))
    order = draw.choice(("True", "False", "False", "0", "None"))
    header = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({lengths}), }}".encode() + b" " * 20 + b"\n"
    version = draw.choice((1, 1, 2, 3, 4))
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + array.tobytes() * draw.choice((1, 1, 1, 2))


def npy_bytes(array: Any) -> bytes:
    """An array as the content of a ``.npy`` file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _npz(draw: random.Random, content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice(sorted(members))
    kind = draw.randrange(6)
    if kind == 0:
        del members[name]
    elif kind == 1:
        members[draw.choice(("x.npy", "../x.npy", "labels.npy", "a\0b.npy", "/x", "labels", "ids.npy"))] = members[name]
    elif kind == 2:
        members[name] = _bytes(draw, members[name], members)
    else:
        members[name] = _npy(draw, members[name])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", draw.choice(PACKED)) as archive:
        for key, value in members.items():
            archive.writestr(key, value)
    return stream.getvalue()


def _safetensors(draw: random.Random, content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(changed_tree(draw, json.loads(content[8 : 8 + length]))).encode()
    if draw.random() < 0.2:
        header = header.replace(
            b'"F32"', draw.choice((b'"BF16"', b'"F8_E4M3"', b'"F64"', b'"BOOL"', b'"I64"', b'"F16"', b'"U64"'))
        )
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _csv(draw: random.Random, content: bytes) -> bytes:
    rows = [line.split(",") for line in content.decode().splitlines()]
    for _ in range(draw.choice((1, 1, 3, 10))):
        row = draw.choice(rows[:1] + rows)
        cell = draw.randrange(len(row) + 1)
        kind = draw.randrange(6)
        if kind == 0 and len(row) > 1:
            del row[cell % len(row)]
        elif kind == 1:
            row.insert(cell, draw.choice(NUMBERS))
        elif kind == 2:
            column = cell % len(row)
            for each in rows[1:]:
                if column < len(each):
                    each[column] = draw.choice((*NUMBERS, "x" * 2000))
        else:
            row[cell % len(row)] = draw.choice(
                (*NUMBERS, *row, '"', '""', "\x1b[0m", "a;b", "\t", "x" * 2000, '"a\nb"')
            )
    return "\n".join(",".join(row) for row in rows).encode() + draw.choice((b"", b"\n", b"\r\n\r\n", b"\0"))


def _parquet(draw: random.Random, content: bytes) -> bytes:
    """A column of another type, with empty cells, or under another name."""
    import pyarrow
    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(content))
    index = draw.randrange(table.num_columns)
    rows, name = table.num_rows, table.column_names[index]
    columns: list[Any] = [
        pyarrow.array([None] * rows),
        pyarrow.array([None] * rows, pyarrow.float64()),
        pyarrow.array([draw.choice((1.0, None, float("nan"), float("inf"))) for _ in range(rows)]),
        pyarrow.array([draw.choice((0, 1, -1, 1 << 62)) for _ in range(rows)]),
        pyarrow.array([draw.choice(("", "a", "\0", None)) for _ in range(rows)]),
        pyarrow.array([draw.choice((b"", b"\xff", None)) for _ in range(rows)], pyarrow.binary()),
        pyarrow.array([[0.5] * draw.randrange(3) for _ in range(rows)], pyarrow.list_(pyarrow.float64())),
        pyarrow.array(
            [draw.choice(([0.5, None], [1.0, 1e300], None)) for _ in range(rows)], pyarrow.list_(pyarrow.float64())
        ),
        pyarrow.array([[[1.0]]] * rows),
        pyarrow.array(
            [{"bytes": draw.choice((b"x", None)), "path": draw.choice(("", "x", None))} for _ in range(rows)]
        ),
        pyarrow.array([{"bytes": draw.choice(("x", 1))} for _ in range(1)] * rows),
        pyarrow.array([{"a": 1}] * rows),
        pyarrow.array([True] * rows),
        pyarrow.array(["a", *"b" * (rows - 1)]).dictionary_encode(),
        pyarrow.array([1 << 40] * rows, pyarrow.timestamp("us")),
        pyarrow.array([1] * rows, pyarrow.decimal128(5)),
        pyarrow.array([1] * rows, pyarrow.uint64()),
        pyarrow.array([0.5] * rows, pyarrow.float16()),
        pyarrow.array([b"\xff\xfe"] * rows, pyarrow.binary()).cast(pyarrow.string(), safe=False),
    ]
    kind = draw.randrange(10)
    if kind == 0:
        table = table.remove_column(index)
    elif kind == 1:
        table = table.append_column(name, table.column(index))
    elif kind == 2:
        table = table.slice(0, draw.randrange(3))
    elif kind == 3:
        metadata = {
            b"huggingface": _json(draw, b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a"]}}}}')
        }
        table = table.replace_schema_metadata(metadata)
    else:
        renamed = draw.choice((name, name, "label", "image", "text", "x"))
        table = table.set_column(index, renamed, draw.choice(columns))
    stream = io.BytesIO()
    parquet.write_table(table, stream, compression=draw.choice(("snappy", "gzip", "zstd", "none")))
    return stream.getvalue()


def _sqlite(draw: random.Random, content: bytes) -> bytes:
    """Other rows, tables, views or settings."""
    blobs = "x''", "zeroblob(24)", "zeroblob(40)", "randomblob(24)", "randomblob(40)", "zeroblob(1000000)"
    cells = ("NULL", "1", "1.5", "'text'", *blobs)
    statements = (
        *(f"UPDATE answers SET numbers = {draw.choice(cells)}" for _ in range(4)),
        *(f"UPDATE answers SET key = {draw.choice(cells)} WHERE rowid = 1" for _ in range(2)),
        *(f"UPDATE sent SET points = {draw.choice((*cells, '-1', '1e300', str((1 << 63) - 1)))}" for _ in range(3)),
        *("DELETE FROM sent", "DELETE FROM answers", "DROP TABLE sent", "DROP TABLE answers"),
        "INSERT INTO sent VALUES (2, 1)",
        "ALTER TABLE answers RENAME TO other",
        "ALTER TABLE answers RENAME COLUMN numbers TO other",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TRIGGER t BEFORE INSERT ON sent BEGIN SELECT 1; END",
        "DROP TABLE answers; CREATE TABLE answers (key, numbers, third)",
        "DROP TABLE answers; CREATE TABLE answers (key PRIMARY KEY CHECK (0), numbers)",
        "DROP TABLE answers; CREATE TABLE answers (key, numbers AS (zeroblob(100000000)))",
        "CREATE INDEX i ON answers (numbers, key)",
        f"PRAGMA user_version = {draw.choice(LENGTHS)}",
        "PRAGMA encoding = 'UTF-16'",
        "PRAGMA auto_vacuum = FULL; VACUUM",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        path.write_bytes(content)
        database = sqlite3.connect(path)
        try:
            for _ in range(draw.choice((1, 1, 2))):
                database.executescript(draw.choice(statements))
        except sqlite3.Error:  # two that do not go together
            pass
        finally:
            database.close()
        return path.read_bytes()


def _text(draw: random.Random, content: bytes) -> bytes:
    lines = content.decode().split("\n")
    line = draw.randrange(len(lines))
    steering = "".join(
        draw.choice(string.printable + "\0\x1b\u2028\u202e\u00e9\U0001f600") for _ in range(draw.randrange(5))
    )
    lines[line] = draw.choice(("", " ", "\t", steering, lines[line] * 100, lines[line] + "\r", "\ufeff" + lines[line]))
    return "\n".join(lines).encode()


def _pickle(draw: random.Random, content: bytes) -> bytes:
    """Another opcode, or another number in one, between those of a pickle."""
    at = draw.choice([place for _, _, place in pickletools.genops(content) if place is not None])
    length = draw.choice(LENGTHS)
    if draw.random() < 0.4:
        # Behind an opcode mostly stands a number or a length.
        width = draw.choice((1, 1, 4))
        return content[: at + 1] + (length % (1 << 8 * width)).to_bytes(width, "little") + content[at + 1 + width :]
    wide, long = (length % (1 << 31)).to_bytes(4, "little"), length.to_bytes(8, "little")
    number = b"\x8a\x08" + long
    calls = (
        b"cnumpy\nndarray\n(" + number + b"tR",
        b"cnumpy\nndarray\n((" + number + b"M\x00\x0cttR",
        b"cnumpy\nndarray\n((K\x02M\x00\x0ctcnumpy\ndtype\n(U\x02u1tRtR",
        b"cnumpy\ndtype\n(U\x02O8tR",
        b"cnumpy\ndtype\n(X\x05\x00\x00\x00u1,u1tR",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number + b"tU\x01btR",
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x06\x00\x00\x00latin1tR",
        b"cos\nsystem\n(U\x04truetR",
    )
    opcodes = (
        *(b"r" + wide, b"j" + wide, b"p" + str(length).encode() + b"\n", b"T" + wide, b"X" + wide, b"\x8b" + wide),
        *(b"\x8e" + long, b"\x8d" + long, b"\x96" + long, b"\x95" + long, number, b"I" + b"9" * 5000 + b"\n"),
        *(b"2", b"0", b"(", b"t", b"e", b"u", b"b", b"R", b"]", b"}", b"N", b".", b"\x8f", b"\x90"),
        *(b"(" * 3000, b"]" * 3000),
    )
    return content[:at] + draw.choice((draw.choice(opcodes), draw.choice(calls))) + content[at:]


STRUCTURES: dict[str, MutateBytes] = {
    "": _pickle,
    ".meta": _pickle,
    ".json": _json,
    ".jsonl": _jsonl,
    ".toml": _toml,
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".csv": _csv,
    ".parquet": _parquet,
    ".sqlite": _sqlite,
    ".txt": _text,
}
