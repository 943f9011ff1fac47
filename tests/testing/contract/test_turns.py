"""Turns of every kind, on tables and on queues, keep the contract whatever an algorithm does with them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.refusals import refused

from rlsys import registry
from rlsys.api import Algorithm, Replay, Turns
from rlsys.config import EnvConfig
from rlsys.testing.algorithm import CHECKING
from rlsys.testing.contract import check_algorithm
from rlsys.testing.training import Training
from rlsys.testing.unrolls import CHECKING_UNROLLS, UnrollCheckingLearner

TABLE = [Turns(rows=48), Turns(rows=6), Turns(episodes=1), Turns(episodes=2)]
"""The table wants 200 items before the first update: many turns of any of these."""
QUEUE = [Turns(unrolls=1), Turns(unrolls=2), Turns(rows=48), Turns(rows=6)]
UNROLLS = {"on_policy": 1, "length": 7}


def in_turns(algorithm: Algorithm, turns: Turns) -> Algorithm:
    return replace(algorithm, turns=lambda config, env: turns)


def named(value: Any) -> str:
    return str(value) if isinstance(value, Turns) else getattr(value, "name", "")


@pytest.mark.parametrize(
    ("algorithm", "section", "turns"),
    [(CHECKING, {}, turns) for turns in TABLE] + [(CHECKING_UNROLLS, UNROLLS, turns) for turns in QUEUE],
    ids=named,
)
def test_turns_of_every_kind_keep_the_contract(algorithm: Algorithm, section: Mapping[str, Any], turns: Turns) -> None:
    check_algorithm(in_turns(algorithm, turns), algorithm.config_type(**section))


@pytest.mark.parametrize(
    ("name", "turns"), [("muzero", Turns(rows=60)), ("muzero", Turns(episodes=1)), ("ppo", Turns(rows=60))], ids=named
)
def test_algorithms_learn_in_turns_that_suit_their_cut(name: str, turns: Turns) -> None:
    for num_ranks in (1, 2):
        training = Training(in_turns(registry.get(name), turns), num_ranks=num_ranks)
        training.publish()
        for _ in range(3):
            training.update()
        training.close()


@pytest.mark.parametrize(
    ("turns", "decisions"),
    [(Turns(rows=48), 16), (Turns(rows=50), 17), (Turns(rows=1), 1), (Turns(episodes=1), 4), (Turns(episodes=3), 12)],
    ids=named,
)
def test_a_turn_is_as_much_as_it_says(turns: Turns, decisions: int) -> None:
    section = CHECKING.config_type(stored_before_train=1)
    env_config = EnvConfig(id="rlsys/Counting-v0", max_episode_steps=4)
    training = Training(in_turns(CHECKING, turns), section, env_config)
    training.publish()
    made = []
    for _ in range(4):
        training.update()
        made.append(training.ranks[0].decisions // 3)
    assert np.diff(made).tolist() == [decisions] * 3


class Greedy(UnrollCheckingLearner):
    def step(self, replay: Replay) -> Mapping[str, float]:
        self._batch_size = 99
        return super().step(replay)


def test_whoever_wants_more_of_a_queue_than_a_turn_brings_is_told() -> None:
    algorithm = replace(in_turns(CHECKING_UNROLLS, Turns(unrolls=1)), make_learner=Greedy)
    section = CHECKING_UNROLLS.config_type(**UNROLLS)
    refused(
        algorithm, r"of a queue LearnerContext\.batch_size unrolls; it waits \(3 of 99 unrolls in the queue\)", section
    )
