"""V-trace against the double sum of the paper, against RLlib's, and at the ends of episodes."""

import pytest
import torch
from support.unroll_rows import make_rows
from torch import Tensor

from rlsys.ops.vtrace import VTrace, vtrace

OPTIONS = {"rho_bar": 1.2, "c_bar": 0.9, "trace_decay": 0.95}


def run(rows: dict[str, Tensor], **options: float) -> VTrace:
    return vtrace(**{name: rows[name] for name in rows if not name.startswith("t")}, **options)


def double_sum(rows: dict[str, Tensor], b: int, t: int) -> float:
    """v_t of the paper: all later temporal differences of the same episode, each with the product of its weights."""
    ratio = rows["log_ratio_BT"].exp()
    total, weight = rows["value_BT"][b, t].item(), 1.0
    for s in range(t, ratio.shape[1]):
        rho = min(OPTIONS["rho_bar"], ratio[b, s].item())
        discount = rows["discount_BT"][b, s].item()
        after = rows["value_BT"][b, s + 1].item()
        total += weight * rho * (rows["reward_BT"][b, s].item() + discount * after - rows["value_BT"][b, s].item())
        if rows["terminated_BT"][b, s] or rows["truncated_BT"][b, s]:
            return total
        weight *= discount * OPTIONS["trace_decay"] * min(OPTIONS["c_bar"], ratio[b, s].item())
    return total


@pytest.mark.parametrize(("length", "ends", "cuts"), [(1, 0.3, 0.3), (7, 0.0, 0.0), (30, 0.1, 0.1), (12, 1.0, 0.0)])
def test_targets_are_the_double_sum_within_each_episode(length: int, ends: float, cuts: float) -> None:
    rows = make_rows(4, length, seed=length, ends=ends, cuts=cuts)
    result = run(rows, **OPTIONS)
    for b in range(4):
        for t in range(length):
            expected = double_sum(rows, b, t) if rows["mask_BT"][b, t] else 0.0
            assert result.target[b, t].item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_advantages_bootstrap_from_the_next_target_or_the_last_value() -> None:
    rows = make_rows(5, 20, seed=3)
    result = run(rows, **OPTIONS)
    rho = rows["log_ratio_BT"].exp().clamp(max=OPTIONS["rho_bar"])
    for b in range(5):
        for t in range(20):
            is_last = t == 19 or rows["truncated_BT"][b, t]
            after = rows["value_BT"][b, t + 1] if is_last else result.target[b, t + 1]
            step = rows["reward_BT"][b, t] + rows["discount_BT"][b, t] * after - rows["value_BT"][b, t]
            expected = (rho[b, t] * step).item() if rows["mask_BT"][b, t] else 0.0
            assert result.advantage[b, t].item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_on_policy_targets_are_n_step_returns() -> None:
    rows = make_rows(2, 6, seed=4, ends=0.0, cuts=0.0)
    rows["log_ratio_BT"].zero_()
    expected = rows["value_BT"][:, -1]
    for t in reversed(range(6)):
        expected = rows["reward_BT"][:, t] + 0.9 * expected
        torch.testing.assert_close(run(rows).target[:, t], expected)


def test_no_gradient_passes_targets() -> None:
    rows = make_rows(2, 5, seed=5)
    rows["value_BT"].requires_grad_()
    result = run(rows)
    assert not result.target.requires_grad
    assert not result.advantage.requires_grad


def test_agrees_with_rllib() -> None:
    from ray.rllib.algorithms.impala.torch.vtrace_torch_v2 import vtrace_torch

    rows = {name: value.float() if value.is_floating_point() else value for name, value in make_rows(6, 25, 6).items()}
    rows["mask_BT"] = torch.ones_like(rows["mask_BT"])  # RLlib knows no bootstrap rows
    targets, advantages = vtrace_torch(
        target_action_log_probs=rows["log_ratio_BT"].t(),
        behaviour_action_log_probs=torch.zeros(25, 6),
        discounts=rows["discount_BT"].t(),
        rewards=rows["reward_BT"].t(),
        values=rows["value_BT"][:, :-1].t(),
        bootstrap_values=rows["value_BT"][:, -1],
        clip_rho_threshold=1.2,
        clip_pg_rho_threshold=1.2,
    )
    result = run(rows, rho_bar=1.2)
    torch.testing.assert_close(result.target, targets.t(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(result.advantage, advantages.t(), rtol=1e-5, atol=1e-5)
