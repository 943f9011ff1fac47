"""Environments from gymnasium's own registry: CartPole, LunarLander and whatever is installed and registered there."""

from collections.abc import Sequence

import gymnasium

from rlsys.config import EnvConfig
from rlsys.envs.families.cartpole import CartPoles
from rlsys.envs.family import Family
from rlsys.envs.simulator import Simulator

_ALIASES = {"LunarLander-v2": "LunarLander-v3", "LunarLanderContinuous-v2": "LunarLanderContinuous-v3"}
_CARTPOLE_STEPS = {"CartPole-v0": 200, "CartPole-v1": 500}

gymnasium.register("rlsys/Counting-v0", entry_point="rlsys.testing.environments:CountingEnv")  # imported when made
gymnasium.register("rlsys/Dot-v0", entry_point="rlsys.testing.worlds:DotEnv")
gymnasium.register("rlsys/Dozing-v0", entry_point="rlsys.testing.environments:SleepingEnv", kwargs={"seconds": 0.25})
for _name in ("Paying", "Sleeping", "Raising", "Hanging", "NaN", "Choices", "Parts", "Nested", "Tuple", "Start"):
    gymnasium.register(f"rlsys/{_name}-v0", entry_point=f"rlsys.testing.environments:{_name}Env")


def _knows(name: str) -> bool:
    return name in gymnasium.registry or name in _ALIASES or ":" in name


def _ids() -> list[str]:
    return [*gymnasium.registry, *_ALIASES]


def _make(config: EnvConfig, seed: int, render_mode: str | None) -> tuple[gymnasium.Env, int]:
    """Makes a registered environment; an id `package:Name-v0` imports the package first, which registers it."""
    env = gymnasium.make(
        _ALIASES.get(config.id, config.id),
        max_episode_steps=config.max_episode_steps,
        disable_env_checker=True,
        **({} if render_mode is None else {"render_mode": render_mode}),
    )
    env.reset(seed=seed)
    return env, 1


def _make_simulator(config: EnvConfig, seeds: Sequence[int]) -> Simulator | None:
    max_steps = _CARTPOLE_STEPS.get(config.id)
    return None if max_steps is None else CartPoles(config.id, seeds, config.max_episode_steps or max_steps)


CLASSIC = Family("gymnasium", _knows, _ids, _make, _make_simulator)
