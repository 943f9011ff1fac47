"""What sequences are worth in a model that is given as a function of its state: the sum of rewards along the way.

Shape legend: B environments, N candidates, H steps, A numbers of an action.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from rlsys.api import WorldStep
from rlsys.planning.shooting.plan import Score

State = Mapping[str, Tensor]
"""Where copies of a model are: name -> `[B, ...]`."""
Value = Callable[[State], Tensor]
"""What is expected from a state on, `[B]`."""


class Step(Protocol):
    """One step of a model, such as `World.step`: the state that is given stays as it is."""

    def __call__(self, state: State, action: Tensor, generator: torch.Generator | None, /) -> tuple[State, WorldStep]:
        """Returns where an action leads, and what came of it."""


def rollout_score(
    step: Step,
    state: State,
    *,
    discount: float,
    value: Value | None = None,
    action_of: Callable[[Tensor], Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> Score:
    """Returns what sequences are worth from a state on.

        Σ_h discount^h reward_h + discount^H value_H

    where nothing counts that comes after the end of an episode. All candidates of an environment stand side by side in
    the batch that the model steps: rows 0 to N - 1 are those of the first.

    Args:
      step: the model.
      state: of B environments; it is read at each call, so that who overwrites its tensors moves the beginning.
      discount: per step.
      value: what is expected from the last state on; None for nothing.
      action_of: from actions as planners have them, `[..., A]`, to those of the model; None where they are the same.
      generator: what the model draws from.
    """

    def score(candidates: Tensor) -> Tensor:
        size, count, horizon, width = candidates.shape
        copies: State = {name: tensor.repeat_interleave(count, dim=0) for name, tensor in state.items()}
        by_step = candidates.reshape(size * count, horizon, width).unbind(dim=1)
        total = torch.zeros(size * count, device=candidates.device)
        weight = torch.ones_like(total)
        for action in by_step:
            copies, (reward, terminated) = step(copies, action_of(action) if action_of else action, generator)
            total.addcmul_(weight, reward)
            weight = torch.where(terminated, 0.0, discount * weight)
        if value is not None:
            total.addcmul_(weight, value(copies))
        return total.view(size, count)

    return score


def index_of(one_hot: Tensor) -> Tensor:
    """Returns the actions of one-hot ones, `[...]` int64, as environments with discrete actions take them."""
    return one_hot.argmax(dim=-1)


def numbers_of(low: Tensor, high: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns the function from numbers within [-1, 1] to those within an environment's bounds, `[A]` each."""
    middle, half = (high + low) / 2.0, (high - low) / 2.0
    return lambda action: torch.addcmul(middle, half, action)
