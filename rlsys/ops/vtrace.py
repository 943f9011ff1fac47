"""V-trace: off-policy corrected value targets. Espeholt et al. 2018, section 4.1, https://arxiv.org/abs/1802.01561.

    v_t = V_t + Σ_{s ≥ t} (Π_{t ≤ i < s} γ_i λ c_i) δ_s      δ_s = ρ_s (r_s + γ_s V_{s+1} - V_s)
    ρ_s = min(ρ̄, π(a_s) / μ(a_s))                            c_s = min(c̄, π(a_s) / μ(a_s))

Shape legend: B unrolls, T rows.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class VTrace(NamedTuple):
    """Targets and advantages, `[B, T]`; 0 in masked rows, and nothing flows back through them."""

    target: Tensor
    advantage: Tensor


@torch.no_grad()
def vtrace(
    *,
    log_ratio_BT: Tensor,
    discount_BT: Tensor,
    reward_BT: Tensor,
    value_BT: Tensor,
    mask_BT: Tensor,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
    trace_decay: float = 1.0,
) -> VTrace:
    """Computes value targets and policy-gradient advantages.

    Args:
      log_ratio_BT: log π(a) - log μ(a) of the actions taken.
      discount_BT: γ, 0 where the episode terminated.
      reward_BT: caused by the actions.
      value_BT: `[B, T + 1]`, V of every row and of the observation after the last one.
      mask_BT: bool, False for bootstrap rows: the trace stops at the row before them, which still sees their value.
      rho_bar: ρ̄, cap of the weights of the temporal differences; it decides which policy's value is learned.
      c_bar: c̄, cap of the weights of the trace; it decides how fast.
      trace_decay: λ.
    """
    ratio_BT = log_ratio_BT.exp() * mask_BT
    rho_BT, decay_BT = ratio_BT.clamp(max=rho_bar), discount_BT * trace_decay * ratio_BT.clamp(max=c_bar)
    delta_BT = rho_BT * (reward_BT + discount_BT * value_BT[:, 1:] - value_BT[:, :-1])
    # Time first: each step reads and writes contiguous memory.
    delta_TB, decay_TB = delta_BT.t().contiguous(), decay_BT.t().contiguous()
    correction_TB = torch.zeros_like(value_BT.t(), memory_format=torch.contiguous_format)
    for t in reversed(range(len(delta_TB))):
        torch.addcmul(delta_TB[t], decay_TB[t], correction_TB[t + 1], out=correction_TB[t])
    target_BT = value_BT + correction_TB.t()
    advantage_BT = rho_BT * (reward_BT + discount_BT * target_BT[:, 1:] - value_BT[:, :-1])
    return VTrace(target_BT[:, :-1] * mask_BT, advantage_BT)
