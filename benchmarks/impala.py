"""IMPALA's two halves alone: rows learned from, and decisions, per second, for each network and gradient.

    python benchmarks/impala.py [--device cuda] [--json FILE]

Atari's frames (4 × 84 × 84 bytes), batches from memory, weights random. Needs neither Ray nor environments, so that it
runs on a bare GPU machine. On a CPU one thread computes and its own time counts; on a GPU, the wall's, transfers
included. Precision is bfloat16 where the device multiplies it. Works take turns, and the best of each counts.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import torch
from clock import shortest_s
from rows import json_option, publish
from rtrl import PreparedReplay

from rlsys.algorithms.impala.config import ImpalaConfig
from rlsys.algorithms.impala.learner import ImpalaLearner
from rlsys.algorithms.impala.policy import ImpalaPolicy
from rlsys.api import LearnerContext, PolicyContext
from rlsys.types import ArraySpec, EnvSpec, Weights

_ENV = EnvSpec("Atari", ArraySpec((84, 84), "uint8"), ArraySpec((), "int64"), num_actions=6, num_stack=4)
_KINDS = {
    "feedforward": {"network": "feedforward"},
    "eLSTM, truncated": {"network": "elstm", "gradient": "tbptt"},
    "eLSTM, RTRL": {"network": "elstm", "gradient": "rtrl"},
}
_SIZES = {"cpu": (8, 32), "cuda": (32, 512)}
"""Unrolls of a batch, and environments decided for at once."""
_LENGTH, _TURNS = 50, 6


@dataclass(frozen=True)
class Row:
    """One measurement: what, on which device, rows or decisions per second, and the milliseconds of one call."""

    what: str
    device: str
    per_s: float
    call_ms: float


def measure(stem: str, kind: str, device: str) -> list[Row]:
    """Returns the rows of one network."""
    batch_size, num_environments = _SIZES[device]
    section = ImpalaConfig.model_validate(
        {
            **_KINDS[kind],
            "stem": stem,
            "batch_size": batch_size,
            "unroll_length": _LENGTH,
            "precision": "bf16",
            "acting_precision": "bf16",
        }
    )
    learner = ImpalaLearner(LearnerContext(section, _ENV, seed=0, device=device))
    replay = PreparedReplay(section, _ENV)
    policy = ImpalaPolicy(PolicyContext(section, _ENV, seed=0, device=device))
    policy.set_weights(Weights(0, 0, learner.weights()))
    observation = np.random.default_rng(0).integers(0, 256, (num_environments, 4, 84, 84)).astype(np.uint8)
    state = policy.initial_state(num_environments)
    update_s = shortest_s(lambda: learner.step(replay), device, _TURNS)
    decision_s = shortest_s(lambda: policy.act(observation, state, explore=True), device, _TURNS)
    name = f"{stem} stem, {kind}"
    return [
        Row(
            f"learning: {name}, {batch_size} × {_LENGTH} rows", device, batch_size * _LENGTH / update_s, 1e3 * update_s
        ),
        Row(f"acting: {name}, {num_environments} at once", device, num_environments / decision_s, 1e3 * decision_s),
    ]


def main() -> None:
    """Prints a line per row; `--json FILE` appends them as JSON lines, too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for stem in ("nature", "deep"):
        for kind in _KINDS:
            publish(options.json, measure(stem, kind, options.device), _line, command="python benchmarks/impala.py")


def _line(row: Row) -> str:
    return f"{row.what:62} {row.per_s:12,.0f} per second {row.call_ms:9.2f} ms"


if __name__ == "__main__":
    main()
