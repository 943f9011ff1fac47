"""Stochastic MuZero's networks: what an action does by itself, and codes of what chance does then.

Antonoglou et al. 2022, section 4, https://openreview.net/forum?id=X6D9bAHhBQ1.

    afterstate_k = φ(s_k, a_k)      σ_k, Q_k = ψ(afterstate_k)      s_k+1, r_k+1 = g(afterstate_k, c_k+1)
    c_k+1 ~ e(o_k+1)                while learning; a search goes through the codes by σ

where g is the dynamics of the network that this belongs to, which read a code as C numbers, one-hot.

Shape legend: B batch, K unroll steps, C codes, S numbers of a state, V atoms of a value.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.ops.gradients import scale_gradient

if TYPE_CHECKING:
    from rlsys.algorithms.muzero.networks import Network, Unroll


class Chance(nn.Module):
    """φ, ψ and e.

    φ and ψ are the dynamics and the prediction of a second network of the same architecture, whose policy is σ; e is
    its representation with a linear layer behind it. Its reward head is not asked.

    Attributes:
      afterstates: that network.
      num_codes: C.
    """

    def __init__(self, afterstates: "Network", num_codes: int) -> None:
        super().__init__()
        self.afterstates = afterstates
        self.num_codes = num_codes
        # Normalised, each code is likelier than usual in some observations of a batch: no code dies out.
        self.encoder = nn.Sequential(
            nn.Linear(afterstates.state_size, num_codes, bias=False), nn.BatchNorm1d(num_codes)
        )

    def encode(self, observation: Tensor) -> Tensor:
        """Returns e: the probabilities `[B, C]` of codes of what has led to raw observations."""
        state = self.afterstates.represent(observation).flatten(start_dim=1)
        logits_BC: Tensor = self.encoder(state)
        return logits_BC.float().softmax(dim=1)


class ChanceUnroll(NamedTuple):
    """K imagined steps in which what really happened is told by codes.

    Attributes:
      unroll: what is foretold of states.
      states: after each step, `[K * B, S, ...]`, ordered by step.
      value: `[B, K, V]`, Q of each afterstate.
      code_logits: `[B, K, C]`, σ.
      code: `[B, K, C]`, e, the probabilities that codes were drawn from.
    """

    unroll: "Unroll"
    states: Tensor
    value: Tensor
    code_logits: Tensor
    code: Tensor


def unroll_with_chance(
    network: "Network", chance: Chance, observation: Tensor, seen: Tensor, action_BK: Tensor, generator: torch.Generator
) -> ChanceUnroll:
    """Imagines K steps from each observation.

    Codes are drawn, and what flows back to them goes on to their probabilities (straight-through).

    Args:
      network: with the dynamics g.
      chance: the other functions.
      observation: `[B, ...]`, raw.
      seen: `[K * B, ...]`, the observations after each step, ordered by step.
      action_BK: int64.
      generator: draws the codes.
    """
    size, num_steps = action_BK.shape
    probability_NC = chance.encode(seen)
    drawn_N = torch.multinomial(probability_NC.detach(), 1, generator=generator)[:, 0]
    code_NC = functional.one_hot(drawn_N, chance.num_codes) + probability_NC - probability_NC.detach()
    state = network.represent(observation)
    states, afterstates, features = [state], [], []
    for action_B, code_BC in zip(action_BK.unbind(dim=1), code_NC.view(num_steps, size, -1), strict=True):
        afterstate, _ = chance.afterstates.transition(scale_gradient(state, network.dynamics_gradient), action_B)
        state, feature = network.transition(afterstate, code_BC)
        afterstates.append(afterstate)
        states.append(state)
        features.append(feature)
    expected = chance.afterstates.predict(torch.cat(afterstates))
    return ChanceUnroll(
        network.foretold(states, features),
        torch.cat(states[1:]),
        batch_first(expected.value, num_steps),
        batch_first(expected.policy, num_steps),
        batch_first(probability_NC, num_steps),
    )


def batch_first(output_NF: Tensor, num_steps: int) -> Tensor:
    """Turns rows that are ordered by step, then by window, into `[B, num_steps, F]`."""
    return output_NF.view(num_steps, -1, output_NF.shape[1]).transpose(0, 1)
