"""The folders of algorithms, and which of them can handle an environment."""

import dataclasses

import pytest

from rlsys import registry
from rlsys.api import Spaces
from rlsys.api.spaces import actions_of
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError
from rlsys.testing.algorithm import CHECKING
from rlsys.types import ArraySpec, EnvSpec


def test_a_space_that_an_algorithm_cannot_handle_is_refused_in_one_line_that_names_those_that_can() -> None:
    env = env_spec(EnvConfig(id="Pendulum-v1"))
    able = [name for name in registry.names() if not registry.get(name).spaces.refusal(env)]
    advice = f"These can: {', '.join(able)}." if able else "No algorithm here can. Choose another environment."
    with pytest.raises(ConfigError) as caught:
        registry.check_spaces(CHECKING, env)
    assert (
        str(caught.value)
        == f"'checking' acts in Discrete spaces only; 'Pendulum-v1' acts with Box(-2, 2, (1,)). {advice}"
    )
    registry.check_spaces(dataclasses.replace(CHECKING, spaces=Spaces(("numbers",))), env)


def test_what_no_algorithm_can_handle_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "names", lambda: [])
    env = EnvSpec("x", ArraySpec((4,), "float32"), ArraySpec((2,), "int64"), 0, action_choices=(2, 3))
    assert actions_of(env) == "MultiDiscrete([2, 3])"
    with pytest.raises(ConfigError, match=r"No algorithm here can\. Choose another environment"):
        registry.check_spaces(CHECKING, env)


@pytest.mark.parametrize("name", registry.baseline_names())
def test_a_baseline_is_refused_spaces_like_an_algorithm(name: str) -> None:
    registry.check_spaces(registry.get(name), env_spec(EnvConfig(id="CartPole-v1")))
    with pytest.raises(
        ConfigError, match=rf"'{name}' reads .*; 'rlsys/Tuple-v0' observes|'{name}' acts in .* These can"
    ):
        registry.check_spaces(registry.get(name), env_spec(EnvConfig(id="rlsys/Tuple-v0")))


@pytest.mark.parametrize("name", registry.names())
def test_an_algorithm_can_handle_its_own_example(name: str) -> None:
    algorithm = registry.get_algorithm(name, "a test")
    registry.check_spaces(algorithm, env_spec(EnvConfig(**algorithm.example_env)))
