"""What is said where an algorithm or an experiment is refused."""

from typing import Any

import pytest

from rlsys import config
from rlsys.api import (
    Algorithm,
)
from rlsys.errors import ConfigError
from rlsys.testing.contract import check_algorithm
from rlsys.testing.requirement import ContractError


def refused(algorithm: Algorithm, sentence: str, section: Any = None) -> None:
    with pytest.raises(ContractError, match=f"^{algorithm.name} breaks its contract: .*{sentence}"):
        check_algorithm(algorithm, section)


def refusal(name: str = "checking-cartpole", profile: str | None = "laptop", *overrides: str) -> str:
    """Returns the line with which an experiment is refused."""
    with pytest.raises(ConfigError) as caught:
        config.load(name, profile, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text
