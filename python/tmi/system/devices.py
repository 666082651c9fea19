"""Where networks are trained and queried."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

from tmi.errors import TmiError
from tmi.system.worker import worker_index

# What CUDA itself, cuBLAS and cuDNN say where their memory ran out.
OUT_OF_MEMORY = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def actual_device(name: str) -> str:
    """The device that ``auto`` stands for, or the name itself."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise TmiError(f"compute.device is {name!r}, which this machine does not have: {reason}") from None
    return name


def is_here(name: str) -> bool:
    """Whether this machine has a device."""
    try:
        actual_device(name)
    except TmiError:
        return False
    return True


def training_processes(name: str, workers: int) -> int:
    """How many processes train at the same time: one per core, but one per accelerator."""
    device = torch.device(name)
    if device.type == "cpu":
        return workers
    return torch.cuda.device_count() if _any_of_several(device) else 1


def own_device(name: str) -> torch.device:
    """The device of this process: where there are several and none is named, its worker's own."""
    device = torch.device(name)
    if _any_of_several(device):
        return torch.device("cuda", worker_index() % torch.cuda.device_count())
    return device


def _any_of_several(device: torch.device) -> bool:
    return device.type == "cuda" and device.index is None and torch.cuda.device_count() > 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of an accelerator ran out: torch's own of it, or what its libraries and graphs take beside."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(sentence in str(error) for sentence in OUT_OF_MEMORY)
    )


Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def on_one_thread(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Run a function with one torch thread.

    Two threads make networks of this size slower, and the number of threads could change the last bits of a sum.
    """

    @wraps(function)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return function(*args, **kwargs)
        finally:
            torch.set_num_threads(threads)

    return wrapped


def actual_precision(precision: str, device: str) -> str:
    """What the precision ``auto`` stands for on a device, or the precision itself.

    Without instructions for bfloat16 a processor computes it many times slower than float32.
    """
    if precision != "auto":
        return precision
    kind, fast = torch.device(device).type, False
    if kind == "cuda":
        with torch.cuda.device(device):
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif kind == "cpu":
        # Older versions of torch cannot tell.
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = bool(capabilities.get("avx512_bf16"))
    return "bfloat16" if fast else "float32"


def probe() -> dict[str, Any]:
    """What torch sees of this machine, as ``tmi doctor`` tells it."""
    seen: list[tuple[str, str | None, int | None]] = [("cpu", platform.machine(), None)]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            seen.append((f"cuda:{index}", properties.name, properties.total_memory))
    if torch.backends.mps.is_available():
        seen.append(("mps", None, None))
    devices = [
        {"name": name, "model": model, "memory": memory, "automatic_precision": actual_precision("auto", name)}
        for name, model, memory in seen
    ]
    return {"cuda": torch.version.cuda, "threads": torch.get_num_threads(), "devices": devices}
