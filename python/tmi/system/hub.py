"""Files of the Hugging Face hub: from the local cache, else fetched once, without waiting for a hub out of reach."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tmi.errors import TmiError, first_line

# Seconds to wait for the hub's first answer.
PATIENCE = 4.0


def folder_on_hub(name: str, where: str, files: Sequence[str], is_complete: Callable[[Path], bool]) -> Path:
    """Files that match the patterns of a model of the hub, from the local cache or, once, from the hub itself.

    ``is_complete`` tells whether a folder has what is needed: the cache may have some files of a model only.

    Raises:
        TmiError: the files are not in the cache, and the hub is out of reach, does not have them or does not give them.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise TmiError(f"{where}: there is no such file or directory, and the hub has no such names") from None
    with suppress(Exception):  # which one depends on what of the model the cache has
        if is_complete(cached := Path(snapshot_download(name, local_files_only=True))):
            return cached
    problem = "HF_HUB_OFFLINE forbids to ask the hub" if constants.HF_HUB_OFFLINE else _why_unavailable(name)
    if problem is None:
        try:
            folder = Path(snapshot_download(name, allow_patterns=list(files), etag_timeout=PATIENCE))
            if is_complete(folder):
                return folder
            problem = f"the hub's has none of the files {', '.join(files)}"
        except Exception as error:  # of the network, the hub or the disk
            problem = f"the download failed ({first_line(error)})"
    raise TmiError(
        f"{where}: there is no such file or directory, the local Hugging Face cache does not have it, and {problem}; "
        f"run `hf download {name} --local-dir DIR` where there is a connection, copy DIR here and name it instead"
    )


def _why_unavailable(name: str) -> str | None:
    """Ask the hub about a model; None if it has it."""
    answers: list[Exception | None] = []
    # In a thread that can be left behind: looking up the hub's address may take longer than any timeout of its own,
    # and a download would try again for half a minute.
    thread = threading.Thread(target=_ask, args=(name, answers), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if not answers:
        return f"the hub did not answer within {PATIENCE:g} seconds"
    return None if answers[0] is None else f"the hub does not give it ({first_line(answers[0])})"


def _ask(name: str, answers: list[Exception | None]) -> None:
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(name, timeout=PATIENCE)
    except Exception as error:
        answers.append(error)
    else:
        answers.append(None)
