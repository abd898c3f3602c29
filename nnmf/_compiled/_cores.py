"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """How many cores this process may use: those of its affinity, and no more than a container's quota pays for.

    Returns
    -------
    int
        At least 1. A quota of one and a half cores is two, as other runtimes count it.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # macOS and Windows have no such call
        cores = os.cpu_count() or 1
    return max(1, math.ceil(min([cores, *_quotas()])))


def _quotas() -> Iterator[float]:
    """The cores that each control group above this process may use, of those that are limited (Linux only)."""
    try:
        lines = _OWN_CGROUPS.read_text().splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, own = rest.partition(":")
        if not controllers:  # version 2
            root, read = _CGROUPS, _quota_2
        elif "cpu" in controllers.split(","):
            root, read = _CGROUPS / "cpu", _quota_1
        else:
            continue
        place = root / own.lstrip("/")
        # In a container the path may be that of the host: what is not there has no limit, and the root is the container's.
        for folder in (place, *place.parents):
            if folder.is_relative_to(root) and (quota := read(folder)):
                yield quota


def _quota_2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_1(folder: Path) -> float | None:
    try:
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
