"""PlaNet beside another's, `simulusion` 1.1: updates and decisions per CPU-second of one thread, in one run.

    python3 -m venv PEER && PEER/bin/pip install simulusion==1.1
    python benchmarks/planet_peer.py PEER/bin/python [--windows B] [--frames T] [--turns N] [--json FILE]

Both have the model of the paper's size on 64 × 64 pixels (encoder and decoder of Ha and Schmidhuber, 200 units, 30
numbers) and reward heads of two layers of 200; ours has a head of values besides. An update is on windows from memory,
preparation of pictures included. A decision is one environment's, with its picture encoded: CEM with 1,000 candidates,
100 elites, 10 iterations and 12 steps. The two take turns, each in a process of its own; the shortest of all counts.
"""

import argparse
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from clock import shortest_s
from planet import ENV, PreparedReplay
from rows import Implausible, json_option, positive, publish

from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.learner import PlanetLearner
from rlsys.algorithms.planet.policy import PlanetPolicy
from rlsys.api import LearnerContext, PolicyContext
from rlsys.types import Weights

_PEER = Path(__file__).parent / "peers" / "simulusion_planet.py"
_TIMES = 2


@dataclass(frozen=True)
class Row:
    """Both sides' rates of one kind of work."""

    what: str
    per_s: float
    peer_per_s: float
    ratio: float


def ours(windows: int, frames: int) -> dict[str, float]:
    """Returns seconds of an update and of a decision of ours."""
    planner = {"candidates": 1_000, "elites": 100, "iterations": 10, "horizon": 12, "discount": 1.0}
    sizes = {"batch_size": windows, "length": frames, "head_layers": 2, "head_units": 200, "compare_every": 0}
    config = PlanetConfig.model_validate({**sizes, "planner": planner})
    learner, replay = PlanetLearner(LearnerContext(config, ENV, seed=0)), PreparedReplay(windows, frames)
    policy = PlanetPolicy(PolicyContext(config, ENV, seed=0))
    policy.set_weights(Weights(0, 1, learner.weights()))
    picture, state = np.zeros((1, 3, 64, 64), np.uint8), policy.initial_state(1)
    return {
        "update": shortest_s(lambda: learner.step(replay), "cpu", 1 + _TIMES),
        "decision": shortest_s(lambda: policy.act(picture, state, explore=False), "cpu", 1 + _TIMES),
    }


def peers(python: str, windows: int, frames: int) -> dict[str, float]:
    """Returns the same of the peer.

    Raises:
      Implausible: it cannot be run.
    """
    words = [python, str(_PEER), str(windows), str(frames), str(_TIMES)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise Implausible(f"{python} cannot run the peer: {reason}. Install simulusion there.")
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def measure(python: str, windows: int, frames: int, turns: int) -> list[Row]:
    """Lets both take turns, in the order A B B A."""
    best = [{"update": float("inf"), "decision": float("inf")} for _ in range(2)]
    for turn in range(turns):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            taken = peers(python, windows, frames) if side else ours(windows, frames)
            best[side] = {name: min(seconds, taken[name]) for name, seconds in best[side].items()}
    called = {"update": f"update of {windows} × {frames} frames", "decision": "CEM decision, 1 environment"}
    rows = []
    for name, what in called.items():
        mine, theirs = (side[name] for side in best)
        rows.append(Row(what, round(1.0 / mine, 4), round(1.0 / theirs, 4), round(theirs / mine, 2)))
    return rows


def main() -> None:
    """Measures and prints, or appends, rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", help="python of the peer's virtual environment")
    parser.add_argument("--windows", type=positive(int), default=16, metavar="B")
    parser.add_argument("--frames", type=positive(int), default=50, metavar="T")
    parser.add_argument("--turns", type=positive(int), default=2, metavar="N")
    json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(options.peer, options.windows, options.frames, options.turns)
    command = f"python benchmarks/planet_peer.py PEER --windows {options.windows} --frames {options.frames}"
    publish(options.json, rows, command=command)


if __name__ == "__main__":
    main()
