"""Numbers as people read them."""

import itertools
import math
from collections.abc import Mapping, Sequence

from rlsys.runs.workers import Worker, WorkerKind

_BLOCKS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 32
_MAX_WAITS = 4
_MOST_NUMBERS = 3


def sparkline(values: Sequence[float], width: int = _SPARK_WIDTH) -> str:
    """Draws values, oldest first, as at most `width` blocks; each block is the mean of its share of them."""
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2:
        return ""
    blocks = min(width, len(known))
    edges = [round(index * len(known) / blocks) for index in range(blocks + 1)]
    means = [sum(known[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    if high == low:
        return _BLOCKS[3] * blocks
    top = len(_BLOCKS) - 1
    return "".join(_BLOCKS[round((mean - low) / (high - low) * top)] for mean in means)


def group_waits(waits: Mapping[Worker, str]) -> tuple[str, ...]:
    """Says once what several workers of a kind wait for.

    Such as "rollout worker 3 waits for …", "rollout workers 0, 1 wait for …", "12 rollout workers wait for …".

    Args:
      waits: who waits -> for what, empty for nothing.
    """
    groups: dict[tuple[WorkerKind, str], list[Worker]] = {}
    for worker in sorted(waits, key=lambda worker: (worker.kind, worker.index)):
        if waits[worker]:
            groups.setdefault((worker.kind, waits[worker]), []).append(worker)
    lines = []
    for (kind, what), workers in groups.items():
        if len(workers) == 1:
            lines.append(f"{workers[0].title} waits for {what}")
        else:
            numbers = ", ".join(str(worker.index) for worker in workers)
            who = f"{kind.noun}s {numbers}" if len(workers) <= _MOST_NUMBERS else f"{len(workers)} {kind.noun}s"
            lines.append(f"{who} wait for {what}")
    hidden = len(lines) - _MAX_WAITS
    return tuple(lines) if hidden <= 0 else (*lines[:_MAX_WAITS], f"and {hidden} more")


def duration(seconds: float) -> str:
    """Returns H:MM:SS, with days in front where there are some."""
    whole = max(0, int(seconds))
    days, rest = divmod(whole, 86_400)
    clock = f"{rest // 3600}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days} d {clock}" if days else clock


def join(*parts: str) -> str:
    """Returns the parts that say something, two spaces apart."""
    return "  ".join(part for part in parts if part)


def number(value: float, label: str = "") -> str:
    """Returns a number with its label, or nothing if it is not known."""
    if not math.isfinite(value):
        return ""
    text = f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"
    return f"{label} {text}" if label else text


def rate(value: float) -> str:
    """Returns "(31/s)", or nothing if the rate is not known."""
    return f"({value:,.0f}/s)" if value >= 10 else f"({value:.2g}/s)" if math.isfinite(value) else ""


def percent(value: float) -> str:
    """Returns a share of 1 as "12 %", or nothing if it is not known."""
    return f"{100 * value:.0f} %" if math.isfinite(value) else ""


def share(value: float, label: str) -> str:
    """Returns a share of 1 as "idle 12 %", or nothing if it is not known."""
    return f"{label} {percent(value)}" if math.isfinite(value) else ""
