"""What configs/ and launch/ hold fits together and explains itself."""

import itertools
import sys

import pytest

from rlsys import catalogue, config, registry
from rlsys.baseline import Baseline
from rlsys.config import RuntimeConfig
from rlsys.runtime.plan import resolve
from rlsys.testing import deepmind_lab

FAMILIES = {"r2ac": "impala"}
"""First words of experiments that are not their algorithm's name."""
PAIRS = list(itertools.product(config.experiment_names(), config.profile_names()))


@pytest.mark.parametrize("profile", config.profile_names())
def test_a_profile_sets_nothing_but_the_runtime(profile: str) -> None:
    tree = config.read_yaml(config.data_folder("launch") / f"{profile}.yaml")
    assert list(tree) == ["runtime"]
    RuntimeConfig.model_validate(tree["runtime"])


@pytest.mark.parametrize(("experiment", "profile"), PAIRS)
def test_every_experiment_loads_with_every_profile_and_in_debug_mode(experiment: str, profile: str) -> None:
    loaded = config.load(experiment, profile)
    family = experiment.split("-", maxsplit=1)[0]
    assert loaded.experiment.algorithm.startswith(FAMILIES.get(family, family))
    assert config.load(experiment, profile, ["debug=true"]).experiment.run.training_steps == 20
    assert all(field.meaning for field in config.describe(loaded))


@pytest.mark.parametrize(("experiment", "profile"), PAIRS)
def test_every_experiment_fits_every_profile(experiment: str, profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepmind_lab", deepmind_lab)  # the fake: no index has the real one
    loaded = config.load(experiment, profile)
    algorithm = registry.get(loaded.experiment.algorithm)
    if isinstance(algorithm, Baseline):
        return  # it settles its own workers: tests/baselines
    plan = resolve(loaded, algorithm, num_cpus=48, num_gpus=1)
    shared = algorithm.environments and getattr(plan.section, algorithm.environments)
    assert plan.num_rollout_workers == min(48, shared or 48)
    assert plan.runtime.learner_device == "cuda"


@pytest.mark.parametrize("experiment", [name for name in config.experiment_names() if not name.startswith("rllib-")])
def test_what_is_learned_from_does_not_depend_on_the_number_of_cores(
    experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deepmind_lab", deepmind_lab)
    loaded = config.load(experiment)
    algorithm = registry.get_algorithm(loaded.experiment.algorithm, "this test")
    plans = [resolve(loaded, algorithm, num_cpus=cores, num_gpus=0) for cores in (1, 2, 3, 4, 48)]
    assert len({(repr(plan.table), repr(plan.segments)) for plan in plans}) == 1
    if plans[0].segments.on_policy:
        assert len({plan.num_environments for plan in plans}) == 1


def test_the_list_says_something_about_everything() -> None:
    assert all(all(row) for row in [*catalogue.experiments(), *catalogue.profiles()])
    assert {"laptop", "gpu", "gpu-48"} <= {name for name, _ in catalogue.profiles()}


@pytest.mark.parametrize("yardstick", [name for name in config.experiment_names() if name.startswith("rllib-")])
def test_a_yardstick_plays_the_games_that_it_is_compared_on(yardstick: str) -> None:
    game = yardstick.rpartition("-")[2]
    ours, theirs = (config.load(name).experiment for name in (f"impala-{game}", yardstick))
    clipped = ours.section.reward_clipping != "none"  # in our loss; RLlib has none in its losses
    assert theirs.env == ours.env.model_copy(update={"clip_rewards": clipped})
    assert theirs.runtime.environments_per_worker == ours.runtime.environments_per_worker
    assert theirs.section.algorithm == yardstick.split("-")[1]
