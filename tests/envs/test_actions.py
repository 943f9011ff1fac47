"""Actions that are no environment's own: chosen vectors of numbers, and as many as another task has."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsys import config
from rlsys.config import EnvConfig, read_env
from rlsys.envs.make import env_spec, make
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import RlsysError
from rlsys.metrics.rows import read_metrics
from rlsys.runtime.launch.launch import launch
from rlsys.types import ArraySpec

FIVE = [[-1], [-0.25], [0], [0.25], [1]]
"""PlaNet's discrete fork: a push of a cart."""
NINE = [-1, -0.25, -0.05, -0.01, 0, 0.01, 0.05, 0.25, 1]
CORNERS = [[-1, -1], [-1, 1], [1, -1], [1, 1], [0, 0]]

SETS: dict[str, dict[str, Any]] = {
    "a cart": {"id": "dm_control/cartpole-swingup", "action_repeat": 4, "action_set": FIVE},
    "a cart, finely": {"id": "dm_control/cartpole-balance", "action_set": NINE},
    "an arm": {"id": "dm_control/reacher-easy", "action_set": CORNERS, "sticky_actions": 2},
    "a pendulum": {"id": "Pendulum-v1", "action_set": [-2, 0, 2], "stack_states": 2},
    "a lander": {"id": "LunarLanderContinuous-v3", "action_set": CORNERS},
    "six joints": {"id": "HalfCheetah-v5", "action_set": [[0.5] * 6, [-0.5] * 6, [1, 0, -1, 0, 1, 0]]},
    "an own one": {"id": "rlsys/Nested-v0", "action_set": CORNERS, "avoid_repeat": True},
}


def without_set(fields: dict[str, Any]) -> EnvConfig:
    return read_env({name: value for name, value in fields.items() if name not in ("action_set", "avoid_repeat")})


@pytest.mark.parametrize("name", SETS)
def test_a_chosen_action_does_what_its_vector_does(name: str) -> None:
    fields = SETS[name]
    chosen, told = make(read_env(fields), 3), make(without_set(fields), 3)
    vectors = np.array(fields["action_set"], np.float32).reshape(len(fields["action_set"]), -1)
    assert str(chosen.reset()[0]) == str(told.reset()[0])
    for action in np.random.default_rng(0).integers(0, len(vectors), 40).tolist():
        (ours, reward, *ends, _), (theirs, same, *others, _) = chosen.step(action), told.step(vectors[action].copy())
        assert str(ours) == str(theirs)
        assert (reward, ends) == (same, others)
        if any(ends):
            break


def test_a_set_is_a_discrete_space_whose_actions_are_named_by_their_numbers() -> None:
    spec = env_spec(read_env(SETS["a cart, finely"]))
    assert (spec.num_actions, spec.action, spec.action_low, spec.action_high) == (9, ArraySpec((), "int64"), (), ())
    assert spec.action_meanings == ("-1", "-0.25", "-0.05", "-0.01", "0", "0.01", "0.05", "0.25", "1")
    assert env_spec(read_env(SETS["an arm"])).action_meanings[:2] == ("-1, -1", "-1, 1")
    assert read_env(SETS["a cart, finely"]).action_set == tuple((float(number),) for number in NINE)


def test_a_snapshot_goes_on_with_the_same_set() -> None:
    fields = read_env({**SETS["a cart"], "kwargs": {"time_limit": 1}})
    env, copy = BatchedEnv(fields, (0, 1)), BatchedEnv(fields, (2, 3))
    actions = np.random.default_rng(0).integers(0, 5, (60, 2))
    for action in actions[:20]:
        env.step(action)
    assert copy.load(env.save()).all()
    for action in actions[20:]:
        ours, theirs = env.step(action), copy.step(action)
        assert np.array_equal(ours.observation, theirs.observation)
        assert np.array_equal(ours.action, action) and np.array_equal(ours.reward, theirs.reward)


def test_what_steps_at_once_gives_way_to_what_chooses() -> None:
    assert type(BatchedEnv(EnvConfig(), (0,))._batch).__name__ == "Lockstep"
    with pytest.raises(RlsysError, match=r"'CartPole-v1', which acts with Discrete\(2\); only of numbers"):
        BatchedEnv(EnvConfig(action_set=((0.0,),)), (0,))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"action_set": []}, "action_set = []; it must have at least one action. Leave it out"),
        ({"action_set": [[]]}, "env.action_set = [[]]; "),
        ({"action_set": [0, True]}, "env.action_set = [0, True]; it must be a number or a list of numbers"),
        ({"action_set": [0, "left"]}, "env.action_set = [0, 'left']; it must be a number or a list"),
        ({"action_set": [[0], ["left"]]}, "env.action_set = [[0], ['left']]; it must be a valid number"),
        ({"action_set": 1}, "env.action_set = 1; it must be a valid tuple"),
        ({"action_set": "[0, .nan]"}, "it must be a finite number"),
        (
            {"action_set": [[0, 1], [1]]},
            "env.action_set[0] has 2 numbers; 'Pendulum-v1' acts with 1. Give each 1 number.",
        ),
        ({"action_set": [0, 2.5]}, "env.action_set[1] has 2.5 as number 0; 'Pendulum-v1' takes -2 to 2 there."),
        ({"action_set": [0, -0.0]}, "env.action_set[1] = [-0] is env.action_set[0] again"),
        ({"action_set": [1, 1 + 1e-12]}, "again, as float32; each action can be there once. Leave one of them out."),
        ({"id": "dm_control/cheetah-run", "action_set": [[0, 1], [1, 0]]}, "has 2 numbers; 'dm_control/cheetah-run'"),
        ({"id": "Blackjack-v1", "action_set": [0]}, "'Blackjack-v1', which acts with Discrete(2); only of numbers"),
        ({"id": "rlsys/Choices-v0", "action_set": [[0, 0]]}, "which acts with MultiDiscrete("),
        ({"id": "PongNoFrameskip-v4", "action_set": [0, 1]}, "which acts with Discrete(6)"),
    ],
)
def test_what_is_no_set_of_actions_is_refused_in_one_line(settings: dict[str, Any], words: str) -> None:
    given = {"id": "Pendulum-v1", **settings}
    with pytest.raises(RlsysError) as caught:
        env_spec(config.load("ppo-pendulum", overrides=[f"env.{name}={given[name]}" for name in given]).experiment.env)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tasks_with_sets_have_as_many_actions_as_the_largest() -> None:
    tasks = [
        {"id": "dm_control/cartpole-balance", "action_set": FIVE},
        {"id": "dm_control/cartpole-balance", "action_set": NINE},
    ]
    several = read_env({"tasks": tasks})
    assert env_spec(several).num_actions == 9
    first, beyond = (make(several.model_copy(update={"task": 0}), 0) for _ in range(2))
    first.reset(), beyond.reset()
    assert np.array_equal(first.step(0)[0], beyond.step(8)[0])


def test_tasks_that_act_with_numbers_have_as_many_as_the_one_with_most() -> None:
    names = ["dm_control/cartpole-balance", "dm_control/cheetah-run"]
    several = read_env({"tasks": names, "observation": "pixels"})
    spec = env_spec(several)
    assert (spec.action, spec.action_low, spec.action_high) == (ArraySpec((6,), "float32"), (-1.0,) * 6, (1.0,) * 6)
    assert spec.observation.shape == (3, 64, 64)
    batch = BatchedEnv(several, (5, 6))
    alone = [make(read_env({"id": name, "observation": "pixels"}), seed) for seed, name in enumerate(names, 5)]
    for env, size in zip(alone, (1, 6), strict=True):
        env.reset()
        assert env.action_space.shape == (size,)
    for action in np.random.default_rng(0).uniform(-1, 1, (3, 2, 6)).astype(np.float32):
        result = batch.step(action)
        assert np.array_equal(result.action, action)
        for row, (env, size) in enumerate(zip(alone, (1, 6), strict=True)):
            assert np.array_equal(result.observation[row], env.step(action[row, :size])[0])


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        (["Pendulum-v1", "MountainCarContinuous-v0"], "observation is float32 (2,)"),
        (
            [{"id": "rlsys/Nested-v0"}, {"id": "rlsys/Nested-v0", "action_set": CORNERS}],
            "action is Box(-1, 1, (2,)) in 'rlsys/Nested-v0' and Discrete(5) in 'rlsys/Nested-v0'; only the number of",
        ),
    ],
)
def test_tasks_that_act_otherwise_are_refused(tasks: list[Any], words: str) -> None:
    with pytest.raises(RlsysError) as caught:
        env_spec(read_env({"tasks": tasks}))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_with_a_set_learns_is_evaluated_and_goes_on(tmp_path: Path) -> None:
    overrides = [
        "env.action_set=[-2, 0, 2]",
        f"run.directory={tmp_path}",
        "run.run_tag=one",
        "run.video=false",
        "run.wandb=disabled",
        "run.tensorboard=false",
        "run.training_steps=4",
        "debug=true",
    ]
    loaded = config.load("ppo-pendulum", overrides=overrides)
    assert launch(loaded, inline=True, resume=None, overrides=()) == 0
    folder = tmp_path / "ppo-pendulum" / "one"
    assert launch(None, inline=True, resume=str(folder), overrides=["run.training_steps=6"]) == 0
    assert read_metrics(folder)[-1]["learner_step"] == 6
