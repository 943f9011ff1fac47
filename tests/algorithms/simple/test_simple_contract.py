"""SimPLe keeps the contract where its policy learns in the world model only, long after its first step."""

from rlsys.algorithms.simple import ALGORITHM
from rlsys.testing.contract import check_algorithm


def test_simple_that_learns_nothing_from_real_data_keeps_the_contract() -> None:
    check_algorithm(ALGORITHM, ALGORITHM.config_type(**ALGORITHM.debug, learn_from_real=False))
