"""Ours and its yardsticks are launched with settings that can be launched."""

import itertools
from collections.abc import Callable
from types import ModuleType

import pytest

from rlsys import config, registry
from rlsys.runs.resolve import resolve

TASKS = ("cartpole", "pong", "breakout")


@pytest.mark.parametrize(("system", "task"), itertools.product(("impala", "ppo"), TASKS))
def test_ours_can_be_launched_with_the_workers_and_environments_of_each_task(
    system: str, task: str, load: Callable[[str], ModuleType]
) -> None:
    baselines = load("baselines")
    loaded = config.load(f"{system}-{task}", overrides=baselines.settings(system, task))
    spec = resolve(loaded, registry.get(loaded.experiment.algorithm), num_cpus=2, num_gpus=0)
    assert spec.num_rollout_workers == 2
    assert spec.environments_per_worker == baselines._ENVIRONMENTS[task]
