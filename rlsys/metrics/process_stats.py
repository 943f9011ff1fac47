"""What a process knows about itself: where it runs, what it has computed, how much memory it holds."""

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

_PSS_EVERY_S = 10.0
"""The kernel walks all pages for it, a millisecond's work; everything else is microseconds."""


@dataclass(frozen=True)
class ProcessStats:
    """A process at one moment.

    Attributes:
      node: name of its machine.
      cores: CPU cores of that machine.
      busy_s: CPU seconds that they have computed since it began, for whomever.
      pid: its process id.
      at_s: monotonic seconds of its machine.
      cpu_s: CPU seconds of all its threads since it began.
      rss_bytes: resident memory; pages shared with others count in full.
      pss_bytes: proportional set size: of a page shared by n processes 1/n counts, so sums over processes are true.

    What the system does not tell is 0.
    """

    node: str
    cores: int
    busy_s: float
    pid: int
    at_s: float
    cpu_s: float
    rss_bytes: int
    pss_bytes: int


class ProcessMeter:
    """Measures the process that it lives in."""

    def __init__(self) -> None:
        self._node = socket.gethostname()
        self._pss_bytes = 0
        self._pss_due_s = 0.0

    def take(self) -> ProcessStats:
        """Returns how the process is now; its proportional set size may be ten seconds old."""
        now = time.monotonic()
        if now >= self._pss_due_s:
            self._pss_bytes = _pss_bytes()
            self._pss_due_s = now + _PSS_EVERY_S
        return ProcessStats(
            node=self._node,
            cores=os.cpu_count() or 1,
            busy_s=_busy_s(),
            pid=os.getpid(),
            at_s=now,
            cpu_s=time.process_time(),
            rss_bytes=_rss_bytes(),
            pss_bytes=self._pss_bytes,
        )


def _busy_s() -> float:
    try:
        with Path("/proc/stat").open(encoding="utf-8") as file:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    except OSError:
        return 0.0
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _rss_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _pss_bytes() -> int:
    try:
        lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
