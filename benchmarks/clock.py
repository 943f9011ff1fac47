"""A clock for what is computed again and again."""

import time
from collections.abc import Callable

import torch


def shortest_s(work: Callable[[], object], device: str, turns: int) -> float:
    """Returns the shortest of some calls: CPU-seconds, or seconds of a GPU."""
    clock, best = (time.process_time if device == "cpu" else time.perf_counter), float("inf")
    for _ in range(turns):
        start = clock()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, clock() - start)
    return best
