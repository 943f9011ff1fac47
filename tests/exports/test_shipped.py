"""What ships with the package is whole, and better than chance: its policy in the real game, its model beside it."""

import numpy as np
import pytest

from rlsys.api import PolicyContext, WorldContext
from rlsys.envs.make import env_spec
from rlsys.evaluation.episodes import play_episodes
from rlsys.exports import shipped
from rlsys.exports.find import find, give_weights
from rlsys.exports.pretrained import weights_in
from rlsys.planning.imagined import ImaginedEnv
from rlsys.registry import get_algorithm

BEATEN = {"simple-catch": -1.0}
"""Name -> return that 20 games must exceed; random play in Catch has -2.5."""


def test_each_has_a_return_to_beat() -> None:
    assert BEATEN.keys() == shipped.folders().keys()


@pytest.mark.parametrize("name", sorted(shipped.folders()))
def test_its_policy_plays_better_than_chance(name: str) -> None:
    trained = find(str(shipped.folders()[name]))
    experiment = trained.loaded.experiment
    context = PolicyContext(experiment.section, env_spec(experiment.env), seed=0, num_environments=20)
    policy = get_algorithm(experiment.algorithm, "a test").make_policy(context)
    give_weights(policy, weights_in(trained.open("latest", ["weights"])))
    assert play_episodes(policy, experiment.env, 20, seed=0).mean > BEATEN[name]


@pytest.mark.parametrize("name", sorted(shipped.folders()))
def test_its_model_begins_and_goes_on(name: str) -> None:
    trained = find(str(shipped.folders()[name]))
    experiment = trained.loaded.experiment
    make_world = get_algorithm(experiment.algorithm, "a test").make_world
    opened = trained.open("latest", ["weights", "world"])
    if make_world is None or "world" not in opened.parts:
        pytest.skip(f"{name} has no world model")
    env = env_spec(experiment.env)
    world = make_world(WorldContext(experiment.section, env, opened.read("world")))
    imagined = ImaginedEnv(world, env, 2, seed=0)
    frames = np.zeros((2, world.min_context, *env.observation.shape), env.observation.dtype)
    imagined.reset(options={"observation": frames, "action": np.zeros((2, world.min_context - 1), np.int64)})
    for _ in range(3):
        observation, *_ = imagined.step(np.array([0, 1]))
    assert observation in imagined.observation_space
