"""What other libraries raise and print, in the manner of this one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tmi.errors import TmiError
from tmi.system.files import require_files


@contextmanager
def explained(problem: str) -> Iterator[None]:
    """Whatever another library or a user's own code raises becomes one sentence that starts with ``problem``."""
    try:
        yield
    except (TmiError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in Rust is no Exception
        reason = " ".join(str(error).split())[:300]
        raise TmiError(f"{problem}: {type(error).__name__}: {reason}") from error


def require_transformers() -> None:
    """Raise a TmiError if the library is missing."""
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise TmiError("model.kind 'transformers' needs the transformers library: `pip install transformers`") from None


def from_folder(auto_class: Any, folder: Path) -> tuple[Any, list[str]]:
    """A network in float32 from a local folder, and the names of the weights that its checkpoint lacks, sorted.

    ``auto_class`` is one of transformers, such as ``AutoModel``. No pickle is read and no code of the folder is run.
    """
    require_files(folder)
    network, report = auto_class.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        dtype="float32",
        output_loading_info=True,
    )
    return network, sorted(report["missing_keys"])


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's progress bars, load reports and warnings: whatever matters here is raised."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
