"""IMPALA's networks, against upstream's sizes."""

from typing import Any

import pytest
from algorithms.impala.small_environments import make_env

from rlsys.algorithms.impala.config import ImpalaConfig
from rlsys.algorithms.impala.networks import make_network
from rlsys.types import EnvSpec


@pytest.mark.parametrize(
    ("env", "options", "stem", "whole"),
    [
        (make_env((3, 72, 96), num_actions=9), {"network": "elstm", "hidden_size": 512}, 982_592, 1_647_178),
        (make_env((3, 64, 64), num_actions=15), {"network": "elstm"}, 622_144, 890_448),
        (make_env((84, 84), num_stack=4), {"network": "elstm"}, 1_089_232, 1_355_223),
    ],
    ids=["DMLab", "ProcGen", "Atari"],
)
def test_networks_have_as_many_parameters_as_upstream(
    env: EnvSpec, options: dict[str, Any], stem: int, whole: int
) -> None:
    network = make_network(ImpalaConfig(**options), env)
    assert sum(parameter.numel() for parameter in network.stem.parameters()) == stem
    assert sum(parameter.numel() for parameter in network.parameters()) == whole
