"""Algorithms that keep the contract pass it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rlsys.api import (
    Algorithm,
    Learner,
)
from rlsys.testing.algorithm import CHECKING, CheckingLearner, DrawingLearner
from rlsys.testing.contract import check_algorithm
from rlsys.testing.unrolls import CHECKING_UNROLLS
from rlsys.testing.worlds import DOTS
from rlsys.types import Array


@pytest.mark.parametrize(
    ("algorithm", "section"),
    [
        (CHECKING, {}),
        (CHECKING_UNROLLS, {}),
        (CHECKING_UNROLLS, {"on_policy": 1, "length": 7}),
        (CHECKING_UNROLLS, {"on_policy": 2, "length": 7, "rest_steps": 4, "batches": 3}),
        (DOTS, {}),
    ],
)
def test_an_algorithm_that_keeps_the_contract_passes(algorithm: Algorithm, section: dict[str, Any]) -> None:
    check_algorithm(algorithm, algorithm.config_type(**section))


class LateLearner(CheckingLearner):
    """Rests for a long time before its weights change."""

    def weights(self) -> Mapping[str, Array]:
        return {"steps": np.array([self._begun_with + max(0, self._steps - 60)], np.int64)}


@pytest.mark.parametrize("learner", [DrawingLearner, LateLearner])
def test_learners_that_draw_and_those_that_take_their_time_pass(learner: type[Learner]) -> None:
    check_algorithm(replace(CHECKING, make_learner=learner))
