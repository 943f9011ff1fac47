"""Environments from gymnasium's own registry: CartPole, LunarLander and whatever is installed and registered there."""

import importlib.util
from collections.abc import Sequence

import gymnasium
from gymnasium.envs.registration import load_env_creator

from rlsys.config import EnvConfig
from rlsys.envs import offscreen
from rlsys.envs.families.cartpole import CartPoles
from rlsys.envs.family import Family
from rlsys.envs.kwargs import check_kwargs, refused
from rlsys.envs.simulator import Simulator
from rlsys.errors import EnvError

_ALIASES = {"LunarLander-v2": "LunarLander-v3", "LunarLanderContinuous-v2": "LunarLanderContinuous-v3"}
_CARTPOLE_STEPS = {"CartPole-v0": 200, "CartPole-v1": 500}
_OURS = ("render_mode", "id", "max_episode_steps", "disable_env_checker")
"""Arguments of gymnasium's that users do not give."""
_MUJOCO = "gymnasium.envs.mujoco"

gymnasium.register("rlsys/Counting-v0", entry_point="rlsys.testing.environments:CountingEnv")  # imported when made
gymnasium.register("rlsys/Dot-v0", entry_point="rlsys.testing.worlds:DotEnv")
gymnasium.register("rlsys/Dozing-v0", entry_point="rlsys.testing.environments:SleepingEnv", kwargs={"seconds": 0.25})
for _name in ("Paying", "Sleeping", "Raising", "Hanging", "NaN", "Choices", "Parts", "Nested", "Tuple", "Start"):
    gymnasium.register(f"rlsys/{_name}-v0", entry_point=f"rlsys.testing.environments:{_name}Env")


def _knows(name: str) -> bool:
    return name in gymnasium.registry or name in _ALIASES


def _ids() -> list[str]:
    return [*gymnasium.registry, *_ALIASES]


def _make(config: EnvConfig, seed: int, render_mode: str | None) -> tuple[gymnasium.Env, int]:
    """Makes a registered environment; of an id `package:Name-v0` the package, which registers it, has been imported."""
    name = _ALIASES.get(config.name, config.name)
    entry_point = gymnasium.spec(name).entry_point
    if isinstance(entry_point, str) and entry_point.startswith(_MUJOCO):
        if importlib.util.find_spec("mujoco") is None:
            raise EnvError(f"'{config.id}' needs mujoco, which is not installed. Install rlsys[control].")
        offscreen.choose()
    if config.kwargs and entry_point is not None:
        check_kwargs(config, load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point, _OURS)
    try:
        env = gymnasium.make(
            name,
            max_episode_steps=config.max_episode_steps,
            disable_env_checker=True,
            **({} if render_mode is None else {"render_mode": render_mode}),
            **config.kwargs,
        )
    except (gymnasium.error.Error, ImportError):
        raise
    except Exception as error:
        if not config.kwargs:
            raise
        raise refused(config, error) from error
    env.reset(seed=seed)
    return env, 1


def _make_simulator(config: EnvConfig, seeds: Sequence[int]) -> Simulator | None:
    max_steps = None if config.kwargs else _CARTPOLE_STEPS.get(config.id)
    return None if max_steps is None else CartPoles(config.id, seeds, config.max_episode_steps or max_steps)


CLASSIC = Family("environments of gymnasium", _knows, _ids, _make, EnvConfig, _make_simulator, takes_kwargs=True)
