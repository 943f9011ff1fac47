"""Settings of IMPALA that cannot work."""

from typing import Any

import pytest
from algorithms.impala.small_environments import make_env

from rlsys.algorithms.impala.config import ImpalaConfig
from rlsys.algorithms.impala.requirements import check
from rlsys.errors import ConfigError
from rlsys.types import EnvSpec


@pytest.mark.parametrize(
    ("env", "options", "message"),
    [
        (make_env((4,)), {"network": "lstm", "gradient": "rtrl"}, "elementwise recurrence .* impala.network=elstm"),
        (make_env((4,)), {"gradient": "rtrl"}, "impala.gradient = rtrl with impala.network = feedforward"),
        (make_env((4,)), {"num_layers": 2, "network": "lstm"}, "only elstm, rtu, linear_rtu have layers"),
        (make_env((4,)), {"stem": "deep"}, r"observations of shape \(4,\); it needs images"),
        (make_env((4,)), {"freeze_fc": True}, "impala.freeze_conv = False"),
        (make_env((4,)), {"batch_size": 5}, "cannot be divided among runtime.learners = 2"),
    ],
)
def test_what_cannot_work_is_refused(env: EnvSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(ImpalaConfig(**options), env, 8, 2)


def test_an_unroll_of_no_rows_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unroll_length"):
        ImpalaConfig(unroll_length=0)
