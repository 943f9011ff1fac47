"""Planners that know the truth play gymnasium's own games: a pendulum swings up, a pole stays."""

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from rlsys.planning.settings import PlannerConfig
from rlsys.planning.shooting.make import make_planner
from rlsys.planning.shooting.rollout import State, rollout_score
from rlsys.testing.dynamics import cart_pole, cart_pole_swing_up, pendulum


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "cem", "candidates": 120, "elites": 12, "iterations": 4},
        {"kind": "icem", "candidates": 30, "elites": 6, "iterations": 3},
        {"kind": "mppi", "candidates": 120, "elites": 30, "iterations": 3, "temperature": 1.0},
    ],
    ids=lambda settings: settings["kind"],
)
def test_the_pendulum_swings_up(settings: dict[str, Any]) -> None:
    config = PlannerConfig.model_validate({"horizon": 20, "discount": 1.0, "warm_start": True, **settings})
    planner, stream = make_planner(config, 1, discrete=False), torch.Generator().manual_seed(0)
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    env.state = np.array([math.pi, 0.0])
    belief, heights = planner.begin(1, "cpu"), []
    for _ in range(80):
        angle, speed = torch.tensor(env.state, dtype=torch.float32)[:, None]
        plan = planner.plan(rollout_score(pendulum, {"angle": angle, "speed": speed}, discount=1.0), belief, stream)
        belief = plan.belief
        env.step(2.0 * plan.action[0].numpy())
        heights.append(math.cos(env.state[0]))
    assert heights[0] < -0.9
    assert min(heights[-15:]) > 0.95, "it stands"


def upright(state: State) -> torch.Tensor:
    """A value of where a plan ends."""
    _, _, angle, turn = state["cart"].unbind(dim=1)
    return 10.0 - 100.0 * angle.square() - 3.0 * turn.square()


@pytest.mark.parametrize("kind", ["cem", "icem", "mppi"])
@pytest.mark.parametrize("select", ["best", "belief"])
def test_the_pole_stays_by_choosing_between_two_actions(kind: str, select: str) -> None:
    settings = {"candidates": 48, "elites": 8, "iterations": 3, "horizon": 12, "temperature": 0.5}
    config = PlannerConfig.model_validate({"kind": kind, "discrete_select": select, "warm_start": True, **settings})
    planner, stream = make_planner(config, 2, discrete=True), torch.Generator().manual_seed(0)
    env = gymnasium.make("CartPole-v1").unwrapped
    env.reset(seed=0)
    env.state = np.array([0.0, 0.4, 0.1, 0.6])  # at random it falls within 20 steps
    belief = planner.begin(1, "cpu")
    for _ in range(40):
        state = {"cart": torch.tensor(np.array(env.state), dtype=torch.float32)[None]}
        plan = planner.plan(rollout_score(cart_pole, state, discount=0.99, value=upright), belief, stream)
        belief = plan.belief
        terminated = env.step(int(plan.action.argmax()))[2]
        assert not terminated


@pytest.mark.parametrize("kind", ["cem", "icem"])
def test_a_pole_in_the_middle_is_kept_there_by_five_pushes(kind: str) -> None:
    """What elites agreed on in one plan, to do nothing, must not be all that the next one tries."""
    pushes = torch.tensor([-1.0, -0.25, 0.0, 0.25, 1.0])
    settings = {"kind": kind, "candidates": 128, "elites": 16, "iterations": 4, "horizon": 12, "discount": 1.0}
    planner = make_planner(PlannerConfig.model_validate({"warm_start": True, **settings}), 5, discrete=True)
    state, stream = {"cart": torch.tensor([[0.05, 0.0, 0.02, 0.0]])}, torch.Generator().manual_seed(0)
    belief, rewards = planner.begin(1, "cpu"), []
    for _ in range(50):
        score = rollout_score(
            cart_pole_swing_up, state, discount=1.0, action_of=lambda action: (action @ pushes)[:, None]
        )
        plan = planner.plan(score, belief, stream)
        state, step = cart_pole_swing_up(state, (plan.action @ pushes)[:, None], None)
        belief = plan.belief
        rewards.append(step.reward.item())
    assert min(rewards[-25:]) > 0.85, "an untouched pole has fallen by then"
