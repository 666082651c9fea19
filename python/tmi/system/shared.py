"""Objects that the processes of a machine look at together: the bytes of their arrays are in memory once.

What is shared has no name in any directory. It is gone with the last process that looks at it, however that ends.
"""

from __future__ import annotations

import mmap
import os
import pickle
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

# Where arrays begin: a multiple of a line of the caches, as with arrays of one's own.
ALIGNMENT = 64
# Whether the system has the means for it, which are Linux's.
SHARES = hasattr(os, "memfd_create")


@dataclass(frozen=True)
class Place:
    """Where another process finds an object.

    Attributes:
        path: of the memory, as long as the process that shares it holds it.
        parts: where in it, first byte and length, is the object without its arrays, and each of these.
    """

    path: str
    parts: Sequence[tuple[int, int]]

    def load(self) -> Any:
        """The object, whose arrays lie in the shared memory; None if it is not to be seen from here.

        What is written into them is seen by nobody else, and takes memory only then.
        """
        try:
            with Path(self.path).open("rb") as file:
                shared = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        except OSError:
            return None
        content, *arrays = (shared[start : start + length] for start, length in self.parts)
        return pickle.loads(content, buffers=arrays)


class SharedMemory:
    """What a process has shared, each object once; it holds the memory until it is closed.

    Without the means for it (`SHARES`) nothing is shared: then `places` stays empty.

    Attributes:
        places: of what is shared, by key.
    """

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self._files: list[IO[bytes]] = []

    def send(self, key: str, content: Callable[[], Any]) -> None:
        """See `tmi.system.worker.sending`."""
        if key in self.places or not SHARES:
            return
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(content(), protocol=5, buffer_callback=buffers.append)
        parts = []
        # At a limit of the system, also one that is met when the file is closed: everybody has a copy then.
        with suppress(OSError), ExitStack() as failing:
            file = failing.enter_context(os.fdopen(os.memfd_create("tmi"), "wb"))
            for part in (memoryview(pickled), *(buffer.raw() for buffer in buffers)):
                file.seek(-(-file.tell() // ALIGNMENT) * ALIGNMENT)
                parts.append((file.tell(), part.nbytes))
                file.write(part)
            file.flush()
            failing.pop_all()
            self._files.append(file)
            self.places[key] = Place(f"/proc/{os.getpid()}/fd/{file.fileno()}", parts)

    def close(self) -> None:
        """Let go of everything; who looks at it still has it."""
        self.places.clear()
        while self._files:
            self._files.pop().close()
