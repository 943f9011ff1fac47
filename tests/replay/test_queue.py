"""Unrolls and their queue, against rows kept in plain lists."""

import json

import numpy as np
import pytest

from rlsys.api import QueueSpec, ReplayNotReady, Unrolls
from rlsys.checkpoints.saved import decode, encode
from rlsys.errors import CheckpointError, ConfigError, ReplayError
from rlsys.replay.queue import UnrollQueue
from rlsys.replay.unrolls import UnrollWriter
from rlsys.types import ArraySpec, EnvSpec

SPEC = Unrolls(length=5, extras={"logits": ArraySpec((2,), "float32")}, state={"core": ArraySpec((3,), "float32")})


def make_env(num_stack: int = 1) -> EnvSpec:
    return EnvSpec("x", ArraySpec((2, 3), "uint8"), ArraySpec((), "int64"), num_actions=4, num_stack=num_stack)


class Simulation:
    """E environments whose episodes end at random, and the unrolls that they should give, row by row."""

    def __init__(self, env: EnvSpec, num_environments: int, seed: int, *, worker: int = 0, ends: float = 0.15) -> None:
        self.env, self.size, self.ends = env, num_environments, ends
        self.rng = np.random.default_rng(seed)
        self.writer = UnrollWriter(SPEC, env, worker, 0, num_environments)
        self.stack = np.stack([self.first_stack() for _ in range(num_environments)])
        self.rows: list[list[dict]] = [[] for _ in range(num_environments)]
        self.expected: list[list[dict]] = [[] for _ in range(num_environments)]

    def frame(self) -> np.ndarray:
        return self.rng.integers(0, 256, (2, 3), np.uint8)

    def first_stack(self) -> np.ndarray:
        return np.repeat(self.frame()[None], self.env.num_stack, axis=0)

    def observed(self, stack: np.ndarray) -> np.ndarray:
        return stack if self.env.num_stack > 1 else stack[:, 0]

    def step(self) -> list:
        rng, size = self.rng, self.size
        following = np.stack([np.concatenate([stack[1:], self.frame()[None]]) for stack in self.stack])
        terminated = rng.random(size) < self.ends
        truncated = ~terminated & (rng.random(size) < self.ends)
        step = {
            "action": rng.integers(0, 4, size),
            "reward": rng.random(size).astype(np.float32),
            "terminated": terminated,
            "truncated": truncated,
            "logits": rng.random((size, 2)).astype(np.float32),
            "core": rng.random((size, 3)).astype(np.float32),
        }
        blocks = self.writer.append_batch(
            observation=self.observed(self.stack),
            extras={"logits": step["logits"]},
            state={"core": step["core"], "other": np.zeros(size)},
            weights_version=7,
            next_observation=self.observed(following),
            **{name: step[name] for name in ("action", "reward", "terminated", "truncated")},
        )
        for e in range(size):
            self.add(e, {name: value[e] for name, value in step.items()} | {"stack": self.stack[e]}, following[e])
            if truncated[e] and len(self.rows[e]):
                nothing = {name: np.zeros_like(value[e]) for name, value in step.items()}
                self.add(e, nothing | {"stack": following[e]}, following[e])
        for e in np.flatnonzero(terminated | truncated):
            following[e] = self.first_stack()
        self.stack = following
        return blocks

    def add(self, e: int, row: dict, following: np.ndarray) -> None:
        following = following.copy()  # the episode may begin again in place
        self.rows[e].append(row | {"stack": row["stack"].copy()})
        if len(self.rows[e]) == SPEC.length:
            rows = self.rows[e]
            self.expected[e].append(
                {name: np.stack([row[name] for row in rows]) for name in rows[0]}
                | {"last": following, "core": rows[0]["core"]}
            )
            self.rows[e] = []


@pytest.mark.parametrize("num_stack", [1, 2, 4, 9])
def test_unrolls_hold_every_row_in_order_with_stacks_of_their_own_episode(num_stack: int) -> None:
    env = make_env(num_stack)
    simulation = Simulation(env, num_environments=3, seed=num_stack, worker=2)
    queue = UnrollQueue(QueueSpec(max_size=10_000, batch_size=4), env, SPEC)
    for _ in range(200):
        for block in simulation.step():
            assert queue.insert(block)
    assert queue.num_items == sum(map(len, simulation.expected)) > 100
    given = [0] * 3
    while queue.num_items >= 4:
        batch = queue.sample(4)
        for b in range(4):
            e = int(batch.environment[b]) - 2 * 3
            expected = simulation.expected[e][given[e]]
            assert batch.position[b] == given[e]
            given[e] += 1
            for name in ("action", "reward", "terminated", "truncated"):
                np.testing.assert_array_equal(getattr(batch, name)[b], expected[name])
            np.testing.assert_array_equal(batch.extras["logits"][b], expected["logits"])
            np.testing.assert_array_equal(batch.state["core"][b], expected["core"])
            stacks = np.concatenate([expected["stack"], expected["last"][None]])
            # What follows a terminated row, or a bootstrap row, at the very end is of no use to anybody.
            rows = slice(None) if not ended_before_last(expected) else slice(-1)
            np.testing.assert_array_equal(batch.observation[b][rows], (stacks if num_stack > 1 else stacks[:, 0])[rows])
            assert batch.weights_version[b] == 7


def ended_before_last(expected: dict) -> bool:
    return bool(expected["terminated"][-1] or expected["truncated"][-2])


def test_no_row_is_lost_or_repeated_when_every_episode_is_one_step_long() -> None:
    simulation = Simulation(make_env(), 2, seed=0, ends=1.0)
    blocks = [block for _ in range(40) for block in simulation.step()]
    assert all(block.terminated.all() for block in blocks)
    assert sum(block.num_items for block in blocks) * SPEC.length == 2 * 40


def test_a_block_comes_once_and_a_short_queue_gives_nothing() -> None:
    simulation = Simulation(make_env(), 3, seed=1, ends=0.0)
    queue = UnrollQueue(QueueSpec(max_size=3, batch_size=2), make_env(), SPEC)
    [block] = [block for _ in range(SPEC.length) for block in simulation.step()]
    assert not queue.waits_for_room(block)
    assert queue.insert(block)
    assert not queue.insert(block)
    assert queue.waits_for_room(block)
    queue.sample(2)
    assert not queue.waits_for_room(block)
    with pytest.raises(ReplayNotReady, match="1 of 2 unrolls in the queue"):
        queue.sample(2)
    assert queue.stats() == {"items": 1, "inserted_items": 3, "duplicate_segments": 1, "sampled_items": 2}


def test_queue_and_writer_go_on_exactly_from_what_they_saved() -> None:
    env = make_env(3)
    simulation, again = (Simulation(env, 3, seed=5) for _ in range(2))
    queue = UnrollQueue(QueueSpec(max_size=100, batch_size=2), env, SPEC)
    for _ in range(33):
        for block in simulation.step():
            queue.insert(block)
        again.step()
    queue.sample(2)
    arrays: dict = {}
    tree = json.loads(json.dumps(encode({"queue": queue.save(), "writer": simulation.writer.save()}, arrays)))
    saved = decode(tree, arrays)
    other = UnrollQueue(QueueSpec(max_size=100, batch_size=2), env, SPEC)
    other.load(saved["queue"])
    again.writer = UnrollWriter(SPEC, env, 0, 0, 3)
    again.writer.load(saved["writer"])
    for _ in range(20):
        for block in simulation.step():
            assert queue.insert(block)
        for block in again.step():
            assert other.insert(block)
    assert queue.num_items == other.num_items
    while queue.num_items >= 2:
        first, second = queue.sample(2), other.sample(2)
        np.testing.assert_array_equal(first.observation, second.observation)
        np.testing.assert_array_equal(first.position, second.position)
        np.testing.assert_array_equal(first.state["core"], second.state["core"])


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="max_size = 3 of the queue cannot hold a batch of 4 unrolls"):
        UnrollQueue(QueueSpec(max_size=3, batch_size=4), make_env(), SPEC)
    simulation = Simulation(make_env(), 1, seed=2, ends=0.0)
    [block] = [block for _ in range(SPEC.length) for block in simulation.step()]
    longer = Unrolls(length=6, extras=SPEC.extras, state=SPEC.state)
    queue = UnrollQueue(QueueSpec(max_size=3), make_env(), longer)
    with pytest.raises(ReplayError, match=r"observation of 1 unrolls has shape \(1, 6, 2, 3\); it must begin with"):
        queue.insert(block)
    with pytest.raises(CheckpointError, match="Resume with the saved experiment"):
        UnrollWriter(longer, make_env(), 0, 0, 1).load(simulation.writer.save())
