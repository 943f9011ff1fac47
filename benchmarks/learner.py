"""MuZero's learner per CPU-second on one thread: updates, and how much of their time is matrix products.

    OMP_NUM_THREADS=1 python benchmarks/learner.py [--json FILE]

FCNetwork on 128-byte observations with 4 actions (RAM Breakout), batch 256, 5 unroll steps. An update is all that
`MuZeroLearner.step` does with a sampled batch: targets, loss, gradient, priorities, optimizer. The bound is the time of
its matrix products alone, forward and backward, in the sizes, the order and the memory in which the learner has them.
Both are measured in turns, best of many: what others do on a shared machine only ever takes time away. Peer: upstream's
learner, 25.5 updates/s in fp32.
"""

import argparse
import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from rows import json_option, publish

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

    `bound` is the same unit if the learner did nothing but its matrix products, `share` the ratio of both; None where
    they take longer alone than the update with its own kernels, as bf16 does on processors without it.
    """

    what: str
    value: float
    unit: str
    target: float
    bound: float | None
    share: float | None
    peer: str


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
    """Returns a function that does the matrix products of one update, in the learner's order and memory, alone."""

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns).to(dtype)

    states, transitions = _BATCH * (_STEPS + 1), _BATCH * _STEPS
    observation, inputs = matrix(_BATCH, 128 + 1), matrix(states, _STATE + 1 + 4)
    state_inputs, step_inputs = inputs[:, : _STATE + 1], inputs[:transitions]
    weight_r, weight_t, weight_p = matrix(_HIDDEN, 129), matrix(2 * _HIDDEN, 55), matrix(2 * _HIDDEN, 51)
    state_out, atoms_out, policy_out = matrix(_STATE, _HIDDEN), matrix(_ATOMS, _HIDDEN), matrix(4, _HIDDEN)
    hidden_r, hidden_t, hidden_p = (
        matrix(_BATCH, _HIDDEN),
        matrix(transitions, 2 * _HIDDEN),
        matrix(states, 2 * _HIDDEN),
    )
    d_hidden, d_state, d_atoms, d_policy = (
        hidden_p.clone(),
        matrix(states, 50),
        matrix(states, _ATOMS),
        matrix(states, 4),
    )
    first, second = slice(0, _HIDDEN), slice(_HIDDEN, 2 * _HIDDEN)
    steps = [slice(k * _BATCH, (k + 1) * _BATCH) for k in range(_STEPS + 1)]

    def forward() -> None:
        torch.mm(observation, weight_r.t(), out=hidden_r)
        torch.mm(hidden_r, state_out.t())
        for rows in steps[:-1]:
            torch.mm(step_inputs[rows], weight_t.t(), out=hidden_t[rows])
            torch.mm(hidden_t[rows, first], state_out.t())
        torch.mm(state_inputs, weight_p.t(), out=hidden_p)
        torch.mm(hidden_p[:, first], atoms_out.t())
        torch.mm(hidden_t[:, second], atoms_out.t())
        torch.mm(hidden_p[:, second], policy_out.t())

    def backward() -> None:
        for rows in steps:
            torch.mm(d_atoms[rows], atoms_out, out=d_hidden[rows, first])
            torch.mm(d_policy[rows], policy_out, out=d_hidden[rows, second])
        torch.mm(d_hidden, weight_p)
        torch.mm(state_inputs.t(), d_hidden)
        torch.mm(d_atoms.t(), hidden_p[:, first])
        torch.mm(d_policy.t(), hidden_p[:, second])
        for rows in reversed(steps[:-1]):
            torch.mm(d_state[rows], state_out, out=d_hidden[rows, first])
            torch.mm(d_atoms[rows], atoms_out, out=d_hidden[rows, second])
            torch.mm(d_hidden[rows], weight_t)
        torch.mm(step_inputs.t(), d_hidden[:transitions])
        torch.mm(d_state[:transitions].t(), hidden_t[:, first])
        torch.mm(d_atoms[:transitions].t(), hidden_t[:, second])
        torch.mm(d_state[steps[0]], state_out, out=d_hidden[steps[0], first])
        torch.mm(observation.t(), d_hidden[steps[0], first])
        torch.mm(d_state[steps[0]].t(), hidden_r)

    def run() -> None:
        forward()
        backward()

    return run


def measure() -> list[Row]:
    """Measures both precisions."""
    torch.set_num_threads(1)
    rows = []
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        config = MuZeroConfig(learning_precision=precision)
        learner = MuZeroLearner(LearnerContext(config, _ENV, seed=0))
        update = functools.partial(learner.step, _PreparedReplay())
        update_s, bound_s = _best_seconds([update, matrix_products(dtype)])
        is_bound = bound_s <= update_s
        rows.append(
            Row(
                what=f"learner, FCNetwork, {precision}, batch {_BATCH}, {_STEPS} unroll steps",
                value=round(1.0 / update_s, 1),
                unit="updates",
                target=30.0,
                bound=round(1.0 / bound_s, 1) if is_bound else None,
                share=round(bound_s / update_s, 3) if is_bound else None,
                peer="upstream (model-based-rl) 25.5",
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
    """Prints a line per row; `--json FILE` appends them as JSON lines, too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    json_option(parser)
    path = parser.parse_args().json
    publish(path, measure(), _line, command=_COMMAND)


def _line(row: Row) -> str:
    bound = f"{row.share:.0%} of the products' bound {row.bound:.1f}" if row.share and row.bound else ""
    return f"{row.what:55} {row.value:>7.1f} {row.unit}/s   to reach {row.target:.0f}   {bound}   {row.peer}"


if __name__ == "__main__":
    main()
