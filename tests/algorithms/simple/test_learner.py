"""SimPLe's learner: what it does when, what it begins from, and how it goes on after an interruption."""

import copy

import numpy as np
import pytest
from algorithms.simple.small_learners import SMALL, Collected, make_learner, run_to_the_end

from rlsys.algorithms.simple.learner import SimpleLearner
from rlsys.algorithms.simple.phases import unrolls_of_turn
from rlsys.config.location import Location
from rlsys.types import Batch


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
    resumed, again = make_learner(is_resumed=True), replay.copy()
    saved = copy.deepcopy(learner.save())
    ours = run_to_the_end(learner, replay)
    resumed.load(saved)
    theirs = run_to_the_end(resumed, again)
    assert ours == theirs
    assert all(np.array_equal(resumed.weights()[name], array) for name, array in learner.weights().items())


def test_random_starts_are_of_the_newest_epoch_and_the_first_is_a_beginning() -> None:
    learner, replay = make_learner(), Collected()
    batches = [learner_collects(learner, replay) for _ in range(2)]
    starts, actions = (part.numpy() for part in learner._starts(replay))
    size = SMALL.simulated_batch_size
    assert starts.shape == (size, 4, 20, 16) and actions.shape == (size, 3)
    unrolls, _ = unrolls_of_turn(SMALL)
    frames = batches[1].observation[:, :, -1]
    beginnings = [(frames[index, :4], batches[1].action[index, :3]) for index in range(0, len(frames), unrolls)]
    assert any(np.array_equal(starts[0], seen) and np.array_equal(actions[0], done) for seen, done in beginnings)
    newest = {frame.tobytes() for frame in frames.reshape(-1, 20, 16)}
    assert all(frame.tobytes() in newest for frame in starts.reshape(-1, 20, 16))
    fixed = make_learner(SMALL.model_copy(update={"simulation_random_starts": False}))
    fixed._epochs = learner._epochs
    all_begin = fixed._starts(replay)[0].numpy()
    assert all(any(np.array_equal(start, seen) for seen, _ in beginnings) for start in all_begin)


def learner_collects(learner: SimpleLearner, replay: Collected) -> Batch:
    """Collects an epoch of one turn."""
    batch = replay.collected(*unrolls_of_turn(SMALL))
    learner._epochs.append(batch.turn)
    return batch


def test_a_pretrained_world_model_is_used_from_the_beginning() -> None:
    trained = make_learner(SMALL.model_copy(update={"model_train_steps": 1}))
    trained._world_updates.model.network.pixels.weight.data.fill_(0.25)
    saved = trained.save()["world"]
    config = SMALL.model_copy(update={"model_train_steps": 0, "load_world_from": Location("elsewhere")})
    learner = make_learner(config, read_world={"elsewhere": saved}.__getitem__)
    run_to_the_end(learner, Collected())
    assert (learner._world_updates.model.network.pixels.weight == 0.25).all()


def test_a_policy_can_learn_inside_the_model_only() -> None:
    learner, replay = make_learner(SMALL.model_copy(update={"learn_from_real": False})), Collected()
    before = learner.weights()
    learner.step(replay)
    assert all(np.array_equal(before[name], array) for name, array in learner.weights().items())
    run_to_the_end(learner, replay)
    assert any(not np.array_equal(before[name], array) for name, array in learner.weights().items())
