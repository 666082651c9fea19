"""What this machine, or the container that this process lives in, lets it use."""

from __future__ import annotations

import os
from pathlib import Path


def visible_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_cores(root: Path = Path("/")) -> int:
    """Cores that this process may keep busy: no more than its container grants the time of, but one at least.

    More processes than that are stopped for the rest of every period, each with what the others wait for.
    ``proc`` and ``sys`` lie below ``root``.
    """
    limit = core_limit(root)
    return visible_cores() if limit is None else min(visible_cores(), max(1, int(limit)))


def core_limit(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that the control group grants, as in a container; None without a limit."""
    found = []
    for text in _in_groups(root, "cpu", "cpu.max"):
        quota, period = text.split()
        found += [] if quota == "max" else [int(quota) / int(period)]
    quotas, periods = (_in_groups(root, "cpu", f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    found += [int(quota) / int(period) for quota, period in zip(quotas, periods, strict=False) if int(quota) > 0]
    return min(found, default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """Bytes that the control group grants, as in a container; None without a limit."""
    texts = [*_in_groups(root, "memory", "memory.max"), *_in_groups(root, "memory", "memory.limit_in_bytes")]
    # Version 1 of control groups has a number near 2^63 where there is no limit.
    return min((int(text) for text in texts if text.isdigit() and int(text) < 1 << 60), default=None)


def total_memory() -> int | None:
    """Bytes of this machine, or as many as its container grants; None if nobody says."""
    try:
        present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return memory_limit()
    return min(present, memory_limit() or present)


def _in_groups(root: Path, controller: str, name: str) -> list[str]:
    """What a file of the control groups holds: in the group of this process and all above it, of either version."""
    groups = {"/"}
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            groups |= {path, *map(str, Path(path).parents)}
    mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup" / controller]
    texts = (text_of(mount / group.lstrip("/") / name).strip() for mount in mounts for group in sorted(groups))
    return [text for text in texts if text]


def text_of(path: Path) -> str:
    """What a file of the system holds; nothing where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
