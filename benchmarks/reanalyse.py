"""Rows refreshed per CPU-second on one thread: drawn from replay, searched from, written back; and the search alone.

    OMP_NUM_THREADS=1 python benchmarks/reanalyse.py [--seconds S] [--json FILE]

Replay is filled by rollout workers that play real games; weights are random. A batch is what
`runtime.reanalyse_batch_size` says, 128 rows, with the simulations of the experiment. *Search alone* searches from one
batch of the same rows again and again. Both take turns; *share* is the median of the ratios of neighbouring turns.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from rows import json_option, positive, publish

from rlsys import config, registry
from rlsys.api import LearnerContext
from rlsys.collector import Refresher
from rlsys.replay.stores import LocalReplay, make_store
from rlsys.runs.resolve import resolve
from rlsys.runs.spec import RunSpec
from rlsys.runtime.workers.rollout import RolloutWorker
from rlsys.types import Weights

_COMMAND = "OMP_NUM_THREADS=1 python benchmarks/reanalyse.py"
_ROWS, _TURNS = 4_000, 20
_TARGET = 0.9
"""Share of the search's own rate that is to be reached."""
_CASES = [
    ("RAM Breakout, 30 simulations", "muzero-breakout"),
    ("CartPole, 30 simulations", "muzero-cartpole"),
    ("Breakout by pixels, stacked and compressed", "muzero-breakout-pixels"),
]


def measure(what: str, experiment: str, seconds: float) -> dict[str, object]:
    """Returns rows refreshed per CPU-second, those of the search alone, and the share."""
    spec = _spec(experiment)
    learner = spec.algorithm.make_learner(LearnerContext(spec.section, spec.env_spec, seed=0))
    weights = Weights(0, 0, learner.weights())
    stored = _filled(spec, weights)
    size = spec.runtime.reanalyse_batch_size
    policy = spec.algorithm.make_policy(replace(spec.policy_context(0, 0), num_environments=size))
    policy.set_weights(weights)
    refresher, rows = Refresher(policy, spec.store.refreshing), stored.draw(size, 0.0)
    works = [lambda: refresher.step(stored, 0), lambda: policy.refresh(rows.observation)]
    rates = np.array([[_rate(work, size, seconds / _TURNS / 2) for work in works] for _ in range(_TURNS)])
    refreshed, alone = np.median(rates, axis=0).tolist()
    return {
        "what": f"reanalyse, {what}",
        "value": round(refreshed, 1),
        "unit": "rows per CPU-second",
        "search_per_s": round(alone, 1),
        "share": round(min(1.0, float(np.median(rates[:, 0] / rates[:, 1]))), 3),
        "target": _TARGET,
    }


def _spec(experiment: str, *overrides: str) -> RunSpec:
    shared = ("muzero.reanalyse_fraction=0.5", "muzero.stored_before_train=1000", "runtime.environments_per_worker=32")
    loaded = config.load(experiment, overrides=[*shared, *overrides])
    return resolve(loaded, registry.get_algorithm(loaded.experiment.algorithm, _COMMAND), num_cpus=1, num_gpus=0)


def _filled(spec: RunSpec, weights: Weights) -> LocalReplay:
    """Returns replay with rows of games, played with as little search as there can be."""
    quick = replace(spec, section=spec.section.model_copy(update={"num_simulations": 1, "max_history_length": 100}))
    worker = RolloutWorker(quick, 0)
    worker.set_weights(weights)
    store = make_store(spec.store, spec.stored_env, spec.cut)
    while store.num_items < _ROWS:
        for item in worker.step():
            store.insert(item)
    worker.close()
    return LocalReplay(store, spec.num_environments, None)


def _rate(work: Callable[[], object], amount: int, seconds: float) -> float:
    """Returns the amount of work per CPU-second."""
    started, calls = time.process_time(), 0
    while (spent := time.process_time() - started) < seconds or not calls:
        work()
        calls += 1
    return calls * amount / spent


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=positive(float), default=20.0, help="CPU time of each case")
    json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for case in _CASES:
        publish(options.json, [measure(*case, options.seconds)], _line, command=_COMMAND)


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['what']:60} {row['value']:10,.0f} {row['unit']}, {row['share']:.1%} of the search alone "
        f"({row['search_per_s']:,.0f}); to reach {row['target']:.0%}"
    )


if __name__ == "__main__":
    main()
