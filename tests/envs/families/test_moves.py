"""Legal moves and turns, as environments of gymnasium's say them in `info`; one clear line where they do not."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from rlsys import registry
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.api.masks import split_mask, without_mask
from rlsys.api.spaces import Spaces
from rlsys.config import read_env
from rlsys.envs.families.classic import GymnasiumConfig
from rlsys.envs.make import env_spec, make
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import ConfigError, EnvError
from rlsys.testing.environment_contract import check_environment


class Stones(gymnasium.Env):
    """A pile of `stones` from 2 to 7, of which 1 to 3 are taken by turns; actions begin at 1, as the rules do."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as gymnasium declares it
    observation_space: gymnasium.Space = Box(0.0, 7.0, (1,), np.float32)
    action_space: gymnasium.Space = Discrete(3, start=1)

    def __init__(self, players: str = "", fault: str = "", render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._players, self._fault, self._left, self._moves = players, fault, 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._left, self._moves = int(self.np_random.integers(2, 8)), 0
        return self._seen(), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert 1 <= action <= self._left, "more than there are"
        self._left -= int(action)
        self._moves += 1
        return self._seen(), float(self._left == 0), self._left == 0, False, self._info()

    def render(self) -> Any:
        return np.full((8, 8, 3), self._left, np.uint8)

    def _seen(self) -> Any:
        return np.array([self._left], np.float32)

    def _info(self) -> dict[str, Any]:
        mask: Any = np.arange(1, 4) <= self._left
        info = {"action_mask": mask.astype(np.int8)}
        if self._players:
            info["player"] = int(self._players[self._moves % len(self._players)])
        if self._fault and self._moves == 1:
            info["action_mask"] = {"none": 0 * mask, "few": mask[:2], "words": np.array(["a", "b", "c"])}[self._fault]
        return info


class Named(Stones):
    """The same, with parts."""

    observation_space = Dict({"left": Box(0.0, 7.0, (1,), np.float32), "moves": Discrete(9)})

    def _seen(self) -> Any:
        return {"left": np.array([self._left], np.float32), "moves": self._moves}


@pytest.fixture(autouse=True, scope="module")
def registered() -> None:
    for name, kind in {"tests/Stones-v0": Stones, "tests/Named-v0": Named}.items():
        gymnasium.register(name, entry_point=kind)


def config(name: str = "tests/Stones-v0", *, action_mask: bool = True, **fields: Any) -> GymnasiumConfig:
    return GymnasiumConfig(id=name, action_mask=action_mask, **fields)


@pytest.mark.parametrize("fields", [{}, {"stack_states": 3}, {"kwargs": {"players": "01"}, "clip_rewards": True}])
def test_an_environment_with_a_mask_keeps_the_contract(fields: dict[str, Any]) -> None:
    check_environment(config(**fields), num_steps=40)


@pytest.mark.parametrize("num_stack", [1, 3])
def test_the_mask_is_a_part_of_the_observation_and_says_what_is_legal_in_the_newest_frame(num_stack: int) -> None:
    env = BatchedEnv(config(stack_states=num_stack), range(6))
    seen = without_mask(env.spec)
    assert [part.name for part in env.spec.parts] == ["observation", "action_mask"]
    assert (seen.observation.shape, seen.parts[0].name, seen.num_stack) == ((1,), "", num_stack)
    masks = set()
    for _ in range(20):
        observation, mask = split_mask(env.spec, env.observation)
        assert mask is not None and observation.shape == (6, *seen.policy_observation.shape)
        newest = observation[:, -1] if num_stack > 1 else observation
        np.testing.assert_array_equal(mask, np.arange(1, 4) <= newest)
        masks |= {tuple(row) for row in mask.tolist()}
        result = env.step(np.zeros(6, np.int64))
        last, over = split_mask(env.spec, result.observation)
        assert over is not None and not over[result.terminated].any()
        assert (last[result.terminated].reshape(-1, num_stack)[:, -1] == 0).all()
    assert len(masks) == 3


def test_of_named_parts_the_others_stay() -> None:
    env = BatchedEnv(config("tests/Named-v0"), range(3))
    seen = without_mask(env.spec)
    observation, mask = split_mask(env.spec, env.observation)
    assert mask is not None and mask.shape == (3, 3)
    assert [part.name for part in seen.parts] == ["left", "moves"] and observation.dtype == seen.observation.dtype
    np.testing.assert_array_equal(observation["left"], env.observation["left"])
    assert "observes Dict(left: " in Spaces(masks=True).refusal(env.spec)


def test_without_being_asked_nothing_is_taken_from_info() -> None:
    spec = env_spec(config(action_mask=False))
    assert (spec.parts[0].name, spec.num_players) == ("", 1)
    assert split_mask(spec, np.zeros((2, 1)))[1] is None and without_mask(spec) is spec


def test_two_players_are_found_by_whose_turn_it_is() -> None:
    assert env_spec(config()).num_players == 1
    assert env_spec(config(kwargs={"players": "01"})).num_players == 2
    assert env_spec(config(kwargs={"players": "10"})).num_players == 2


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"fault": "none"}, r"environment 0 \('tests/Stones-v0'\): info\['action_mask'\] allows none of 3 actions; "),
        ({"fault": "few"}, r"info\['action_mask'\] is bool \(2,\); it must say of each of 3 actions"),
        ({"fault": "words"}, r"info\['action_mask'\] is <U1 \(3,\); it must say"),
        ({"players": "011"}, r"player 1 is to move twice in a row; two players must take turns"),
        ({"players": "02"}, r"info\['player'\] = 2; it must be 0 or 1"),
    ],
)
def test_an_environment_that_says_something_else_is_named_in_one_line(kwargs: dict[str, Any], message: str) -> None:
    env = BatchedEnv(config(kwargs=kwargs), [1, 2])  # of five stones and more
    with pytest.raises(EnvError, match=message) as error:
        for _ in range(3):
            env.step(np.zeros(2, np.int64))
    assert "\n" not in str(error.value)


def test_an_illegal_action_is_refused_and_told_as_the_environment_counts() -> None:
    env = make(config(), 0)
    observation, _ = env.reset()
    while observation["observation"][0] > 1:
        observation, *_ = env.step(0)
    with pytest.raises(EnvError, match=r"action 3 is illegal here; legal are 1\. Correct the policy"):
        env.step(2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": "CartPole-v1"}, "'CartPole-v1', which does not say in info.'action_mask'. which actions are legal"),
        ({"id": "Pendulum-v1"}, r"'Pendulum-v1', which acts with Box\(.*only discrete actions can be illegal"),
        ({"id": "tests/Stones-v0", "sticky_actions": 2}, "env.sticky_actions = 2 .*Set env.sticky_actions=1"),
        ({"id": "tests/Stones-v0", "action_repeat": 2}, "env.action_repeat = 2 .*Set env.action_repeat=1"),
        ({"id": "tests/Stones-v0", "avoid_repeat": True}, "env.avoid_repeat = True .*Set env.avoid_repeat=false"),
    ],
)
def test_a_setting_that_does_not_fit_a_mask_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message) as error:
        env_spec(GymnasiumConfig(action_mask=True, **fields))
    assert "\n" not in str(error.value)


def test_other_families_have_no_such_setting() -> None:
    with pytest.raises(ConfigError, match=r"env.action_mask = True with 'catch'; only .*gymnasium"):
        read_env({"id": "catch", "action_mask": True})


@pytest.mark.parametrize("name", ["ppo", "impala"])
def test_an_algorithm_that_knows_nothing_of_illegal_actions_or_two_players_is_refused(name: str) -> None:
    algorithm = registry.get(name)
    with pytest.raises(ConfigError, match=r"knows nothing of illegal actions; .*These can: muzero\."):
        registry.check_spaces(algorithm, env_spec(config()))
    assert "played by two" in Spaces(masks=True).refusal(env_spec(config(kwargs={"players": "01"})))


@pytest.mark.parametrize(("players", "kwargs", "who"), [(1, {"players": "01"}, "two players"), (2, {}, "one player")])
def test_players_that_are_not_the_environments_are_refused(players: int, kwargs: dict[str, Any], who: str) -> None:
    algorithm, other = registry.get("muzero"), 3 - players
    spec = env_spec(config(kwargs=kwargs))
    with pytest.raises(ConfigError, match=rf"muzero.players = {players} .* which {who} .*Set muzero.players={other}\."):
        algorithm.check(MuZeroConfig.model_validate({"players": players}), spec, 8, 1)
    algorithm.check(MuZeroConfig.model_validate({"players": other}), spec, 8, 1)
