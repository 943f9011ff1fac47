"""Plans of the checking algorithm on the counting environment."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rich.console

import rlsys.testing.environments  # noqa: F401 (registers rlsys/Counting-v0)
from rlsys.api import Algorithm
from rlsys.config import EnvConfig, Experiment, Loaded, RunConfig, RuntimeConfig
from rlsys.envs.make import spec
from rlsys.runtime.console import Console
from rlsys.runtime.metrics.recorder import Recorder
from rlsys.runtime.metrics.tracking import Tracker
from rlsys.runtime.plan import Plan
from rlsys.runtime.presence import Presence
from rlsys.runtime.progress import Progress
from rlsys.testing.algorithm import CHECKING, CheckingConfig

MakePlan = Callable[..., Plan]


@pytest.fixture
def make_plan(tmp_path: Path) -> MakePlan:
    """Returns a function that builds a plan from overrides of its sections."""

    def make(
        section: dict[str, Any] | None = None,
        runtime: dict[str, Any] | None = None,
        run: dict[str, Any] | None = None,
        *,
        algorithm: Algorithm = CHECKING,
        env_id: str = "rlsys/Counting-v0",
        max_episode_steps: int | None = None,
    ) -> Plan:
        workers = {
            "rollout_workers": 1,
            "environments_per_worker": 4,
            "rollout_cpus": 0,
            "learner_device": "cpu",
            "learner_threads": 1,
            "tick_s": 0.1,
            "send_weights_frequency": 5,
            "weight_sync_frequency": 20,
        }
        budget = {
            "training_steps": 60,
            "evaluate_every_learner_steps": 0,
            "checkpoint_every_learner_steps": 20,
            "log_every_s": 0.2,
            "wandb": "disabled",
            "tensorboard": False,
        }
        env = EnvConfig(id=env_id, max_episode_steps=max_episode_steps)
        return Plan(
            name="checking",
            algorithm=algorithm,
            section=CheckingConfig(**(section or {})),
            env=env,
            runtime=RuntimeConfig(**{**workers, **(runtime or {})}),
            run=RunConfig(**{**budget, **(run or {})}),
            env_spec=spec(env),
            folder=tmp_path / "run",
        )

    return make


@pytest.fixture
def make_recorder() -> Callable[..., Recorder]:
    """Returns a function that builds a recorder that writes metrics.jsonl and no terminal."""

    def make(plan: Plan, progress: Progress, presence: Presence | None = None, *, on_ray: bool = False) -> Recorder:
        plan.folder.mkdir(parents=True, exist_ok=True)
        experiment = Experiment(algorithm="checking", env=plan.env, runtime=plan.runtime, run=plan.run)
        loaded = Loaded("checking", "test", experiment, {})
        output = rich.console.Console(file=io.StringIO(), width=200)
        console = Console(loaded, plan.folder, terminal=False, output=output)
        is_resumed = (plan.folder / "metrics.jsonl").exists()
        tracker = Tracker(plan.folder, loaded, "test", resume=is_resumed, on_ray=on_ray)
        return Recorder(plan, progress, tracker, console, presence)

    return make
