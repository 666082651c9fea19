"""Privacy Meter: ``models/memberships.npy`` [models, samples] and ``signals/*_signals.npy`` [samples, models]."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tmi.errors import TmiError
from tmi.predictions.formats.reading import Layout, Reading, SavedArrays
from tmi.predictions.intake import as_membership

MEMBERSHIPS = Path("models") / "memberships.npy"


def _signal_files(path: Path) -> list[Path]:
    """Signals of the samples themselves, RMIA's first: not of its population, nor of samples around each."""
    files = [file for file in (path / "signals").glob("*_signals.npy") if not file.name.endswith("_ramia_signals.npy")]
    return sorted(files, key=lambda file: (file.name != "rmia_signals.npy", file.name))


def detect(path: Path, membership: Path | None) -> bool:
    """A log directory with signals and memberships."""
    return bool(_signal_files(path)) and (membership is not None or (path / MEMBERSHIPS).is_file())


def read(path: Path, membership: Path | None, labels: Path | None) -> SavedArrays:
    """Read a log directory, as two-class logits."""
    reading = Reading()
    files = _signal_files(path)
    if not files:
        raise TmiError(f"{path / 'signals'}: holds no file *_signals.npy, as Privacy Meter writes them")
    signals, where = reading.array(files[0]), str(files[0])
    mask_file = membership or path / MEMBERSHIPS
    mask = reading.array(mask_file, ("memberships", "membership"))
    if signals.ndim != 2 or mask.ndim != 2:
        raise TmiError(f"{where}: signals have shape {signals.shape}, expected [samples, models]")
    # Signals are stored with samples first and memberships with models first, which tells a swap of either.
    if signals.shape == mask.shape and mask.shape[0] != mask.shape[1]:
        if signals.shape[0] < signals.shape[1]:
            reading.note("Signals were stored as [models, samples].")
            signals = signals.T
        else:
            reading.note("Memberships were stored as [samples, models].")
            mask = mask.T
    if membership is None and mask.shape[0] == signals.shape[1] and mask.shape[1] > len(signals):
        raise TmiError(
            f"{where}: has signals of {len(signals)} points, but {mask_file} of {mask.shape[1]}: with audit.data_size "
            "below the size of the data set Privacy Meter audits some of the points, in an order that it writes "
            "nowhere; run it again with all of them, or let its run_mia.py save auditing_membership with numpy.save "
            "and name that file with --membership"
        )
    logits = reading.signals(signals, where, loss=files[0].name.startswith("loss"))
    models = [np.ascontiguousarray(logits[:, model, None]) for model in range(logits.shape[1])]
    if len(files) > 1:
        reading.note(f"Of {len(files)} files of signals {files[0].name} was read.")
    shape = (len(models), len(models[0]))
    if labels is not None:
        reading.note("The labels were not read: signals are those of the right class already.")
    members, classes = as_membership(mask, shape, str(mask_file), reading.note), np.zeros(shape[1], dtype=np.int64)
    return reading.result("Privacy Meter", models, members, classes, "two, made of signals [samples, models]")


LAYOUT = Layout("privacy-meter", "a log directory: models/memberships.npy and signals/*_signals.npy", detect, read)
