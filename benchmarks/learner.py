"""MuZero's learner per CPU-second on one thread: updates, and how much of their time is matrix products.

    OMP_NUM_THREADS=1 python benchmarks/learner.py [--json FILE]

FCNetwork on 128-byte observations with 4 actions (RAM Breakout), batch 256, 5 unroll steps. An update is all that
`MuZeroLearner.step` does with a sampled batch: targets, loss, gradient, priorities, optimizer. The bound is the time of
the network's matrix products alone, forward and backward, in the sizes and the order in which the learner has them and
into memory that is kept. Both are measured in turns, best of many: what others do on a shared machine only ever takes
time away. Peer: upstream's learner, 25.5 updates/s in fp32.
"""

import argparse
import functools
import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.learner import MuZeroLearner
from rlsys.algorithms.muzero.requirements import ROOT_VALUE, VISITS
from rlsys.algorithms.muzero.targets import window_length
from rlsys.api import LearnerContext
from rlsys.types import Array, ArraySpec, Batch, EnvSpec

_ENV = EnvSpec(
    "ALE/Breakout-v5 (ram)",
    ArraySpec((128,), "uint8"),
    ArraySpec((), "int64"),
    num_actions=4,
    observation_low=(0.0,),
    observation_high=(255.0,),
)
_BATCH, _STEPS, _TD_STEPS = 256, 5, 10
_HIDDEN, _STATE, _ATOMS = 512, 50, 31
_COMMAND = "OMP_NUM_THREADS=1 python benchmarks/learner.py"


@dataclass(frozen=True)
class Row:
    """One measurement: `value` in `unit` per CPU-second, what was to be reached, and what others reach.

    `bound` is the same unit if the learner did nothing but its matrix products, `share` the ratio of both.
    """

    what: str
    value: float
    unit: str
    target: float
    bound: float
    share: float
    peer: str
    machine: str
    command: str


class _PreparedReplay:
    """Gives the same batch again and again."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        length = window_length(_STEPS, _TD_STEPS)
        visits = rng.random((_BATCH, _STEPS + 1, 4)).astype(np.float32)
        probability = rng.random(_BATCH) + 0.1
        self._batch = Batch(
            observation=rng.integers(0, 256, (_BATCH, 1, 128), np.uint8),
            action=rng.integers(0, 4, (_BATCH, _STEPS)),
            reward=rng.integers(-1, 2, (_BATCH, length - 1)).astype(np.float32),
            terminated=np.zeros((_BATCH, 0), bool),
            truncated=np.zeros((_BATCH, length - 1), bool),
            extras={
                VISITS: visits / visits.sum(axis=2, keepdims=True),
                ROOT_VALUE: rng.random((_BATCH, length)).astype(np.float32),
            },
            num_rows=rng.integers(1, length + 1, _BATCH),
            key=np.arange(_BATCH),
            probability=probability / probability.sum(),
            num_items=_BATCH,
            weights_version=np.zeros(_BATCH, np.int64),
        )

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Returns the batch."""
        return self._batch

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Drops them."""


def matrix_products(dtype: torch.dtype) -> Callable[[], None]:
    """Returns a function that does the matrix products of one update and nothing else."""
    products: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def product(rows: int, inner: int, columns: int, *, transposed: bool = False) -> None:
        first = torch.randn(inner, rows).to(dtype).t() if transposed else torch.randn(rows, inner).to(dtype)
        products.append((first, torch.randn(inner, columns).to(dtype), torch.empty(rows, columns, dtype=dtype)))

    def perceptron(rows: int, inputs: int, outputs: list[int], calls: int, *, first: bool = False) -> None:
        hidden = _HIDDEN * len(outputs)
        for _ in range(calls):
            product(rows, inputs, hidden)
            if not first:
                product(rows, hidden, inputs)
        product(inputs, rows * calls, hidden, transposed=True)
        for size in outputs:
            # Only states depend on each other from step to step; heads do all steps at once.
            parts = calls if size == _STATE else 1
            for _ in range(parts):
                product(rows * calls // parts, _HIDDEN, size)
                product(rows * calls // parts, size, _HIDDEN)
            product(size, rows * calls, _HIDDEN, transposed=True)

    perceptron(_BATCH, 128, [_STATE], 1, first=True)
    perceptron(_BATCH, _STATE + 4, [_STATE, _ATOMS], _STEPS)
    perceptron(_BATCH * (_STEPS + 1), _STATE, [_ATOMS, 4], 1)

    def run() -> None:
        for first, second, result in products:
            torch.mm(first, second, out=result)

    return run


def measure() -> list[Row]:
    """Measures both precisions."""
    torch.set_num_threads(1)
    machine = platform.processor() or platform.machine()
    rows = []
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        config = MuZeroConfig(learning_precision=precision)
        learner = MuZeroLearner(LearnerContext(config, _ENV, seed=0))
        update = functools.partial(learner.step, _PreparedReplay())
        update_s, bound_s = _best_seconds([update, matrix_products(dtype)])
        rows.append(
            Row(
                what=f"learner, FCNetwork, {precision}, batch {_BATCH}, {_STEPS} unroll steps",
                value=round(1.0 / update_s, 1),
                unit="updates",
                target=30.0,
                bound=round(1.0 / bound_s, 1),
                share=round(bound_s / update_s, 3),
                peer="upstream (model-based-rl) 25.5",
                machine=machine,
                command=_COMMAND,
            )
        )
    return rows


def _best_seconds(works: list[Callable[[], object]], repetitions: int = 40, calls: int = 4) -> list[float]:
    """Returns the CPU-seconds of one call of each, in the best of many turns."""
    best = [float("inf")] * len(works)
    for repetition in range(repetitions):
        for index, work in enumerate(works):
            start = time.process_time()
            for _ in range(calls):
                work()
            spent = (time.process_time() - start) / calls
            if repetition > 0:  # the first turn compiles and allocates
                best[index] = min(best[index], spent)
    return best


def main() -> None:
    """Prints a line per row; `--json FILE` writes them as JSON lines, too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to this file, one JSON object a line")
    path = parser.parse_args().json
    rows = measure()
    for row in rows:
        print(
            f"{row.what:55} {row.value:>7.1f} {row.unit}/s   to reach {row.target:.0f}   "
            f"{row.share:.0%} of the products' bound {row.bound:.1f}   {row.peer}"
        )
    if path is not None:
        path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))


if __name__ == "__main__":
    main()
