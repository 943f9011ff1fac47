"""What sequences are worth, against a loop over single copies."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rlsys.api import WorldStep
from rlsys.planning.shooting.rollout import State, index_of, numbers_of, rollout_score
from rlsys.testing.dynamics import cart_pole
from rlsys.testing.worlds import ACTIONS, WIDTH, DotWorld, draw_dots


def counter(state: State, action: Tensor, generator: torch.Generator | None = None) -> tuple[State, WorldStep]:
    """Counts up by the action; ends above 5; the reward is the count times the environment's factor."""
    count = state["count"] + action[:, 0]
    return {"count": count, "factor": state["factor"]}, WorldStep(state["factor"] * count, count > 5.0)


@pytest.mark.parametrize("with_value", [True, False])
def test_rewards_are_summed_until_an_episode_ends(with_value: bool) -> None:
    candidates = torch.rand((3, 20, 6, 1), generator=torch.Generator().manual_seed(0)) * 3.0
    state = {"count": torch.tensor([0.0, 1.0, 4.9]), "factor": torch.tensor([1.0, -2.0, 10.0])}
    value = (lambda state: 100.0 * state["count"]) if with_value else None
    returns = rollout_score(counter, state, discount=0.9, value=value)(candidates)
    for env in range(3):
        for index in range(20):
            count, total, ended = float(state["count"][env]), 0.0, False
            for step in range(6):
                if not ended:
                    count += float(candidates[env, index, step, 0])
                    total += 0.9**step * float(state["factor"][env]) * count
                    ended = count > 5.0
            if with_value and not ended:
                total += 0.9**6 * 100.0 * count
            assert float(returns[env, index]) == pytest.approx(total, rel=1e-5)


def test_the_state_that_is_given_stays_and_is_read_at_each_call() -> None:
    state = {"cart": torch.zeros(2, 4)}
    candidates = torch.nn.functional.one_hot(torch.randint(2, (2, 5, 30)), 2).float()
    score = rollout_score(cart_pole, state, discount=1.0)
    before = score(candidates)
    assert not state["cart"].any()
    state["cart"].copy_(torch.tensor([[0.0, 0.0, 0.2, 2.0], [0.0, 0.0, 0.0, 0.0]]))
    after = score(candidates)
    assert torch.equal(after[1], before[1])
    assert (after[0] < 3.0).all()


def test_a_world_of_the_house_is_such_a_model() -> None:
    world = DotWorld(min_context=1)
    fields = draw_dots(np.array([[3, 3], [5, WIDTH - 3]]), np.array([200, 200]))
    state = world.begin(torch.from_numpy(fields)[:, None], torch.zeros((2, 0), dtype=torch.int64))
    index = torch.randint(len(ACTIONS), (2, 4, 7), generator=torch.Generator().manual_seed(0))
    candidates = torch.nn.functional.one_hot(index, len(ACTIONS)).float()
    returns = rollout_score(world.step, state, discount=0.9, action_of=index_of)(candidates)
    for env in range(2):
        for candidate in range(4):
            alone = {name: tensor[env : env + 1] for name, tensor in state.items()}
            total, weight = 0.0, 1.0
            for action in index[env, candidate]:
                alone, (reward, terminated) = world.step(alone, action[None])
                total += weight * float(reward)
                weight *= 0.9 * (1.0 - float(terminated))
            assert float(returns[env, candidate]) == pytest.approx(total, abs=1e-5)


def test_numbers_are_stretched_to_an_environments_bounds() -> None:
    stretch = numbers_of(torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 1.0]))
    assert stretch(torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 0.5]])).tolist() == [[-2, 0], [0, 0.5], [2, 0.75]]
