"""Environments from gymnasium's own registry: CartPole, LunarLander and whatever is installed and registered there.

env.observation = state     what the environment observes
                  pixels    `[3, H, W]` uint8, env.frame_size high and wide: what it draws
                  both      its own parts, or "state", beside "pixels"
"""

import importlib.util
from collections.abc import Sequence
from typing import Literal

import gymnasium
from gymnasium.envs.registration import load_env_creator

from rlsys.config import EnvConfig
from rlsys.config.quantities import Flag, Pixels, Repeats
from rlsys.envs import offscreen
from rlsys.envs.families.cartpole import CartPoles
from rlsys.envs.families.moves import Moves
from rlsys.envs.families.pictures import MujocoPictures, Pictures
from rlsys.envs.family import Family
from rlsys.envs.kwargs import check_kwargs, refused
from rlsys.envs.offscreen import Drawing
from rlsys.envs.simulator import Simulator
from rlsys.envs.wrappers import ActionRepeat, check_repeats
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


class GymnasiumConfig(EnvConfig):
    """What is seen of an environment of gymnasium's."""

    observation: Literal["state", "pixels", "both"] = "state"
    """What the policy sees: what the environment observes, what it draws, or both as named parts."""
    action_repeat: Repeats = 1
    """Steps per decision with the same action; rewards are summed, and only the last is drawn."""
    frame_size: tuple[Pixels, Pixels] = (64, 64)
    """Height and width of pictures."""
    action_mask: Flag = False
    """Take from what the environment says in `info` which actions are legal ("action_mask") and, where two play by
    turns, who is to move ("player")."""
    drawing: Drawing = "full"
    """How MuJoCo draws pictures: full, flat (without shadows and reflections) or coarse (with jagged edges, too)."""


def _knows(name: str) -> bool:
    return name in gymnasium.registry or name in _ALIASES


def _ids() -> list[str]:
    return [*gymnasium.registry, *_ALIASES]


def _make(config: GymnasiumConfig, seed: int, render_mode: str | None) -> tuple[gymnasium.Env, int]:
    """Makes a registered environment; of an id `package:Name-v0` the package, which registers it, has been imported."""
    check_repeats(config, "action_repeat", config.action_repeat)
    name = _ALIASES.get(config.name, config.name)
    entry_point = gymnasium.spec(name).entry_point
    by_mujoco = isinstance(entry_point, str) and entry_point.startswith(_MUJOCO)
    if by_mujoco:
        if importlib.util.find_spec("mujoco") is None:
            raise EnvError(f"'{config.id}' needs mujoco, which is not installed. Install rlsys[control].")
        offscreen.choose()
    shows_pictures = config.observation != "state"
    if shows_pictures:
        render_mode = None if by_mujoco else "rgb_array"
    if config.kwargs and entry_point is not None:
        check_kwargs(config, load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point, _OURS)
    env = _registered(config, name, render_mode)
    env.reset(seed=seed)
    if config.action_repeat > 1:
        env = ActionRepeat(env, config.action_repeat)
    if shows_pictures:
        env = _pictures(config, env, by_mujoco=by_mujoco)
    if config.action_mask:
        env = Moves(env, config)
    return env, config.action_repeat


def _pictures(config: GymnasiumConfig, env: gymnasium.Env, *, by_mujoco: bool) -> Pictures:
    alone = config.observation == "pixels"
    if by_mujoco:
        offscreen.check(config.id, config.observation)
        return MujocoPictures(env, config.frame_size, alone=alone, drawing=config.drawing)
    if config.drawing != "full":
        raise EnvError(
            f"env.drawing = '{config.drawing}' with '{config.id}', which MuJoCo does not draw. Leave it out."
        )
    return Pictures(env, config.frame_size, alone=alone)


def _registered(config: GymnasiumConfig, name: str, render_mode: str | None) -> gymnasium.Env:
    try:
        return gymnasium.make(
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


def _make_simulator(config: GymnasiumConfig, seeds: Sequence[int]) -> Simulator | None:
    if config.kwargs or config.observation != "state" or config.action_repeat > 1 or config.action_mask:
        return None
    max_steps = _CARTPOLE_STEPS.get(config.id)
    return None if max_steps is None else CartPoles(config.id, seeds, config.max_episode_steps or max_steps)


CLASSIC = Family("environments of gymnasium", _knows, _ids, _make, GymnasiumConfig, _make_simulator, takes_kwargs=True)
