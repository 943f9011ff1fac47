"""An environment that breaks a promise is told which."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
import pytest

from rlsys.config import EnvConfig
from rlsys.envs.wrappers import Reset, Step
from rlsys.testing.environment_contract import check_environment
from rlsys.testing.environments import CountingEnv
from rlsys.testing.requirement import ContractError
from rlsys.types import Array


class Unseeded(CountingEnv):
    made = itertools.count()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        return super().reset(seed=next(self.made), options=options)


class Forgetful(CountingEnv):
    def set_state(self, state: Mapping[str, Any]) -> None:
        before = self.np_random.bit_generator.state
        super().set_state(state)
        self.np_random.bit_generator.state = before


class Elsewhere(CountingEnv):
    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "place": (1, 2)}


class Colourless(CountingEnv):
    def render(self) -> Array:  # type: ignore[override]
        return np.zeros((8, 8))


class Moody(CountingEnv):
    """Pays differently each time that it is asked."""

    mood = itertools.count()

    def step(self, action: Any) -> Step:
        observation, _, terminated, truncated, info = super().step(action)
        return observation, float(next(self.mood)), terminated, truncated, info


@pytest.fixture
def env_id(env_class: type[CountingEnv]) -> Iterator[str]:
    name = f"rlsys/{env_class.__name__}-v0"
    gymnasium.register(name, entry_point=env_class)
    yield name
    del gymnasium.registry[name]


@pytest.mark.parametrize(
    ("env_class", "sentence"),
    [
        (Unseeded, "equal seeds and actions give equal games; two differ in observation"),
        (Moody, "equal seeds and actions give equal games; two differ in reward"),
        (Forgetful, "a snapshot goes on as the environment that it is of; two differ in"),
        (Elsewhere, r"an environment saves dicts, lists, arrays and JSON scalars; .*\.place is tuple"),
        (Colourless, r"it is drawn as `\[H, W, 3\]` uint8; `render` returns float64 of shape \(8, 8\)"),
    ],
)
def test_an_environment_that_breaks_a_promise_is_told_which(env_id: str, sentence: str) -> None:
    with pytest.raises(ContractError, match=f"^'{env_id}' breaks the contract of environments: {sentence}"):
        check_environment(EnvConfig(id=env_id))
