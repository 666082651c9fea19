"""LeakPro: ``attack_cache/sm_<i>_logits.npy`` and ``target_logits.npy``, ``[points, classes]``.

LeakPro keeps who was trained on what in pickles, which are not read here: the user exports it once.
"""

from __future__ import annotations

from pathlib import Path

from tmi.errors import TmiError
from tmi.predictions.formats.reading import LABELS, Layout, Reading, SavedArrays, in_numeric_order, sentence


def _cache(path: Path) -> Path:
    inner = path / "attack_cache"
    return inner if inner.is_dir() else path


def _shadow_files(path: Path) -> list[Path]:
    return in_numeric_order(list(_cache(path).glob("sm_*_logits.npy")))


def detect(path: Path, membership: Path | None) -> bool:
    """A folder of cached logits of shadow models."""
    return bool(_shadow_files(path))


def read(path: Path, membership: Path | None, labels: Path | None) -> SavedArrays:
    """Read the cache; the target's logits become `SavedArrays.target`.

    Raises:
        TmiError: something is missing, damaged or does not fit.
    """
    reading = Reading()
    files = _shadow_files(path)
    if not files:
        raise TmiError(f"{path}: holds no files sm_*_logits.npy, as LeakPro writes them")
    if membership is None:
        raise TmiError(
            f"{path}: LeakPro keeps membership in pickles, which are not read; save what "
            "ShadowModelHandler().get_in_indices_mask(...) returns with numpy.save and name the file with --membership"
        )
    models = [reading.model(reading.array(file), str(file)) for file in files]
    reading.read_as.insert(0, sentence("LeakPro", models))
    shape = (len(models), len(models[0]))
    mask, classes = reading.given(membership, labels, shape)
    assert mask is not None
    beside = _cache(path) / "labels.npy"
    if classes is None and beside.is_file():
        classes = reading.labels(reading.array(beside, LABELS), shape[1], str(beside))
    target_file = _cache(path) / "target_logits.npy"
    target = None
    if target_file.is_file():
        target = reading.model(reading.array(target_file), str(target_file))
        reading.note("target_logits.npy is the model under attack; what it was trained on is not told.")
    return SavedArrays(models, mask, classes, reading.read_as, reading.files, target)


LAYOUT = Layout("leakpro", "attack_cache/sm_*_logits.npy, target_logits.npy; membership exported by you", detect, read)
