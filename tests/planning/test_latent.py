"""Tree search in a model of named tensors: small games whose best play is known, and gymnasium's cart-pole."""

import itertools
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from rlsys.api import WorldStep
from rlsys.planning.latent import LatentModel, TreeSearch, rollout_value
from rlsys.planning.settings import PlannerConfig
from rlsys.planning.shooting.rollout import State, index_of, rollout_score
from rlsys.testing.dynamics import cart_pole
from rlsys.testing.worlds import ACTIONS, WIDTH, DotWorld, draw_dots

NUM_ACTIONS, NUM_CELLS = 3, 31


class Maze:
    """Numbered cells with random successors and rewards; a few of them are ends."""

    def __init__(self, seed: int) -> None:
        stream = torch.Generator().manual_seed(seed)
        self.successor = torch.randint(NUM_CELLS, (NUM_CELLS, NUM_ACTIONS), generator=stream)
        self.reward = torch.rand((NUM_CELLS, NUM_ACTIONS), generator=stream)
        self.ends = torch.rand(NUM_CELLS, generator=stream) < 0.15

    def step(self, state: State, action: Tensor, generator: torch.Generator | None = None) -> tuple[State, WorldStep]:
        cell, index = state["cell"], action.argmax(dim=1)
        following = self.successor[cell, index]
        after = {"cell": following, "path": torch.roll(state["path"], 1, dims=1)}
        return after, WorldStep(self.reward[cell, index], self.ends[following])

    @staticmethod
    def state(cells: list[int]) -> State:
        path = torch.arange(2.0 * len(cells)).reshape(len(cells), 1, 2)
        return {"cell": torch.tensor(cells), "path": path}


def search(**settings: Any) -> TreeSearch:
    return TreeSearch(PlannerConfig.model_validate({"kind": "tree", "discount": 0.9, **settings}))


@pytest.mark.parametrize("rule", ["gumbel", "puct"])
def test_search_finds_the_best_sequence(rule: str) -> None:
    depth = 3
    for seed in range(3):
        maze = Maze(seed)
        state = maze.state([0, 5, 9, 17])
        every = torch.eye(NUM_ACTIONS)[torch.tensor(list(itertools.product(range(NUM_ACTIONS), repeat=depth)))]
        returns = rollout_score(maze.step, state, discount=0.9)(every.expand(4, -1, -1, -1))
        model = LatentModel(_until(maze, depth), {**state, "left": torch.full((4,), depth)}, NUM_ACTIONS)
        plan = search(search=rule, simulations=150).plan(model)
        by_first = returns.reshape(4, NUM_ACTIONS, -1).amax(dim=2)
        found = (by_first * plan.action).sum(dim=1)
        assert (found > by_first.amax(dim=1) - 0.1).all(), (seed, found, by_first)
        assert plan.belief == {}
        assert plan.first_returns.shape == (4, NUM_ACTIONS)


def _until(maze: Maze, depth: int):
    """The maze's step with episodes of so many steps, so that the tree is finite."""

    def step(state: State, action: Tensor, generator: torch.Generator | None = None) -> tuple[State, WorldStep]:
        after, (reward, terminated) = maze.step(state, action)
        left = state["left"] - 1
        return {**after, "left": left}, WorldStep(reward, terminated | (left == 0))

    return step


def test_embeddings_are_states_and_whether_the_episode_goes_on() -> None:
    maze = Maze(0)
    state = maze.state([1, 2, 3, 4, 5])
    model = LatentModel(maze.step, state, NUM_ACTIONS, value=lambda state: 10.0 + state["cell"])
    root = model.root()
    assert root.value.tolist() == [11.0, 12.0, 13.0, 14.0, 15.0]
    assert root.prior_logits.shape == (5, NUM_ACTIONS) and not root.prior_logits.any()
    embedding = root.embedding
    cells, over = [1, 2, 3, 4, 5], [False] * 5
    for step in range(5):
        action = torch.tensor([(step + env) % NUM_ACTIONS for env in range(5)])
        value, reward, _, embedding = model.recurrent(embedding, action)
        assert embedding.dtype == torch.float32
        for env in range(5):
            wanted = 0.0 if over[env] else float(maze.reward[cells[env], action[env]])
            assert float(reward[env]) == pytest.approx(wanted)
            cells[env] = int(maze.successor[cells[env], action[env]])
            over[env] = over[env] or bool(maze.ends[cells[env]])
            assert float(value[env]) == (0.0 if over[env] else 10.0 + cells[env])
    assert any(over) and not all(over)


def test_a_learned_prior_and_value_lead_the_search() -> None:
    def step(state: State, action: Tensor, generator: torch.Generator | None = None) -> tuple[State, WorldStep]:
        first = torch.where(state["first"] < 0, action.argmax(dim=1), state["first"])
        return {"first": first}, WorldStep(torch.zeros(len(first)), torch.zeros(len(first), dtype=torch.bool))

    model = LatentModel(
        step,
        {"first": torch.tensor([-1])},
        NUM_ACTIONS,
        value=lambda state: 10.0 * (state["first"] == 2),
        prior=lambda state: torch.tensor([[-9.0, 1.0, 0.0]]).expand(len(state["first"]), -1),
    )
    plan = search(search="puct", simulations=40).plan(model)
    assert plan.action.tolist() == [[0.0, 0.0, 1.0]]
    assert float(plan.value) > 4.0
    assert plan.last_returns[0, 0].isnan(), "the prior rules the first action out"


@pytest.mark.parametrize("rule", ["gumbel", "puct"])
def test_the_pole_stays_by_search_with_random_play_for_a_value(rule: str) -> None:
    stream = torch.Generator().manual_seed(0)
    value = rollout_value(cart_pole, 2, horizon=10, discount=0.99, rollouts=2, generator=stream)
    planner = search(search=rule, simulations=12, discount=0.99)
    env: Any = gymnasium.make("CartPole-v1").unwrapped
    env.reset(seed=0)
    env.state = np.array([0.0, 0.4, 0.1, 0.6])
    for _ in range(25):
        state = {"cart": torch.tensor(np.array(env.state), dtype=torch.float32)[None]}
        plan = planner.plan(LatentModel(cart_pole, state, 2, value=value))
        terminated = env.step(int(plan.action.argmax()))[2]
        assert not terminated


def test_random_play_values_a_state_by_its_mean_return() -> None:
    maze = Maze(2)
    value = rollout_value(
        maze.step, NUM_ACTIONS, horizon=2, discount=0.5, rollouts=4_000, generator=torch.Generator().manual_seed(0)
    )
    state = maze.state([3])
    every = torch.eye(NUM_ACTIONS)[torch.tensor(list(itertools.product(range(NUM_ACTIONS), repeat=2)))]
    exact = rollout_score(maze.step, state, discount=0.5)(every[None]).mean()
    assert float(value(state)) == pytest.approx(float(exact), abs=0.02)


def test_a_world_of_the_house_can_be_searched() -> None:
    world = DotWorld(min_context=1)
    fields = draw_dots(np.array([[3, 3], [5, WIDTH - 2]]), np.array([200, 200]))
    state = world.begin(torch.from_numpy(fields)[:, None], torch.zeros((2, 0), dtype=torch.int64))
    model = LatentModel(world.step, state, len(ACTIONS), action_of=index_of)
    plan = search(simulations=60).plan(model)
    assert all("RIGHT" in ACTIONS[index] for index in plan.action.argmax(dim=1).tolist())
