"""What this installation and this machine have, and what of it would make a run slow or impossible.

It is run where something is broken: at its top this module imports nothing but the standard library, and a fact that
cannot be found out is None. Nothing of the environment is told but the numbers of threads.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from tmi.errors import first_line
from tmi.system.machine import core_limit, memory_limit, text_of, visible_cores

GIB = 1 << 30
OLDEST_PYTHON = (3, 10)
PRESETS_FOR_ACCELERATORS = ("cifar100-cifar10", "cifar100-coarse", "wikitext-dbpedia")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# The attack `tmi` works in 1 to 2 GB; a run of shadow networks takes about as much on disk.
LITTLE_MEMORY = 3 * GIB
LITTLE_DISK = 2 * GIB
# What the Rust kernels are compiled for besides the least that a processor of the architecture has; the best that the
# processor has is taken when they run. A kernel that knows nothing of AVX-512 takes AVX2 there.
LEVELS = {"AVX-512": ("avx512f", "avx512vl", "avx512dq", "avx512bw"), "AVX2": ("avx2",)}


class Dependency(NamedTuple):
    """A package, the least version, what needs it, and the module to import if it has compiled code that may not load.

    Attributes:
        only: whether it belongs to this version of Python.
        extra: what is installed with it besides, where it is optional.
    """

    name: str
    least: str
    purpose: str
    module: str | None = None
    only: bool = True
    extra: str = ""


_NEW = sys.version_info >= (3, 11)
DEPENDENCIES = (
    Dependency("accelerate", "1.0", "the Trainer that `tmi bench train` compares with"),
    Dependency("click", "8.1", "the command line"),
    Dependency("filelock", "3.12", "run directories"),
    Dependency("httpx", "0.27", "targets behind an HTTP endpoint", only=not _NEW),
    Dependency("httpx2", "2", "targets behind an HTTP endpoint", only=_NEW),
    Dependency("huggingface-hub", "0.30", "models and data sets of the Hugging Face hub"),
    Dependency("jinja2", "3.1", "the HTML report"),
    Dependency("lightgbm", "4.3", "the attack tmi, the default, and tmi-pointwise", "lightgbm"),
    Dependency("markupsafe", "2.1", "the HTML report"),
    Dependency("matplotlib", "3.8", "the figures of the report", "matplotlib"),
    Dependency("numpy", "1.26", "everything", "numpy"),
    Dependency("opacus", "1.5", "finetuning with differential privacy"),
    Dependency("peft", "0.17", "finetuning with LoRA"),
    Dependency("pillow", "10.0", "image folders, and points shown in the report", "PIL.Image"),
    Dependency("pydantic", "2.7", "configurations", "pydantic"),
    Dependency("rich", "13.7", "tables and progress in the terminal"),
    Dependency("safetensors", "0.4.3", "models in run directories", "safetensors"),
    Dependency("scikit-learn", "1.4", "the preset digits, and several attacks", "sklearn"),
    Dependency("scipy", "1.12", "intervals and attacks", "scipy.stats"),
    Dependency("threadpoolctl", "3.1", "one thread per worker process"),
    Dependency("tokenizers", "0.21", "language models", "tokenizers"),
    Dependency("tomli", "2.0", "configurations", only=not _NEW),
    Dependency("tomli-w", "1.0", "configurations"),
    Dependency("torch", "2.8", "training and querying networks", "torch"),
    Dependency("transformers", "5.0", "ResNets, language models and checkpoints"),
    Dependency("datasets", "3.0", "sources hf:NAME", extra="data"),
    Dependency("pyarrow", "15", "sources parquet:FILE", extra="data"),
    Dependency("ray", "2.40", "--cluster", extra="cluster"),
)


def examine(directory: Path | None = None) -> dict[str, Any]:
    """Every fact, as JSON takes them, and the sentences of `problems` and `notes` about them; sizes are in bytes.

    Imports torch and the other packages with compiled code, which takes some seconds. ``disk_free`` is that of the
    directory in which a run would be written, the current one if left out.
    """
    architecture = platform.machine()
    facts = {
        "schema": 1,
        "tmi": _extension(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": [_package(wanted) for wanted in DEPENDENCIES if wanted.only],
        "torch": _torch(),
        "cores": {"present": os.cpu_count(), "available": visible_cores(), "limit": core_limit()},
        "threads": {name: _number(os.environ[name]) for name in THREAD_VARIABLES if name in os.environ},
        "memory": {
            "total": _if_told(lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
            "limit": memory_limit(),
        },
        "simd": {"architecture": architecture, "kernels": kernel_level(_features(), architecture)},
        "disk_free": _if_told(lambda: shutil.disk_usage(directory or Path()).free),
        "hub": _hub(),
    }
    found: dict[str, Any] = _without_home(facts | {"problems": problems(facts), "notes": notes(facts)})
    return found


def problems(facts: dict[str, Any]) -> list[str]:
    """What is needed and missing or broken, one sentence each."""
    found = []
    if sys.version_info < OLDEST_PYTHON:
        found.append(f"Python is {facts['python']}, expected {'.'.join(map(str, OLDEST_PYTHON))} or later.")
    if facts["tmi"]["error"]:
        found.append(f"The Rust extension tmi._core does not work: {facts['tmi']['error']}; install tmi again.")
    for package in facts["packages"]:
        name, purpose, least = (package[key] for key in ("name", "needed_by", "least"))
        if package["optional"] and package["version"] is None:
            continue
        if package["version"] is None:
            found.append(f'{name} is not installed, which is needed by: {purpose}; run pip install "{name}>={least}".')
        elif package["too_old"]:
            found.append(
                f'{name} is {package["version"]}, expected {least} or later; run pip install "{name}>={least}".'
            )
        elif package["error"]:
            found.append(f"{name} is installed but cannot be imported: {package['error']}.")
        elif name == "torch" and facts["torch"] is None:
            found.append("torch can be imported but fails when it is asked for its devices.")
    return found


def notes(facts: dict[str, Any]) -> list[str]:
    """What would be slow or cannot be done, one sentence each."""
    found = [
        f"{package['name']} is not installed: no {package['needed_by']}; run "
        f'pip install "tmi-audit[{package["extra"]}]".'
        for package in facts["packages"]
        if package["optional"] and package["version"] is None
    ]
    if facts["hub"]["offline"]:
        found.append("HF_HUB_OFFLINE is set: nothing is fetched from the Hugging Face hub.")
    return [*found, *_notes_on_torch(facts["torch"]), *_notes_on_machine(facts)]


def kernel_level(features: set[str], architecture: str) -> str:
    """The instructions that the Rust kernels use on a processor with these features."""
    if architecture.lower() in ("arm64", "aarch64"):
        return "NEON"
    best = (name for name, needed in LEVELS.items() if features.issuperset(needed))
    return next(best, "SSE2" if architecture.lower() in ("x86_64", "amd64") else "baseline")


def _notes_on_torch(torch: dict[str, Any] | None) -> Iterator[str]:
    if torch is None:
        yield "Without torch nothing can be trained; saved predictions can be attacked (`tmi attack --predictions`)."
        return
    if all(device["name"] == "cpu" for device in torch["devices"]):
        yield f"No accelerator: the presets {', '.join(PRESETS_FOR_ACCELERATORS)} need one."
        if torch["nvidia_driver"]:
            build = f"built for CUDA {torch['cuda']}" if torch["cuda"] else "built without CUDA"
            yield f"There is an NVIDIA driver, but torch, {build}, sees no device."
    for warning in torch["warnings"]:
        yield f"torch warns: {warning}"
    for device in torch["devices"]:
        if device["automatic_precision"] != "bfloat16":
            yield f"{device['name']} has no fast bfloat16: networks are trained in float32, unless precision is set."


def _notes_on_machine(facts: dict[str, Any]) -> Iterator[str]:
    cores, limit = facts["cores"], facts["cores"]["limit"]
    usable = min(cores["available"], limit or cores["available"])
    if usable < 2:
        yield f"{max(usable, 0.1):.2g} core{'' if usable == 1 else 's'}: shadow models are trained one after the other."
    if limit is not None and limit < cores["available"]:
        workers = max(1, int(limit))
        yield (
            f"The container grants the time of {limit:g} of the {cores['available']} cores that can be seen: unless "
            f"--workers says otherwise, {workers} {'is' if workers == 1 else 'are'} started."
        )
    for name, threads in facts["threads"].items():
        if threads is None:
            yield f"{name} is set, but is no number."
        elif threads > cores["available"]:
            yield f"{name} is {threads}, more threads than the {cores['available']} cores available."
    memory = [size for size in facts["memory"].values() if size is not None]
    if memory and min(memory) < LITTLE_MEMORY:
        yield f"{min(memory) / GIB:.1f} GiB of memory: the attack tmi takes up to 2; --attack conditional takes less."
    if facts["disk_free"] is not None and facts["disk_free"] < LITTLE_DISK:
        yield f"{facts['disk_free'] / GIB:.1f} GiB free in this directory: a run of larger networks takes more."
    if facts["simd"]["kernels"] == "SSE2":
        yield "The processor has no AVX2: the Rust kernels are several times slower."


def _extension() -> dict[str, Any]:
    """Its version, how it was built, and what is wrong with it."""
    found: dict[str, Any] = {"version": None, "build": None, "error": None}
    try:
        import numpy as np

        from tmi import _core

        found |= {"version": _core.__version__, "build": Path(str(_core.__file__)).name}
        log_odds = _core.scale_logits(np.array([[2.0, 0.0]], dtype=np.float32))
        if not np.allclose(log_odds, [[2.0, -2.0]], atol=1e-5):
            found["error"] = f"log-odds of the logits 2, 0 are {log_odds.tolist()}, expected 2, -2"
    except Exception as error:  # whatever a broken build may raise
        found["error"] = first_line(error)
    return found


def _package(wanted: Dependency) -> dict[str, Any]:
    error = None
    try:
        installed: str | None = version(wanted.name)
    except PackageNotFoundError:
        installed = None
    if installed is not None and wanted.module is not None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import_module(wanted.module)
        except Exception as problem:  # a missing shared library is an OSError, a bad mix of versions anything
            error = first_line(problem)
    return {
        "name": wanted.name,
        "version": installed,
        "least": wanted.least,
        "needed_by": wanted.purpose,
        "optional": bool(wanted.extra),
        "extra": wanted.extra,
        "too_old": installed is not None and _release(installed) < _release(wanted.least),
        "error": error,
    }


def _release(text: str) -> tuple[int, ...]:
    """The numbers of a version up to the last that is not zero: ``2.8.0+cpu`` is (2, 8)."""
    numbers = [int(digits) for digits in re.split("[^0-9.]", text, maxsplit=1)[0].split(".") if digits]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _torch() -> dict[str, Any] | None:
    """The devices that torch sees; None if it cannot be imported."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            from tmi.system.devices import probe

            caught.clear()  # what an import warns of is not about this machine
            facts = probe()
        except Exception:  # `_package` has told
            return None
    return {
        **facts,
        "nvidia_driver": Path("/proc/driver/nvidia/version").exists(),
        "warnings": sorted({str(entry.message).splitlines()[0] for entry in caught if str(entry.message)}),
    }


def _features() -> set[str]:
    """Extensions of the processor in lower case, as far as the system or NumPy knows them."""
    for line in text_of(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    for module in ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath"):
        try:
            known: dict[str, bool] = import_module(module).__cpu_features__
        except (ImportError, AttributeError):
            continue
        return {name.lower() for name, has in known.items() if has}
    return set()


def _if_told(ask: Callable[[], int]) -> int | None:
    """What the system says; None where it has no such figure."""
    try:
        return ask()
    except (AttributeError, OSError, ValueError):
        return None


def _hub() -> dict[str, Any]:
    try:
        from huggingface_hub import constants

        cache = Path(constants.HF_HUB_CACHE)
        return {"cache": str(cache), "exists": cache.is_dir(), "offline": bool(constants.HF_HUB_OFFLINE)}
    except Exception:  # `_package` has told
        return {"cache": None, "exists": False, "offline": False}


def _without_home(value: Any) -> Any:
    """The same facts with ``~`` for the home directory, which has the user's name."""
    if isinstance(value, dict):
        return {key: _without_home(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_home(entry) for entry in value]
    # Path.home() fails where there is none.
    home = os.path.expanduser("~")  # noqa: PTH111
    return value.replace(home, "~") if isinstance(value, str) and len(home) > 1 else value


def _number(text: str) -> int | None:
    """The first of OpenMP's comma-separated numbers; None if it is none."""
    first = text.split(",")[0].strip()
    return int(first) if first.isascii() and first.isdigit() else None
