"""Environments from gymnasium's own registry: CartPole, LunarLander and whatever is installed and registered there."""

import gymnasium

from rlsys.config import EnvConfig
from rlsys.envs.family import Family

_ALIASES = {"LunarLander-v2": "LunarLander-v3", "LunarLanderContinuous-v2": "LunarLanderContinuous-v3"}

gymnasium.register("rlsys/Counting-v0", entry_point="rlsys.testing.environments:CountingEnv")  # imported when made


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


CLASSIC = Family("gymnasium", _knows, _ids, _make)
