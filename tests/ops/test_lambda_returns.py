"""λ-returns against sums of n-step returns, and the ends that they do not look beyond."""

import pytest
import torch
from torch import Tensor

from rlsys.ops.lambda_returns import lambda_returns

B, T = 3, 6
GAMMA = 0.9


def rows() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    discount = torch.full((B, T), GAMMA)
    discount[1, 2] = discount[2, T - 1] = 0.0
    return torch.randn(B, T), discount, torch.randn(B, T)


def n_step(reward: Tensor, discount: Tensor, value: Tensor, row: int, first: int, num: int) -> float:
    total, weight = 0.0, 1.0
    for step in range(first, first + num):
        total += weight * float(reward[row, step])
        weight *= float(discount[row, step])
    return total + weight * float(value[row, first + num - 1])


@pytest.mark.parametrize("lambda_", [0.0, 0.3, 0.95, 1.0])
def test_they_mix_returns_of_all_lengths(lambda_: float) -> None:
    reward, discount, value = rows()
    found = lambda_returns(reward, discount, value, lambda_)
    for row in range(B):
        for first in range(T):
            most = T - first
            mixed = sum(
                (1 - lambda_) * lambda_ ** (num - 1) * n_step(reward, discount, value, row, first, num)
                for num in range(1, most)
            )
            mixed += lambda_ ** (most - 1) * n_step(reward, discount, value, row, first, most)
            assert float(found[row, first]) == pytest.approx(mixed, abs=1e-5)


def test_nothing_after_an_end_counts() -> None:
    reward, discount, value = rows()
    before = lambda_returns(reward, discount, value, 0.9)
    reward[1, 3:] += 100.0
    value[1, 2:] -= 50.0
    after = lambda_returns(reward, discount, value, 0.9)
    torch.testing.assert_close(before[1, :3], after[1, :3])
    assert not torch.allclose(before[1, 3:], after[1, 3:])


def test_three_steps_by_hand() -> None:
    reward, value = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[10.0, 20.0, 30.0]])
    found = lambda_returns(reward, torch.full((1, 3), 0.5), value, 0.5)
    last = 2.0 + 0.5 * 30.0
    middle = 0.5 * (0.5 * 20.0 + 0.5 * last)
    torch.testing.assert_close(found, torch.tensor([[1.0 + 0.5 * (0.5 * 10.0 + 0.5 * middle), middle, last]]))
