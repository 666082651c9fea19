from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tmi.config import SourceConfig
from tmi.data.points import Points
from tmi.data.sources import load_points
from tmi.errors import TmiError


def write(path: Path, seed: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> np.ndarray:
    """A random image of that width and height; what is in it, uint8 [3, height, width]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    image.save(path)
    return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def load(root: Path, **options: str) -> Points:
    return load_points(SourceConfig(source=f"imagefolder:{root}", **options))


def test_folders_of_classes(tmp_path: Path) -> None:
    first = write(tmp_path / "dog" / "1.png", 0)
    second = write(tmp_path / "cat" / "2.PNG", 1)
    grey = write(tmp_path / "cat" / "3.bmp", 2, mode="L")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "cat" / "._2.png").write_text("what macOS leaves")
    (tmp_path / ".git").mkdir()
    points = load(tmp_path)
    assert (points.kind, points.raw.dtype, points.raw.shape) == ("image", np.uint8, (3, 3, 4, 6))
    assert (points.class_names, points.labels.tolist()) == (("cat", "dog"), [0, 0, 1])
    assert (points.raw == np.stack([second, grey, first])).all()


def test_splits_are_folders_around_those_of_the_classes(tmp_path: Path) -> None:
    train = write(tmp_path / "train" / "a" / "1.png", 0)
    write(tmp_path / "train" / "b" / "1.png", 1)
    test = write(tmp_path / "test" / "b" / "1.png", 2)
    assert (load(tmp_path, split="train").raw[0] == train).all()
    assert load(tmp_path, split="test").class_names == ("b",)
    everything = load(tmp_path)
    assert (everything.class_names, everything.labels.tolist()) == (("a", "b"), [1, 0, 1])
    assert (everything.raw[0] == test).all()
    with pytest.raises(TmiError, match="split is 'val', but there is no such folder in it, found test, train"):
        load(tmp_path, split="val")


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(TmiError, match="none: there is no such directory"):
        load(tmp_path / "none")
    with pytest.raises(TmiError, match="holds no folders, expected one per class"):
        load(tmp_path)
    write(tmp_path / "a" / "1.png", 0)
    (tmp_path / "b").mkdir()
    with pytest.raises(TmiError, match=r"b: holds no images"):
        load(tmp_path)
    write(tmp_path / "b" / "2.png", 0, size=(6, 5))
    with pytest.raises(TmiError, match=r"2.png: is 6 x 5 pixels, but .*1.png is 6 x 4 pixels: .* resize or crop"):
        load(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif"])
def test_damaged_images_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "a" / f"1.{suffix}"
    write(path, 0, size=(64, 64))
    whole = path.read_bytes()
    assert load(tmp_path).raw.shape == (1, 3, 64, 64)
    for content in (whole[: len(whole) // 2], whole[:5], b""):
        path.write_bytes(content)
        with pytest.raises(TmiError, match=f"1.{suffix}: not a readable image"):
            load(tmp_path)
