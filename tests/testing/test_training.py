"""A training in one process does with an algorithm what the runtime does, in its order."""

from dataclasses import replace

import numpy as np

from rlsys.testing.algorithm import CHECKING, CheckingConfig
from rlsys.testing.training import Training
from rlsys.testing.unrolls import CHECKING_UNROLLS


def test_a_learner_waits_for_as_much_as_the_table_says() -> None:
    training = Training(CHECKING, CheckingConfig(stored_before_train=300))
    training.publish()
    training.update()
    rank = training.ranks[0]
    assert 300 <= rank.replay.store.inserted_items <= 300 + 3 * 25
    assert [len(batch.reward) for batch in rank.replay.batches] == [16]
    training.update()
    assert [len(batch.reward) for batch in rank.replay.batches] == [16], "of the last update alone"
    assert rank.learner_step == 2


def test_acting_follows_the_weights_of_every_update() -> None:
    training = Training(CHECKING)
    training.publish()
    for step in range(3):
        assert training.ranks[0].policy.weights()["steps"].tolist() == [step]
        training.update()


def test_nobody_collects_while_a_learner_asks_for_nothing() -> None:
    section = CheckingConfig(on_policy=2, length=7, rest_steps=4, batches=3)
    training = Training(CHECKING_UNROLLS, section)
    training.publish()
    decisions = []
    while training.ranks[0].learner.steps_left():
        training.update()
        decisions.append(training.ranks[0].decisions)
    assert np.flatnonzero(np.diff([0, *decisions])).tolist() == [0, 5, 10]


def test_ranks_have_environments_of_their_own() -> None:
    algorithm = replace(CHECKING, environments="batch_size")
    training = Training(algorithm, num_ranks=2)
    assert [rank.env.num_environments for rank in training.ranks] == [8, 8]
    assert [rank.policy_context.first_environment for rank in training.ranks] == [0, 8]
    seeds = [set(rank.env.observation[:, 0].tolist()) for rank in training.ranks]
    assert not seeds[0] & seeds[1]


def test_the_same_training_comes_to_the_same() -> None:
    def train() -> list[tuple[int, int, dict[str, float]]]:
        training = Training(CHECKING, num_ranks=2)
        training.publish()
        metrics = training.update()
        return [
            (rank.decisions, rank.actions, dict(values)) for rank, values in zip(training.ranks, metrics, strict=True)
        ]

    assert train() == train()
