"""What configs/ and launch/ hold fits together and explains itself."""

import itertools
import sys

import pytest

from rlsys import config, registry
from rlsys.baseline import Baseline
from rlsys.commands import catalogue
from rlsys.config import RuntimeConfig
from rlsys.envs.make import make
from rlsys.envs.wrappers import NOOP
from rlsys.files.yaml_tree import read_yaml
from rlsys.runs.resolve import resolve
from rlsys.testing import deepmind_lab

FAMILIES = {"r2ac": "impala"}
"""First words of experiments that are not their algorithm's name."""
FIRES = {
    "r2ac": True,  # torchbeast's wrappers press it in every game that has it
    "impala": True,
    "rllib": True,  # yardsticks of impala's
    "muzero": {"muzero-breakout", "muzero-breakout-pixels"},  # --fire_reset in upstream's command for Breakout only
    "ppo": False,  # tensor2tensor has no such wrapper
    "simple": False,
    "planet": False,
    "iris": False,
}
"""Which experiments with Atari games press FIRE after a reset, as upstream does."""
PAIRS = list(itertools.product(config.experiment_names(), config.profile_names()))


@pytest.mark.parametrize("profile", config.profile_names())
def test_a_profile_sets_nothing_but_the_runtime(profile: str) -> None:
    tree = read_yaml(config.data_folder("launch") / f"{profile}.yaml")
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
    spec = resolve(loaded, algorithm, num_cpus=48, num_gpus=1)
    shared = algorithm.environments and getattr(spec.section, algorithm.environments)
    assert spec.num_rollout_workers == min(48, shared or 48)
    assert spec.runtime.learner_device == "cuda"


@pytest.mark.parametrize("experiment", [name for name in config.experiment_names() if not name.startswith("rllib-")])
def test_what_is_learned_from_does_not_depend_on_the_number_of_cores(
    experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deepmind_lab", deepmind_lab)
    loaded = config.load(experiment)
    algorithm = registry.get_algorithm(loaded.experiment.algorithm, "this test")
    plans = [resolve(loaded, algorithm, num_cpus=cores, num_gpus=0) for cores in (1, 2, 3, 4, 48)]
    assert len({(repr(spec.store), repr(spec.cut)) for spec in plans}) == 1
    if plans[0].turns is not None:
        assert len({spec.num_environments for spec in plans}) == 1


ATARI = [name for name in config.experiment_names() if "NoFrameskip" in config.load(name).experiment.env.id]


@pytest.mark.parametrize("experiment", ATARI)
def test_fire_is_pressed_after_a_reset_where_upstream_does(experiment: str) -> None:
    fires = FIRES[experiment.partition("-")[0]]
    expected = experiment in fires if isinstance(fires, set) else fires
    assert config.load(experiment).experiment.env.fire_reset == expected


@pytest.mark.parametrize("experiment", [name for name in ATARI if config.load(name).experiment.env.fire_reset])
def test_any_game_goes_on_by_itself_in_experiments_that_press_fire(experiment: str) -> None:
    own = config.load(experiment).experiment.env
    ram = "-ram" if "-ram" in own.id else ""
    breakout = make(own.model_copy(update={"id": f"Breakout{ram}NoFrameskip-v4"}), seed=0, training=False)
    for _ in range(2):  # the second time, where lives end episodes, the game goes on
        breakout.reset()
        lives = [breakout.step(NOOP)[4]["lives"] for _ in range(100)]
        assert min(lives) < max(lives), "the ball is served, and lost"
    pacman = make(own.model_copy(update={"id": f"MsPacman{ram}NoFrameskip-v4"}), seed=0, training=False)
    pacman.reset()


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
