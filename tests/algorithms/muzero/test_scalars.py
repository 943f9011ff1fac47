"""How values and rewards are written into the outputs of a head."""

from typing import Any

import pytest
import torch

from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.scalars import ScalarCode, reward_code, value_code
from rlsys.ops.support import two_hot
from rlsys.ops.value_transform import signed_hyperbolic

OPTIONS: list[dict[str, Any]] = [
    {},
    {"no_target_transform": True},
    {"no_support": True},
    {"no_support": True, "no_target_transform": True, "scalar_loss": "Huber"},
]


def perfect_output(code: ScalarCode, x: torch.Tensor) -> torch.Tensor:
    """Returns what a head without error would give."""
    squashed = signed_hyperbolic(x) if code.squash else x
    return squashed.unsqueeze(-1) if code.support is None else two_hot(squashed, *code.support).log()


@pytest.mark.parametrize("options", OPTIONS)
def test_what_is_encoded_is_decoded(options: dict[str, Any]) -> None:
    code = value_code(MuZeroConfig(**options))
    x = torch.linspace(-14.0, 14.0, 113, dtype=torch.float64).reshape(1, -1)
    torch.testing.assert_close(code.decode(perfect_output(code, x)), x, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("options", OPTIONS)
def test_the_loss_is_least_where_the_decoded_number_is_the_target(options: dict[str, Any]) -> None:
    code = reward_code(MuZeroConfig(**options))
    target = torch.tensor([-7.3, 0.0, 2.5])
    output = torch.zeros(3, code.size, requires_grad=True)
    optimizer = torch.optim.Adam([output], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        code.loss(output, target).sum().backward()
        optimizer.step()
    torch.testing.assert_close(code.decode(output.detach()), target, rtol=0.02, atol=0.05)


def test_heads_have_an_output_per_atom() -> None:
    config = MuZeroConfig(value_support=(-2, 5), reward_support=(0, 1))
    assert (value_code(config).size, reward_code(config).size) == (8, 2)
    assert value_code(MuZeroConfig(no_support=True)).size == 1
