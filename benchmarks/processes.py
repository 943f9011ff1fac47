"""What the processes of a run use, by what they are in it."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import psutil

_RAYS = ("IDLE", "Dashboard", "RuntimeEnv")
"""How processes of Ray itself begin that are called as if they were somebody's actors."""


def processes(pid: int) -> Iterator[tuple[str, psutil.Process]]:
    """Yields a driver and all that it started: what it is in a run, and the process."""
    driver = psutil.Process(pid)
    yield "driver", driver
    for process in driver.children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
        name = title.removeprefix("ray::").split(".")[0].strip()
        yield (name if title.startswith("ray::") and not name.startswith(_RAYS) else "Ray itself"), process


def cpu_seconds(pid: int) -> dict[str, float]:
    """Returns a driver's CPU seconds so far, and those of what it started, by kind of process."""
    sums: dict[str, float] = defaultdict(float)
    for kind, process in processes(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        sums[kind] += times.user + times.system
    return sums


def memory_mib(pid: int) -> dict[str, float]:
    """Returns the proportional set size of one process of each kind; of Ray itself, of all together."""
    sizes: dict[str, list[float]] = defaultdict(list)
    for kind, process in processes(pid):
        sizes[kind].append(process.memory_full_info().pss / 2**20)
    return {kind: sum(each) if kind == "Ray itself" else float(np.median(each)) for kind, each in sizes.items()}
