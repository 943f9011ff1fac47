"""What a run is made of, fully resolved: the one object from which every worker, anywhere, is built."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rlsys.api import Algorithm, Cut, PolicyContext, QueueSpec, Refreshing, StoreSpec, TableSpec, Turns
from rlsys.checkpoints.locations import checkpoints_of
from rlsys.config import EnvConfig, RunConfig, RuntimeConfig
from rlsys.runs.grid import Cell, cells, changed_env
from rlsys.types import EnvSpec


@dataclass(frozen=True)
class Refill:
    """What a resumed run does not take over from its checkpoint, because it would not fit.

    Attributes:
      step: of the checkpoint whose replay stays where it is.
      begins_episodes: whether unfinished segments stay there, too, and with them the episodes that they are of.
    """

    step: int
    begins_episodes: bool


@dataclass(frozen=True)
class RunSpec:
    """An experiment without open questions; pickles by reference and is small.

    Attributes:
      name: the experiment's name.
      algorithm: the record of functions.
      section: the algorithm's configuration.
      env, runtime, run: the other sections; `runtime.rollout_workers` and the like hold numbers, never "auto".
      env_spec: of one environment.
      folder: the run's folder, absolute.
      refill: of a resumed run whose replay has another form now; None takes over all.
      cut, store, turns: the algorithm's choices for this environment and this number of workers.
    """

    name: str
    algorithm: Algorithm
    section: Any
    env: EnvConfig
    runtime: RuntimeConfig
    run: RunConfig
    env_spec: EnvSpec
    folder: Path
    refill: Refill | None = None
    cut: Cut = field(init=False)
    store: StoreSpec = field(init=False)
    turns: Turns | None = field(init=False)

    def __post_init__(self) -> None:
        cut, store, turns = self.algorithm.replay(self.section, self.env_spec, self.num_environments)
        runtime = self.runtime
        if runtime.replay_bytes is not None and isinstance(store, TableSpec):
            store = replace(store, max_bytes=runtime.replay_bytes)
        if self.refreshed_share:
            assert isinstance(store, TableSpec), "Algorithm.refreshes needs a table"
            refreshing = Refreshing(self.refreshed_share, runtime.reanalyse_batch_size, runtime.reanalyse_workers)
            store = replace(store, refreshing=refreshing)
        for name, choice in {"cut": cut, "store": store, "turns": turns}.items():
            object.__setattr__(self, name, choice)

    @property
    def num_rollout_workers(self) -> int:
        """Rollout workers, resolved."""
        assert isinstance(self.runtime.rollout_workers, int)
        return self.runtime.rollout_workers

    @property
    def num_inference_workers(self) -> int:
        """Inference workers, resolved; 0 where rollout workers decide themselves."""
        assert isinstance(self.runtime.inference_workers, int)
        return self.runtime.inference_workers

    @property
    def refreshed_share(self) -> float:
        """Share of what policies are asked that is about stored rows."""
        name = self.algorithm.refreshes
        return float(getattr(self.section, name)) if name else 0.0

    @property
    def learner_threads(self) -> int:
        """Torch threads of a learner, resolved."""
        assert isinstance(self.runtime.learner_threads, int)
        return self.runtime.learner_threads

    @property
    def replay_size(self) -> int:
        """Items that all shards together hold at most."""
        return self.store.max_size * (self.runtime.replay_shards if isinstance(self.store, QueueSpec) else 1)

    @property
    def num_environments(self) -> int:
        """Environments of all rollout workers."""
        return self.num_rollout_workers * self.environments_per_worker

    @property
    def environments_per_worker(self) -> int:
        """Environments of one rollout worker, resolved."""
        assert isinstance(self.runtime.environments_per_worker, int)
        return self.runtime.environments_per_worker

    @property
    def updates_per_publication(self) -> int:
        """Updates after which weights are published; where there are turns, at most so many: they decide."""
        return self.runtime.send_weights_frequency if self.turns is None else 1

    @property
    def checkpoints(self) -> str:
        """Where the run's checkpoints lie: a folder, or a URI."""
        return checkpoints_of(self.run, self.folder)

    @property
    def stored_env(self) -> EnvSpec:
        """The environment as replay knows it."""
        return self.cut.stored_env(self.env_spec)

    @property
    def evaluation_env(self) -> EnvConfig:
        """The environment of evaluations while the run trains."""
        return changed_env(self.env, self.run.evaluation_env, "run.evaluation_env")

    @property
    def evaluation_grid(self) -> list[Cell]:
        """What evaluations play while the run trains; the first cell counts.

        Raises:
          RlsysError: there is no such grid here.
        """
        run = self.run
        return cells(
            self.algorithm, self.section, self.evaluation_env, run.evaluation_temperatures, run.evaluation_noops
        )

    @property
    def replay_form(self) -> Mapping[str, Any]:
        """What of replay must be the same for it to be taken over from a checkpoint, as JSON data.

        That is what segments consist of, and how many rows a table has memory for; a queue takes over whatever waited.
        """
        store = self.store
        size = [] if isinstance(store, QueueSpec) else [store.max_size, store.max_bytes]
        return {"segments": repr(self.cut), "size": size}

    def refills(self, step: int | None) -> bool:
        """Tells whether the replay of the checkpoint of this step is not taken over."""
        return self.refill is not None and self.refill.step == step

    def seeds(self, purpose: str, *path: int, count: int = 1) -> list[int]:
        """Returns `count` seeds that depend on the run's seed, a purpose and a path such as (worker, incarnation)."""
        key = [self.run.seed, *purpose.encode(), *path]
        return [int(seed) for seed in np.random.SeedSequence(key).generate_state(count, np.uint32)]

    def policy_context(self, worker: int, incarnation: int) -> PolicyContext:
        """Returns what the policy of one rollout worker is built from."""
        size = self.environments_per_worker
        seed = self.seeds("policy", worker, incarnation)[0]
        return PolicyContext(self.section, self.env_spec, seed, worker * size, size)
