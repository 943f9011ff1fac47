"""Several learner ranks in one process, each as if it had one of its own.

The ranks of a run are processes that average over gloo or NCCL. Here they are threads of which one works at a time,
each with random generators of its own, that meet where they average. So two ranks take no longer than each of them
alone; and ranks that average differently, which over gloo wait for each other for ever, end with one line.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from rlsys.testing.requirement import ContractError

T = TypeVar("T")


class Process:
    """What a process has of its own, for whoever is between `enter` and `leave`: torch's default generator."""

    def __init__(self, seed: int) -> None:
        self._own = torch.Generator().manual_seed(seed).get_state()
        self._others = self._own

    def enter(self) -> None:
        """Draws from its own generator from here on."""
        self._others = torch.random.get_rng_state()
        torch.random.set_rng_state(self._own)

    def leave(self) -> None:
        """Draws from that of before again."""
        self._own = torch.random.get_rng_state()
        torch.random.set_rng_state(self._others)

    def __enter__(self) -> "Process":
        self.enter()
        return self

    def __exit__(self, *error: object) -> None:
        self.leave()


class RankGroup:
    """Learner ranks that work in turns, and meet wherever they average."""

    def __init__(self, num_ranks: int, seed: int) -> None:
        """Makes a process for each.

        Args:
          num_ranks: how many.
          seed: of their generators, which all differ.
        """
        self._processes = [Process(seed + rank) for rank in range(num_ranks)]
        self._working = threading.Lock()
        self._given: list[list[Tensor] | None] = [None] * num_ranks
        self._barrier = threading.Barrier(num_ranks, self._exchange)

    def run(self, work: Callable[[int], T]) -> list[T]:
        """Lets each rank do its work, and returns what each comes to.

        Raises:
          ContractError: one averages other tensors than another, or has finished where that averages.
        """
        ranks = range(len(self._processes))
        self._barrier.reset()
        if len(ranks) == 1:
            return [self._do(work, 0)]
        with ThreadPoolExecutor(len(ranks)) as pool:
            done = [pool.submit(self._do, work, rank) for rank in ranks]
        errors = [error for each in done if (error := each.exception()) is not None]
        errors.sort(key=lambda error: isinstance(error, threading.BrokenBarrierError))  # who only waited comes last
        if errors:
            raise errors[0]
        return [each.result() for each in done]

    def average(self, rank: int, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its mean over the ranks; called by a rank within its work."""
        process = self._processes[rank]
        process.leave()
        self._working.release()
        try:
            self._meet(rank, list(tensors))
        finally:
            self._working.acquire()
            process.enter()

    def _do(self, work: Callable[[int], T], rank: int) -> T:
        try:
            with self._working, self._processes[rank]:
                result = work(rank)
            self._meet(rank, None)
        except BaseException:
            self._barrier.abort()
            raise
        return result

    def _meet(self, rank: int, tensors: list[Tensor] | None) -> None:
        self._given[rank] = tensors
        self._barrier.wait()

    def _exchange(self) -> None:
        """Averages what all have brought; runs once for each meeting, while all ranks wait."""
        given = [tensors for tensors in self._given if tensors is not None]
        shapes = [None if tensors is None else [tuple(tensor.shape) for tensor in tensors] for tensors in self._given]
        if any(shape != shapes[0] for shape in shapes):
            doings = [
                f"rank {rank} {'has finished its step' if shape is None else f'averages tensors of shapes {shape}'}"
                for rank, shape in enumerate(shapes)
            ]
            raise ContractError(f"all ranks average the same tensors in the same order; {', '.join(doings)}")
        with torch.no_grad():
            for tensors in zip(*given, strict=True):
                mean = torch.stack(list(tensors)).sum(dim=0) / len(tensors)
                for tensor in tensors:
                    tensor.copy_(mean)
