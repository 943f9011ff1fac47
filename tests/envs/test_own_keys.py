"""No key, option or attribute of an environment's own means anything to us, whatever it is called."""

import types
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from rlsys.baselines.rllib.environment import RllibVectorEnv
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec, make
from rlsys.envs.vector import BatchedEnv
from rlsys.envs.wrappers import Reset, Step


class EveryKey(dict[str, Any]):
    """Has every key there is."""

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: str) -> Any:
        return 1

    def __missing__(self, key: str) -> Any:
        return 1

    def get(self, key: str, default: Any = None) -> Any:
        return 1


OURS_ONCE = {"action": 1, "raw_reward": -99.0, "game_steps": 7, "lives": 1, "new_game": True, "final_observation": 3}
SHARED: dict[str, Any] = dict(OURS_ONCE)
INFOS: Mapping[str, Any] = {
    "plain": {},
    "our former keys": OURS_ONCE,
    "every key": EveryKey(),
    "shared": SHARED,
    "immutable": types.MappingProxyType(dict(OURS_ONCE)),
    "none": None,
    "a list": [("action", 1)],
}


class Talkative(gymnasium.Env):
    """Rewards action 2 with 2; episodes have 6 steps. It observes through one array that it writes again and again."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as gymnasium declares it
    action_space = Discrete(4)
    observation_space = Box(0.0, 99.0, (2,), np.float32)
    finished_games = ((99.0, 1),)
    running_game = (99.0, 1)
    raw_reward = 99.0
    record = executed = can_snapshot = ale = "mine"
    get_action_meanings = ("what", "these", "mean")

    def __init__(self, info: str) -> None:
        self._info = INFOS[info]
        self._seen = np.zeros(2, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        assert options is None, "these options are not mine"
        super().reset(seed=seed)
        self._seen[:] = 0
        return self._seen, self._info

    def step(self, action: Any) -> Step:
        self._seen += (1, action)
        return self._seen, 2.0 * (action == 2), False, bool(self._seen[0] == 6), self._info

    def get_state(self, qpos: float) -> float:
        raise AssertionError("this is about my joints")

    def set_state(self, qpos: float, qvel: float) -> None:
        raise AssertionError("this is about my joints")


for _name in INFOS:
    gymnasium.register(
        f"rlsys-test/Talkative-{_name.replace(' ', '')}-v0", entry_point=Talkative, kwargs={"info": _name}
    )


def config(name: str, **options: Any) -> EnvConfig:
    return EnvConfig(id=f"rlsys-test/Talkative-{name.replace(' ', '')}-v0", **options)


OPTIONS = {
    "bare": {},
    "stacked and clipped": {"stack_states": 3, "clip_rewards": True, "sticky_actions": 2},
    "avoiding repeats": {"avoid_repeat": True},
}


def played(config: EnvConfig) -> list[Any]:
    """Returns all that a batch of two brings in 40 steps of action 2."""
    batch = BatchedEnv(config, (0, 1))
    seen: list[Any] = []
    for _ in range(40):
        result = batch.step(np.full(2, 2))
        seen += [part.tolist() for part in (result.observation, batch.observation, result.reward, result.raw_reward)]
        seen += [part.tolist() for part in (result.terminated, result.truncated, result.action)] + [result.games]
    return seen


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("info", INFOS)
def test_whatever_an_environment_says_of_itself_the_same_is_stored(info: str, options: str) -> None:
    seen = played(config(info, **OPTIONS[options]))
    assert seen == played(config("plain", **OPTIONS[options]))
    assert seen[6] == [2, 2], "the executed action is the one that was asked for"
    assert dict(OURS_ONCE) == SHARED, "what is the environment's is not written to"


def test_a_stack_keeps_frames_that_an_environment_writes_over() -> None:
    env = make(config("plain", stack_states=3), 0)
    env.reset()
    observation = [env.step(1)[0] for _ in range(3)][-1]
    assert observation.tolist() == [[1, 1], [2, 2], [3, 3]]


def test_methods_that_are_only_called_like_ours_are_left_alone() -> None:
    batch = BatchedEnv(config("plain"), (0,))
    assert not batch.can_snapshot
    assert not batch.load(batch.save()).any()
    assert env_spec(config("plain")).action_meanings == ()


@pytest.mark.parametrize("info", INFOS)
def test_baselines_neither_read_nor_write_it(info: str) -> None:
    env = RllibVectorEnv(config(info), 2)
    env.reset(seed=3)
    rewards = sum(env.step(np.full(2, 2))[1] for _ in range(14))
    assert rewards.tolist() == [24.0, 24.0]
    assert [game.episode_return for game in env.take_games()] == [12.0] * 4
    env.reset()


class Continuous(gymnasium.Env):
    """Clips the array that it is given in place, as some do."""

    action_space = Box(-1.0, 1.0, (1,), np.float32)
    observation_space = Box(-9.0, 9.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Step:
        action *= 0.0
        return np.zeros(1, np.float32), 0.0, False, False, {}


gymnasium.register("rlsys-test/Continuous-v0", entry_point=Continuous)


def test_an_environment_that_changes_its_action_changes_a_copy() -> None:
    batch = BatchedEnv(EnvConfig(id="rlsys-test/Continuous-v0"), (0,))
    asked = np.full((1, 1), 0.5, np.float32)
    assert batch.step(asked).action.tolist() == [[0.5]]
    assert asked.tolist() == [[0.5]]
