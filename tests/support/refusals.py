"""What refuses an algorithm."""

from typing import Any

import pytest

from rlsys.api import (
    Algorithm,
)
from rlsys.testing.contract import check_algorithm
from rlsys.testing.requirement import ContractError


def refused(algorithm: Algorithm, sentence: str, section: Any = None) -> None:
    with pytest.raises(ContractError, match=f"^{algorithm.name} breaks its contract: .*{sentence}"):
        check_algorithm(algorithm, section)
