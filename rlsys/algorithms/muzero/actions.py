"""How an action is written: in the head of the policy, in the input of the dynamics, and for the environment.

Hubert et al. 2021, https://arxiv.org/abs/2104.06303: an action is a choice of one of N values for each of D factors,
and the policy a product of D categorical distributions.

    discrete    D = 1, N = A        the dynamics read it one-hot
    numbers     D numbers (Box)     N values at equal distances from bound to bound, which the dynamics read as -1 to 1

Shape legend: B batch, D factors, N values of a factor, A discrete actions.
"""

import math
from dataclasses import dataclass

import numpy as np

from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.api.spaces import action_kind
from rlsys.types import Array, EnvSpec


@dataclass(frozen=True)
class ActionCode:
    """The code of one environment's actions.

    Attributes:
      env: the environment.
      num_factors: D.
      num_values: N.
      is_numbers: whether actions are numbers.
    """

    env: EnvSpec
    num_factors: int
    num_values: int
    is_numbers: bool

    @property
    def policy_shape(self) -> tuple[int, ...]:
        """Of probabilities: `(A,)`, or `(D, N)` of numbers."""
        return (self.num_factors, self.num_values) if self.is_numbers else (self.num_values,)

    @property
    def input_size(self) -> int:
        """Numbers by which the dynamics read an action: A of a one-hot one, else D."""
        return self.num_factors if self.is_numbers else self.num_values

    @property
    def values(self) -> Array:
        """`[N]` float32, how the dynamics are told each value of a factor: actions are counted, numbers -1 to 1."""
        if not self.is_numbers:
            return np.arange(self.num_values, dtype=np.float32)
        return np.linspace(-1.0, 1.0, self.num_values, dtype=np.float32)

    def executed(self, choice_BD: Array) -> Array:
        """Returns `[B, *action]` for the environment; choices are int64."""
        if not self.is_numbers:
            return choice_BD[:, 0]
        low_D, high_D = np.array(self.env.action_low), np.array(self.env.action_high)
        number_BD = low_D + (high_D - low_D) * (choice_BD / (self.num_values - 1))
        dtype = np.dtype(self.env.action.dtype)
        number_BD = number_BD.clip(low_D, high_D) if dtype.kind == "f" else np.rint(number_BD)
        action: Array = number_BD.astype(dtype).reshape(len(choice_BD), *self.env.action.shape)
        return action

    def names(self, choice_BD: Array) -> list[str]:
        """Returns a word for each action: its name or number, or its numbers."""
        if not self.is_numbers:
            names = self.env.action_meanings or tuple(map(str, range(self.num_values)))
            return [names[action] for action in choice_BD[:, 0]]
        numbers = self.executed(choice_BD).reshape(choice_BD.shape)
        return [", ".join(f"{number:.3g}" for number in row) for row in numbers]

    def inputs(self, action: Array) -> Array:
        """Returns what the dynamics read for actions `[..., *action]`: int64 `[...]`, or float32 numbers `[..., D]`."""
        if not self.is_numbers:
            return action
        low_D, high_D = np.array(self.env.action_low), np.array(self.env.action_high)
        number = action.reshape(*action.shape[: action.ndim - len(self.env.action.shape)], self.num_factors)
        scaled: Array = (2.0 * (number - low_D) / (high_D - low_D) - 1.0).astype(np.float32)
        return scaled

    def random_inputs(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Returns those of uniformly random actions, of `inputs`' shape `[*shape]` or `[*shape, D]`."""
        if not self.is_numbers:
            return rng.integers(0, self.num_values, shape)
        return np.asarray(self.values[rng.integers(0, self.num_values, (*shape, self.num_factors))])


def action_code(config: MuZeroConfig, env: EnvSpec) -> ActionCode:
    """Returns the code of an environment's actions, discrete ones or numbers between finite bounds."""
    if action_kind(env) == "discrete":
        return ActionCode(env, 1, env.num_actions, is_numbers=False)
    return ActionCode(env, math.prod(env.action.shape), config.action_bins, is_numbers=True)
