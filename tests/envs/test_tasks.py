"""One agent on several environments: real ones, spread over a batch, made alike, and told apart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsys import config, registry
from rlsys.config import EnvConfig, read_env
from rlsys.envs.families.atari import AtariConfig
from rlsys.envs.make import env_spec, make
from rlsys.envs.tasks import TaskBatch, each_task, names
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import ConfigError, EnvError, RlsysError
from rlsys.metrics.rows import read_metrics
from rlsys.runs.resolve import check, resolve
from rlsys.runtime.launch.launch import launch

RAM = read_env(
    {
        "tasks": ["Pong-ramNoFrameskip-v4", {"id": "Breakout-ramNoFrameskip-v4", "fire_reset": True}],
        "sticky_actions": 4,
        "max_episode_steps": 400,
    }
)
"""Six actions and four."""
LEVELS = read_env({"id": "procgen-maze", "num_levels": 3, "tasks": ["procgen-maze", {"start_level": 90}]})


def test_each_task_is_the_section_with_what_differs() -> None:
    pong, breakout = config.tasks_of(RAM)
    assert type(pong) is type(breakout) is AtariConfig
    assert (pong.id, pong.sticky_actions, pong.fire_reset) == ("Pong-ramNoFrameskip-v4", 4, False)
    assert (breakout.id, breakout.sticky_actions, breakout.fire_reset) == ("Breakout-ramNoFrameskip-v4", 4, True)
    assert RAM.id == pong.id, "without an id it is the first task's"
    assert config.tasks_of(EnvConfig()) == [EnvConfig()]
    assert names(config.tasks_of(LEVELS)) == ("procgen-maze", "procgen-maze--2")
    assert names([EnvConfig(id="dm_control/cheetah-run"), EnvConfig(id="a:b")]) == ("dm_control-cheetah-run", "a-b")


def test_actions_are_padded_to_the_most_and_those_beyond_do_what_the_first_does() -> None:
    assert env_spec(RAM).num_actions == 6
    assert env_spec(RAM).tasks == ("Pong-ramNoFrameskip-v4", "Breakout-ramNoFrameskip-v4")
    breakout = each_task(RAM)[1]
    first, beyond = make(breakout, 3), make(breakout, 3)
    first.reset(), beyond.reset()
    for _ in range(20):
        assert np.array_equal(first.step(0)[0], beyond.step(5)[0])


def test_environments_of_all_workers_are_spread_evenly_and_play_as_they_would_alone() -> None:
    batch = BatchedEnv(RAM, (5, 6, 7), first=3)  # the fourth to the sixth: Breakout, Pong, Breakout
    alone = [make(each_task(RAM)[task], seed) for task, seed in ((1, 5), (0, 6), (1, 7))]
    for row, env in enumerate(alone):
        assert np.array_equal(batch.observation[row], env.begin_game()[0])
    games = []
    for action in np.random.default_rng(0).integers(0, 6, (130, 3)):
        result = batch.step(action)
        games += result.games
        for row, env in enumerate(alone):
            observation, reward, terminated, truncated, _ = env.step(int(action[row]))
            assert np.array_equal(result.observation[row], observation)
            assert result.reward[row] == reward
            if terminated or truncated:
                env.reset()
    assert {(game.environment, game.task) for game in games} == {(0, 1), (1, 0), (2, 1)}


def test_what_can_be_stepped_at_once_is_within_each_task() -> None:
    batch = BatchedEnv(LEVELS, (0, 1, 2))
    assert isinstance(batch._batch, TaskBatch)
    assert {type(part).__name__ for part in batch._batch._batches.values()} == {"Lockstep"}
    assert not isinstance(BatchedEnv(each_task(LEVELS)[1], (0, 1))._batch, TaskBatch)


def test_which_task_it_is_can_be_a_part_of_the_observation() -> None:
    shown = RAM.model_copy(update={"task_in_observation": True})
    spec = env_spec(shown)
    assert [(part.name, part.choices) for part in spec.parts] == [("task", (2,)), ("observation", ())]
    batch = BatchedEnv(shown, (0, 1, 2))
    assert batch.observation["task"].tolist() == [0, 1, 0]
    assert batch.step(np.zeros(3, np.int64)).observation["task"].tolist() == [0, 1, 0]
    assert batch.observation["observation"].shape == (3, 128)


def test_tasks_may_repeat_actions_more_or_less_often() -> None:
    tasks = [{"id": "tmaze-3"}, {"id": "tmaze-3", "sticky_actions": 4}, {"id": "tmaze-3", "sticky_actions": 2}]
    several = read_env({"tasks": tasks, "max_episode_steps": 12})
    assert env_spec(several).frames_per_step == pytest.approx(7 / 3)
    assert [env_spec(task).frames_per_step for task in each_task(several)] == [1, 4, 2]
    batch, games = BatchedEnv(several, (0, 1, 2, 3)), []
    for _ in range(12):
        games += batch.step(np.full(4, 2)).games
    assert {(game.task, game.length_frames // game.length_env_steps) for game in games} == {(0, 1), (1, 4), (2, 2)}


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        (["CartPole-v1", "catch"], "env.tasks: observation is uint8 (20, 16)"),
        (
            ["CartPole-v1", "LunarLander-v3"],
            "is float32 (8,) in 'LunarLander-v3' and float32 (4,) in",
        ),
        (
            ["LunarLander-v3", "LunarLanderContinuous-v3"],
            "action is Box(-1, 1, (2,)) in 'LunarLa",
        ),
        (["CartPole-v1", {"clip_rewards": True}], "env.tasks: clips rewards is True in 'CartPole-v1' and False"),
        (["CartPole-v1", "CartPol-v1"], "Did you mean 'CartPole-v1'"),
        (["CartPole-v1", {"noop_max": 3}], "env.tasks[1]: env.noop_max = 3 with 'CartPole-v1'; only Atari games"),
        (
            [{"stack_states": 0}],
            "env.tasks[0]: stack_states = 0; it must be greater than or equal to 1.",
        ),
        ([{"stack_stats": 0}], "env.tasks[0]: unknown key 'stack_stats' there. Did you mean 'stack_states'?"),
        ([{"tasks": ["catch"]}], "env.tasks[0] has tasks of its own"),
    ],
)
def test_what_cannot_be_made_alike_is_refused_in_one_line(tasks: list[Any], words: str) -> None:
    with pytest.raises(RlsysError) as caught:
        env_spec(read_env({"id": "CartPole-v1", "tasks": tasks}))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["env.task=1"], "env: task = 1 of 0 tasks, which are counted from 0"),
        (["env.tasks=[catch]", "env.task=1"], "env: task = 1 of 1 tasks"),
        (["env.task_in_observation=true"], "env: task_in_observation = true without tasks"),
        (["env.tasks=[{id: catch, far: 3}]"], "env.tasks[0]: unknown key 'far' there. Known here: id, kwargs,"),
    ],
)
def test_a_wrong_task_is_refused_when_settings_are_read(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load("ppo-cartpole", overrides=overrides)
    assert words in str(caught.value)


def test_fewer_environments_than_tasks_are_refused_before_anything_starts() -> None:
    few = ["env.tasks=[CartPole-v1, CartPole-v1, CartPole-v1]", "runtime.rollout_workers=1"]
    loaded = config.load("impala-cartpole", overrides=[*few, "runtime.environments_per_worker=2"])
    impala = registry.get_algorithm("impala", "a test")
    with pytest.raises(ConfigError, match=r"env\.tasks has 3, and the run 2 environments; each task needs one"):
        check(resolve(loaded, impala, num_cpus=1, num_gpus=0))
    check(resolve(config.override(loaded, ["env.task=2"]), impala, num_cpus=1, num_gpus=0))
    shared = config.load("ppo-cartpole", overrides=[few[0], "ppo.num_environments=2"])
    with pytest.raises(ConfigError, match=r"each task needs one\. Raise ppo\.num_environments\."):
        check(resolve(shared, registry.get_algorithm("ppo", "a test"), num_cpus=1, num_gpus=0))


def test_a_snapshot_of_other_tasks_is_refused() -> None:
    saved = BatchedEnv(EnvConfig(), (0, 1)).save()
    with pytest.raises(EnvError, match="the snapshot is of other tasks"):
        BatchedEnv(LEVELS, (0, 1)).load(saved)


def test_episodes_and_evaluations_are_told_apart_by_task(tmp_path: Path) -> None:
    overrides = [
        "env.tasks=[tmaze-3, {id: tmaze-4, max_episode_steps: 9}]",
        f"run.directory={tmp_path}",
        "run.run_tag=one",
        "run.final_evaluation=[{name: last, episodes: 2}]",
        "run.video=false",
        "run.wandb=disabled",
        "run.tensorboard=false",
        "debug=true",
    ]
    loaded = config.load("ppo-cartpole", overrides=overrides)
    assert launch(loaded, inline=True, resume=None, overrides=()) == 0
    rows = read_metrics(tmp_path / "ppo-cartpole" / "one")
    found = {name: value for row in rows for name, value in row.items()}
    for name in ("episodes/{}/return", "evaluation/{}/return", "final/last/{}"):
        assert {name.format("tmaze-3"), name.format("tmaze-4")} <= found.keys()
    assert found["evaluation/return"] == pytest.approx(
        np.mean([found[f"evaluation/{task}/return"] for task in ("tmaze-3", "tmaze-4")])
    )
