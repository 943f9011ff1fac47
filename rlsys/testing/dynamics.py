"""gymnasium's pendulum and cart-pole as functions of tensors, for planners that shall know the truth."""

import math

import torch
from torch import Tensor

from rlsys.api import WorldStep
from rlsys.planning.shooting.rollout import State


def pendulum(state: State, action: Tensor, generator: torch.Generator | None = None) -> tuple[State, WorldStep]:
    """Pendulum-v1; the action `[B, 1]` within [-1, 1] is half of the torque."""
    angle, speed = state["angle"], state["speed"]
    torque = 2.0 * action[:, 0]
    wrapped = torch.remainder(angle + math.pi, 2.0 * math.pi) - math.pi
    cost = wrapped.square() + 0.1 * speed.square() + 0.001 * torque.square()
    speed = (speed + (15.0 * angle.sin() + 3.0 * torque) * 0.05).clamp(-8.0, 8.0)
    return {"angle": angle + speed * 0.05, "speed": speed}, WorldStep(-cost, torch.zeros_like(cost, dtype=torch.bool))


def cart_pole(state: State, action: Tensor, generator: torch.Generator | None = None) -> tuple[State, WorldStep]:
    """CartPole-v1; the action `[B, 2]` is one-hot."""
    position, speed, angle, turn = state["cart"].unbind(dim=1)
    force = 10.0 * (2.0 * action[:, 1] - 1.0)
    sine, cosine = angle.sin(), angle.cos()
    pushed = (force + 0.05 * turn.square() * sine) / 1.1
    turned = (9.8 * sine - cosine * pushed) / (0.5 * (4.0 / 3.0 - 0.1 * cosine.square() / 1.1))
    moved = pushed - 0.05 * turned * cosine / 1.1
    numbers = (position + 0.02 * speed, speed + 0.02 * moved, angle + 0.02 * turn, turn + 0.02 * turned)
    ended = (numbers[0].abs() > 2.4) | (numbers[2].abs() > 12.0 * math.pi / 180.0)
    return {"cart": torch.stack(numbers, dim=1)}, WorldStep(torch.ones_like(position), ended)


def cart_pole_swing_up(
    state: State, action: Tensor, generator: torch.Generator | None = None
) -> tuple[State, WorldStep]:
    """The same cart on a rail, pushed by a number `[B, 1]` for 0.08 s, and rewarded as the Control Suite has it.

    Tassa et al. 2018, https://arxiv.org/abs/1801.00690: at most 1 a step, for a pole that stands still in the middle.
    """
    position, speed, angle, turn = state["cart"].unbind(dim=1)
    force = 10.0 * action[:, 0]
    for _ in range(4):
        sine, cosine = angle.sin(), angle.cos()
        pushed = (force + 0.05 * turn.square() * sine) / 1.1
        turned = (9.8 * sine - cosine * pushed) / (0.5 * (4.0 / 3.0 - 0.1 * cosine.square() / 1.1))
        moved = pushed - 0.05 * turned * cosine / 1.1
        speed, turn = speed + 0.02 * moved, turn + 0.02 * turned
        angle = angle + 0.02 * turn
        speed = torch.where((position + 0.02 * speed).abs() > 1.8, 0.0, speed)  # there the rail ends
        position = position + 0.02 * speed
    centred = (1.0 + _tolerance(position, 2.0)) / 2.0
    gentle = (4.0 + (1.0 - action[:, 0].square()).clamp(min=0.0)) / 5.0
    slow = (1.0 + _tolerance(turn, 5.0)) / 2.0
    reward = (1.0 + angle.cos()) / 2.0 * centred * gentle * slow
    never = torch.zeros_like(reward, dtype=torch.bool)
    return {"cart": torch.stack([position, speed, angle, turn], dim=1)}, WorldStep(reward, never)


def _tolerance(number: Tensor, margin: float) -> Tensor:
    """Returns 1 at 0, falling as a bell curve to 0.1 at the margin."""
    return torch.exp(-math.log(10.0) * (number / margin).square())
