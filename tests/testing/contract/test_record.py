"""A record whose parts do not fit each other is told where."""

from dataclasses import replace
from typing import Any

import pytest
from support.refusals import refused

from rlsys.api import (
    QueueSpec,
    ValueSpec,
)
from rlsys.errors import ConfigError
from rlsys.testing.algorithm import CHECKING, CheckingConfig
from rlsys.testing.training import Training
from rlsys.types import EnvSpec


def queue(config: CheckingConfig, env: EnvSpec) -> QueueSpec:
    return QueueSpec(max_size=100, batch_size=16)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"kept": ("lenght",)},
            "`temperature`, `refreshes` and `kept` name fields of its section; 'lenght' is none",
        ),
        ({"values": lambda section: ValueSpec(1.5, "value")}, "values have a discount from 0 to 1; it is 1.5"),
        ({"refreshes": "freshness"}, "name fields of its section; 'freshness' is none"),
        ({"temperature": "warmth"}, "name fields of its section; 'warmth' is none"),
        ({"values": lambda section: ValueSpec(1.0, "worth")}, "`act` returns what .* names; there is no worth"),
        (
            {"values": lambda section: ValueSpec(1.0, "value", reward_extra="pay")},
            "`act` returns what .* names; there is no pay",
        ),
    ],
)
def test_a_record_that_does_not_fit_is_told_where(changes: dict[str, Any], sentence: str) -> None:
    refused(replace(CHECKING, **changes), sentence)


def test_what_cannot_be_kept_where_it_would_go_is_refused() -> None:
    with pytest.raises(ConfigError, match="checking cuts Segments for a QueueSpec; Segments go into tables and"):
        Training(replace(CHECKING, store=queue))
