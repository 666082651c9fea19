"""What README says is done in its order, in one folder, as a stranger would who types it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from made.commands import typed
from tmi.attacks.registry import all_attacks
from tmi.config import preset_names

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
CODE_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
# Of the clone and its environment, which is there already where this runs.
INSTALLATION = ("python3 -m venv", "pip install")


def to_type() -> list[tuple[str, str]]:
    """The blocks of README that are typed, with their languages."""
    kept = []
    for language, code in CODE_BLOCK.findall(README):
        lines = [line for line in code.splitlines() if not line.startswith(INSTALLATION)]
        if language in ("sh", "python"):
            kept.append((language, "\n".join(lines)))
    return kept


def what_a_reader_has(folder: Path) -> None:
    """Data and predictions of one's own, under the names that README has for them."""
    digits = load_digits()
    np.savez(
        folder / "photos.npz", inputs=(digits.images[:400] * 255 / 16).astype(np.uint8), labels=digits.target[:400]
    )
    random = np.random.default_rng(0)
    membership = random.random((10, 40)) < 0.5
    direction = random.normal(size=(40, 1, 4))
    logits = (random.normal(size=(10, 40, 2, 4)) + membership[:, :, None, None] * direction).astype(np.float32)
    np.save(folder / "predictions.npy", logits)
    np.save(folder / "membership.npy", membership)
    for model, (answers, members) in enumerate(zip(logits, membership, strict=True)):
        saved = folder / "exp" / "cifar10" / str(model)
        saved.mkdir(parents=True)
        np.save(saved / "logits.npy", answers)
        np.save(saved / "keep.npy", members)


def follow(folder: Path, *, shorter: bool) -> None:
    for language, code in to_type():
        if shorter:
            code = re.sub(
                r"^tmi attack(?= +#)", "tmi attack --models 6 --set pool.size=60 --set pretrain.epochs=2", code
            )
            code = code.replace("attack photos.toml", "attack photos.toml --models 6 --set pretrain.epochs=1")
        typed(code, folder, language)
    # Files of predictions are called like the folder that they lie in.
    reports = {path.parent.name for path in folder.glob("runs/*/report.html")}
    assert reports == {"digits", "photos", folder.name, "cifar10", "from-python"}


@pytest.mark.slow
@pytest.mark.parametrize("shorter", [True, False], ids=["shortened", "as it is"])
def test_readme_is_followed_from_its_first_line_to_its_last_in_one_folder(tmp_path: Path, shorter: bool) -> None:
    what_a_reader_has(tmp_path)
    follow(tmp_path, shorter=shorter)


def test_nothing_in_readme_but_the_installation_is_left_out_when_it_is_followed() -> None:
    blocks = [code for language, code in CODE_BLOCK.findall(README) if language != "text"]  # what a terminal shows
    followed = {line for _, code in to_type() for line in code.splitlines()}
    left = [line for code in blocks for line in code.splitlines() if line not in followed]
    assert len(left) == 2
    assert all(line.startswith(INSTALLATION) for line in left)


def test_readme_is_short_and_its_links_and_pictures_are_there() -> None:
    assert len(README.split()) < 900
    links = re.findall(r"\]\(([^)#\s]+)", README)
    assert [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()] == []
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures
    assert all((ROOT / picture).stat().st_size < 150_000 for picture in pictures)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_described(name: str) -> None:
    assert f"`{name}`" in DOCS["training.md"]


@pytest.mark.parametrize("name", all_attacks())
def test_every_attack_is_described(name: str) -> None:
    assert f"`{name}`" in DOCS["attacks.md"]
