"""CIFAR-10 and CIFAR-100 in the layouts that their authors publish (Krizhevsky 2009, cs.toronto.edu/~kriz/cifar.html).

Each has a python layout of pickled batches and a binary layout of fixed-length records: the labels, one byte each,
then 3,072 bytes of pixels, the red plane first.

A pickle is a program: reading it calls any function that it names. The official files of CIFAR need no more than the
few functions that rebuild a numpy array of whole numbers; a file that names anything else is refused.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from tmi.data.points import Points
from tmi.errors import TmiError, did_you_mean, first_line

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
# Types of arrays in a pickle.
WHOLE_NUMBERS = re.compile("[iu][1248]")
SPLITS = ("train", "test")
# The class names, for binary files that come without them.
CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck"
COARSE_NAMES = """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
    household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes
    large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees
    vehicles_1 vehicles_2
"""
FINE_NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


@dataclass(frozen=True)
class Labels:
    """One of the ways in which a data set is labelled.

    Attributes:
        key: of the labels in a pickled batch.
        byte: their place in a binary record.
        names_key: of the class names in the pickled names file.
        names_file: the class names of the binary layout, one a line.
        names: the class names, for a binary layout that comes without them.
    """

    key: str
    byte: int
    names_key: str
    names_file: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """Where a data set is in its files.

    Attributes:
        folder: its official name.
        train: files of the training part.
        test: files of the test part.
        names_file: the pickled class names; None marks the binary layout.
    """

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names_file: str | None = None

    def files(self, split: str | None) -> tuple[str, ...]:
        """The files of a split, or of both."""
        return {None: self.train + self.test, "train": self.train, "test": self.test}[split]


CIFAR10 = Labels(
    "labels",
    0,
    "label_names",
    "batches.meta.txt",
    tuple(CIFAR10_NAMES.split()),
)
COARSE = Labels(
    "coarse_labels",
    0,
    "coarse_label_names",
    "coarse_label_names.txt",
    tuple(COARSE_NAMES.split()),
)
FINE = Labels(
    "fine_labels",
    1,
    "fine_label_names",
    "fine_label_names.txt",
    tuple(FINE_NAMES.split()),
)

BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
CIFAR10_LAYOUTS = (
    Layout("cifar-10-batches-py", BATCHES, ("test_batch",), "batches.meta"),
    Layout("cifar-10-batches-bin", tuple(f"{batch}.bin" for batch in BATCHES), ("test_batch.bin",)),
)
CIFAR100_LAYOUTS = (
    Layout("cifar-100-python", ("train",), ("test",), "meta"),
    Layout("cifar-100-binary", ("train.bin",), ("test.bin",)),
)


def load_layout(
    directory: Path, layouts: tuple[Layout, ...], split: str | None, labels: Labels, recorded: tuple[Labels, ...]
) -> Points:
    """Read the files of a split.

    Args:
        directory: the folder of a layout, or the one that holds it.
        layouts: those of the data set; the first that is there is read.
        split: ``train`` or ``test``; both if left out.
        labels: which of the labels.
        recorded: all labels that a binary record begins with.

    Raises:
        TmiError: no such folder or split, or a file that is missing, damaged or no CIFAR file.
    """
    if split is not None and split not in SPLITS:
        raise TmiError(f"{directory}: split is {split!r}{did_you_mean(split, list(SPLITS))}")
    folder, layout = _find(directory, layouts)
    paths = [folder / file for file in layout.files(split)]
    required = [*paths, folder / layout.names_file] if layout.names_file else paths
    for path in required:
        if not path.is_file():
            raise TmiError(f"{path}: is missing, while other files of {layout.folder} are there: copy all of them")

    batches = [
        _read_pickled(path, labels) if layout.names_file else _read_binary(path, labels, len(recorded))
        for path in paths
    ]
    for path, (_, batch_labels) in zip(paths, batches, strict=True):
        if batch_labels.max(initial=0) >= len(labels.names) or batch_labels.min(initial=0) < 0:
            raise TmiError(
                f"{path}: {labels.key!r} range from {batch_labels.min()} to {batch_labels.max()}, "
                f"expected 0 to {len(labels.names) - 1}"
            )
    return Points(
        np.concatenate([images for images, _ in batches]),
        np.concatenate([batch_labels for _, batch_labels in batches]).astype(np.int64),
        _names(folder, layout, labels),
        "image",
    )


def _find(directory: Path, layouts: tuple[Layout, ...]) -> tuple[Path, Layout]:
    if not directory.is_dir():
        raise TmiError(f"{directory}: there is no such directory")
    for layout in layouts:
        for folder in (directory / layout.folder, directory):
            if any((folder / file).is_file() for file in layout.files(None)):
                return folder, layout
    raise TmiError(
        f"{directory}: holds neither {' nor '.join(layout.folder for layout in layouts)}, nor the files of one of "
        "them: unpack the archive of https://www.cs.toronto.edu/~kriz/cifar.html there"
    )


def _read_pickled(path: Path, labels: Labels) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    record = load_record(path)
    for key in ("data", labels.key):
        if key not in record:
            raise TmiError(f"{path}: the key {key!r} is missing, found {', '.join(map(repr, record)) or 'none'}")
    data = record["data"]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PIXELS:
        found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else f"a {type(data).__name__}"
        raise TmiError(f"{path}: 'data' is {found}, expected an array uint8 [images, {PIXELS}]")
    return data.reshape(-1, *SHAPE), _whole_numbers(record[labels.key], len(data), f"{path}: {labels.key!r}")


def _whole_numbers(labels: Any, number: int, where: str) -> NDArray[Any]:
    if isinstance(labels, list) and all(type(label) is int and abs(label) < 2**31 for label in labels):
        labels = np.array(labels, dtype=np.int64)
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise TmiError(f"{where} is no list of whole numbers")
    if len(labels) != number:
        raise TmiError(f"{where} has {len(labels)} entries, expected {number}, one per image of 'data'")
    return labels


def _read_binary(path: Path, labels: Labels, label_bytes: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    content = np.fromfile(path, dtype=np.uint8)
    length = label_bytes + PIXELS
    if len(content) == 0 or len(content) % length:
        raise TmiError(
            f"{path}: has {len(content):,} bytes, expected a multiple of {length:,}, the length of a record: "
            "truncated or damaged"
        )
    records = content.reshape(-1, length)
    return records[:, label_bytes:].reshape(-1, *SHAPE), records[:, labels.byte]


def _names(folder: Path, layout: Layout, labels: Labels) -> tuple[str, ...]:
    if layout.names_file is not None:
        path = folder / layout.names_file
        found = load_record(path).get(labels.names_key)
        entries = found if isinstance(found, list) else []
        names = [name.decode(errors="replace") if isinstance(name, bytes) else name for name in entries]
    else:
        path = folder / labels.names_file
        if not path.is_file():
            return labels.names
        names = path.read_text(encoding="utf-8", errors="replace").split()
    if len(names) != len(labels.names) or not all(isinstance(name, str) for name in names):
        raise TmiError(f"{path}: has {len(names)} names as {labels.names_key!r}, expected {len(labels.names)}")
    return tuple(names)


def load_record(path: Path) -> dict[str, Any]:
    """The dictionary in a file of CIFAR's python layout.

    Args:
        path: a batch or ``meta``, written by Python 2 or 3 with any version of NumPy.

    Returns:
        Arrays, lists, numbers and bytes by key.

    Raises:
        TmiError: the file is missing, truncated or damaged, holds something else, or names a function that arrays of
            whole numbers do not need; that function was not called.
    """
    try:
        with path.open("rb") as file:
            record = _ArraysOnly(file, path).load()
    except FileNotFoundError:
        raise TmiError(f"{path}: there is no such file") from None
    except TmiError:
        raise
    except Exception as error:  # a damaged pickle may fail in any way
        raise TmiError(f"{path}: truncated or damaged, not a pickled file of CIFAR: {first_line(error)}") from None
    if not isinstance(record, dict):
        raise TmiError(f"{path}: holds a {type(record).__name__}, expected the dictionary of a CIFAR file")
    # Python 2 wrote strings that Python 3 reads as bytes.
    return {
        key.decode(errors="replace") if isinstance(key, bytes) else str(key): (
            value.values if isinstance(value, _Array) else value
        )
        for key, value in record.items()
    }


class _ArraysOnly(pickle._Unpickler):
    """Reads numbers, texts, lists, dictionaries and arrays of whole numbers.

    It is the unpickler in Python, since the one in C makes room for as many memorised objects as the file says. Nor
    does NumPy see what the file says of arrays and their types, which it takes at its word: `_Array` and `_Type` stand
    for them.
    """

    # Nor has any such file an array of bytes, which is filled with zeros before there is anything to read into it.
    dispatch: ClassVar[dict[int, Any]] = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]
    }

    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__(file, encoding="bytes")
        self._path = path
        self._admitted: dict[str, Callable[..., Any]] = {
            "numpy.core.multiarray._reconstruct": _Array,
            "numpy._core.multiarray._reconstruct": _Array,
            "numpy.ndarray": _NotCalled,
            "numpy.dtype": self._whole_numbers,
            "_codecs.encode": self._latin1,
        }

    def find_class(self, module: str, name: str) -> Any:
        """The function or type of that name, if arrays need it."""
        if f"{module}.{name}" not in self._admitted:
            raise TmiError(
                f"{self._path}: a pickle that calls {module}.{name}, expected an official CIFAR file, which holds "
                "nothing but arrays; it was not read further"
            )
        return self._admitted[f"{module}.{name}"]

    def _whole_numbers(self, name: str | bytes, *_: Any) -> _Type:
        text = name.decode() if isinstance(name, bytes) else name
        if not WHOLE_NUMBERS.fullmatch(text):
            raise TmiError(f"{self._path}: holds an array of type {text[:20]!r}, expected whole numbers")
        return _Type(text)

    def _latin1(self, text: str, encoding: str) -> bytes:
        """How Python 3 writes bytes where Python 2 is to read them."""
        if encoding != "latin1":
            raise TmiError(f"{self._path}: a pickle that encodes as {encoding!r}, expected 'latin1'")
        return text.encode("latin1")


class _NotCalled:
    """What `numpy.ndarray` is in such files: an argument."""

    def __new__(cls, *_: Any) -> _NotCalled:
        raise ValueError("it makes an array without saying what it holds")


class _Type:
    """The type of an array as a pickle builds it, which later says the order of its bytes."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"an array whose bytes are in the order {order!r}")
        self.name = order + self.name


class _Array:
    """An array as a pickle builds it; ``values`` are there when its state was read."""

    def __init__(self, *_: Any) -> None:
        self.values: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, content = state
        if isinstance(content, str):
            content = content.encode("latin1")
        # As many numbers as there are bytes of, or it is refused.
        self.values = np.frombuffer(content, kind.name).reshape(shape, order="F" if fortran else "C")
