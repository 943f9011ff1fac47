"""What refuses an experiment."""

import pytest

from rlsys import config
from rlsys.errors import ConfigError


def refusal(name: str = "checking-cartpole", profile: str | None = "laptop", *overrides: str) -> str:
    """Returns the line with which an experiment is refused."""
    with pytest.raises(ConfigError) as caught:
        config.load(name, profile, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text
