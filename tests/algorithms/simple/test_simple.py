"""SimPLe's loop: what it does when, how it goes on after an interruption, and what cannot work."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rlsys.algorithms.simple import ALGORITHM, SimpleConfig
from rlsys.algorithms.simple.learner import SimpleLearner
from rlsys.algorithms.simple.schedule import schedule
from rlsys.api import LearnerContext, PolicyContext, WorldContext
from rlsys.config import EnvConfig
from rlsys.config.location import Location
from rlsys.envs.make import env_spec
from rlsys.errors import CheckpointError, ConfigError
from rlsys.types import Array, ArraySpec, Batch, Weights

CATCH = env_spec(EnvConfig(id="catch", stack_states=4, clip_rewards=True))
SMALL = SimpleConfig(**{**ALGORITHM.debug, "epochs": 2, "num_real_env_frames": 128})
BATCH_SIZE = 2


class Collected:
    """Replay that makes up a turn whenever it is asked, each of other games."""

    def __init__(self, config: SimpleConfig = SMALL) -> None:
        self.turns = 0
        self._config = config

    def sample(self, batch_size: int, length: int, rows: Any = None) -> Batch:
        assert (batch_size, length) == (BATCH_SIZE, self._config.real_unroll_length + 1)
        rng = np.random.default_rng(self.turns)
        shape = (batch_size, length - 1)
        self.turns += 1
        return Batch(
            observation=rng.integers(0, 256, (batch_size, length, *CATCH.policy_observation.shape), dtype=np.uint8),
            action=rng.integers(0, 3, shape),
            reward=rng.integers(-1, 2, shape).astype(np.float32),
            terminated=np.zeros(shape, bool),
            truncated=np.zeros(shape, bool),
            extras={name: np.full(shape, -1.0, np.float32) for name in ("log_probability", "value")},
            num_rows=np.full(batch_size, length - 1),
            key=np.zeros(batch_size, np.int64),
            probability=np.ones(batch_size),
            num_items=batch_size,
            weights_version=np.zeros(batch_size, np.int64),
            environment=np.zeros(batch_size, np.int64),
            position=np.arange(batch_size) + batch_size * self.turns,
        )

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        raise AssertionError("a queue has no priorities")


def make_learner(config: SimpleConfig = SMALL, **context: Any) -> SimpleLearner:
    return SimpleLearner(LearnerContext(config, CATCH, seed=0, batch_size=BATCH_SIZE, **context))


def run_to_the_end(learner: SimpleLearner, replay: Collected) -> list[dict[str, float]]:
    metrics = []
    while learner.steps_left():
        metrics.append(dict(learner.step(replay)))
        assert len(metrics) < 100
    return metrics


def test_the_loop_is_as_long_as_upstreams() -> None:
    phases = schedule(SimpleConfig(), rows_per_turn=3_200)
    rows = [3_200 * phase.units for phase in phases if phase.kind == "collect"]
    assert rows == [6_400] * 16
    model = [phase.units for phase in phases if phase.kind == "model"]
    assert model == [45_000 if epoch in (0, 1, 4, 9, 14) else 15_000 for epoch in range(15)]
    policy = [phase.units for phase in phases if phase.kind == "policy"]
    assert policy == [1_000, 2_000, *[1_000] * 5, 2_000, *[1_000] * 3, 2_000, *[1_000] * 2, 3_000]
    paper = schedule(SimpleConfig(version="v1_13"), rows_per_turn=3_200)
    totals = {kind: sum(phase.units for phase in paper if phase.kind == kind) for kind in ("model", "policy")}
    assert totals == {"model": 255_000, "policy": 19_000}


def test_the_loop_leaves_out_what_has_no_steps() -> None:
    only_data = SimpleConfig(epochs=1, ppo_epochs_num=0, eval_world_model=False, stop_loop_early=True)
    assert [(phase.kind, phase.units) for phase in schedule(only_data, 3_200)] == [("collect", 30), ("model", 45_000)]


def test_a_run_goes_through_all_phases_and_asks_for_data_when_it_needs_it() -> None:
    learner, replay = make_learner(), Collected()
    seen = []
    while learner.steps_left():
        turns, before = learner.turns(), replay.turns
        metrics = learner.step(replay)
        collected = replay.turns > before
        assert not collected or turns == replay.turns, "it asks for a turn before it waits for one"
        seen.append("collect" if collected else next(iter(metrics)).partition("/")[0])
    multiplier = SMALL.initial_epoch_train_steps_multiplier
    turns, model, policy = ["collect"] * 2, ["world"] * 2, ["loss"] * 2
    first = [*turns, *model * multiplier, *policy, *turns, "world"]
    assert seen == [*first, *model * multiplier, *policy * 3, *turns, "world"]
    assert learner.steps_left() == 0
    assert learner.turns() == replay.turns == 6


@pytest.mark.parametrize("steps", [1, 3, 9, 11, 13, 15, 20])
def test_a_run_goes_on_within_any_phase(steps: int) -> None:
    learner, replay = make_learner(), Collected()
    for _ in range(steps):
        learner.step(replay)
    resumed, again = make_learner(is_resumed=True), copy.deepcopy(replay)
    saved = copy.deepcopy(learner.save())
    ours = run_to_the_end(learner, replay)
    resumed.load(saved)
    theirs = run_to_the_end(resumed, again)
    assert ours == theirs
    assert all(np.array_equal(resumed.weights()[name], array) for name, array in learner.weights().items())


def test_random_starts_are_of_the_newest_epoch_and_the_first_is_its_beginning() -> None:
    learner, replay = make_learner(), Collected()
    batches = [replay.sample(BATCH_SIZE, SMALL.real_unroll_length + 1) for _ in range(2)]
    for batch in batches:
        learner._archive.add(batch)
        learner._archive.close_epoch()
    starts = learner._starts(5).numpy()[:, :, 0]
    assert starts.shape == (5, 4, 20, 16)
    first = batches[1].observation[0, :4, -1]
    assert np.array_equal(starts[0], first)
    newest = {frame.tobytes() for frame in batches[1].observation[:, :, -1].reshape(-1, 20, 16)}
    assert all(frame.tobytes() in newest for frame in starts.reshape(-1, 20, 16))
    fixed = make_learner(SMALL.model_copy(update={"simulation_random_starts": False}))
    fixed._archive.load(learner._archive.save())
    assert (fixed._starts(3).numpy()[:, :, 0] == first).all()


def test_the_world_is_what_the_learner_has_learned() -> None:
    learner, replay = make_learner(), Collected()
    for _ in range(4):
        learner.step(replay)
    world = ALGORITHM.make_world(WorldContext(SMALL, CATCH, learner.save()["world"], seed=3, num_environments=2))
    rng = np.random.default_rng(0)
    history = rng.integers(0, 256, (2, world.num_context, 20, 16), dtype=np.uint8)
    assert np.array_equal(world.begin(history, np.zeros((2, 3), np.int64)), history[:, -1])
    torch.manual_seed(7)
    learner._simulation.begin(torch.from_numpy(history)[:, :, None])
    expected, reward = learner._simulation.step(torch.tensor([1, 2]))
    torch.manual_seed(7)
    frame, rewards, ended = world.step(np.array([1, 2]))
    assert np.array_equal(frame, expected.numpy()[:, 0])
    assert np.array_equal(rewards, reward.numpy())
    assert not ended.any()


def test_a_world_model_for_another_size_is_refused() -> None:
    saved = make_learner().save()["world"]
    other = replace(CATCH, id="other", observation=ArraySpec((3, 20, 16), "uint8"))
    with pytest.raises(CheckpointError, match=r"made for another game, frame size or model than 'other'"):
        ALGORITHM.make_world(WorldContext(SMALL, other, saved, seed=0))


@pytest.mark.parametrize("saved", [None, {}, {"parameters": None}, {"parameters": {"pixels.weight": 1.0}}])
def test_what_is_no_world_model_is_refused(saved: Any) -> None:
    with pytest.raises(CheckpointError, match=r"is missing, here it has to be"):
        ALGORITHM.make_world(WorldContext(SMALL, CATCH, saved, seed=0))
    with pytest.raises(CheckpointError, match=r"is missing, here it has to be"):
        make_learner()._world.load_world(saved)


def test_a_pretrained_world_model_is_used_from_the_beginning() -> None:
    trained = make_learner(SMALL.model_copy(update={"model_train_steps": 1}))
    trained._world.model.network.pixels.weight.data.fill_(0.25)
    saved = trained.save()["world"]
    config = SMALL.model_copy(update={"model_train_steps": 0, "load_world_from": Location("elsewhere")})
    learner = make_learner(config, read_world={"elsewhere": saved}.__getitem__)
    run_to_the_end(learner, Collected())
    assert (learner._world.model.network.pixels.weight == 0.25).all()


def test_a_policy_can_learn_inside_the_model_only() -> None:
    learner, replay = make_learner(SMALL.model_copy(update={"learn_from_real": False})), Collected()
    before = learner.weights()
    learner.step(replay)
    assert all(np.array_equal(before[name], array) for name, array in learner.weights().items())
    run_to_the_end(learner, replay)
    assert any(not np.array_equal(before[name], array) for name, array in learner.weights().items())


def test_acting_is_ppos_at_the_temperature_of_evaluations() -> None:
    config = SMALL.model_copy(update={"eval_temperature": 0.0})
    policy = ALGORITHM.make_policy(PolicyContext(config, CATCH, seed=0))
    policy.set_weights(Weights(0, 0, make_learner().weights()))
    observation = np.random.default_rng(0).integers(0, 256, (6, 4, 20, 16), dtype=np.uint8)
    assert np.array_equal(
        policy.act(observation, {}, explore=False).action, policy.act(observation, {}, explore=False).action
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ppo": {"epoch_length": 20}},
            r"simple.ppo.epoch_length = 20 has no effect .*; simple.real_unroll_length and",
        ),
        ({"real_unroll_length": 2}, r"simple.real_unroll_length gives 6 in optimization_epochs = 3. Lower it"),
        ({"wm_eval_rollout_ratios": (0.5, 0.0)}, r"wm_eval_rollout_ratios has 0.0; shares of a rollout"),
        ({"model_train_steps": 0}, "model_train_steps = 0 without simple.load_world_from; the policy would learn in a"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ALGORITHM.check(SimpleConfig(**changes), CATCH, 4, 1)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (EnvConfig(id="CartPole-v1"), "simple predicts pictures of bytes, at least 16×16"),
        (EnvConfig(id="catch", stack_states=2), "env.stack_states = 2; simple's model begins from 4 frames"),
        (EnvConfig(id="catch", stack_states=4), "env.clip_rewards = false; simple foretells rewards of -1, 0 and 1"),
    ],
)
def test_what_cannot_be_foretold_is_refused(env: EnvConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ALGORITHM.check(SMALL, env_spec(env), 4, 1)


def test_ranks_share_batches_evenly() -> None:
    with pytest.raises(ConfigError, match=r"simple.simulated_batch_size = 2 is not divisible by runtime.learners = 4"):
        ALGORITHM.check(SMALL, CATCH, 4, 4)
