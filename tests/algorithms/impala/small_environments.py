"""Environments of all kinds for IMPALA, and a small section."""

from rlsys.config import EnvConfig
from rlsys.types import ArraySpec, EnvSpec

SMALL = {"batch_size": 4, "unroll_length": 10, "hidden_size": 16, "fc_size": 16}
CARTPOLE = EnvConfig(id="CartPole-v1")


def make_env(shape: tuple[int, ...], dtype: str = "uint8", num_actions: int = 6, num_stack: int = 1) -> EnvSpec:
    return EnvSpec("x", ArraySpec(shape, dtype), ArraySpec((), "int64"), num_actions, num_stack)
