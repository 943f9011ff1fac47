"""Closed-form continuous-time cells, wired as a neural circuit policy.

Hasani et al. 2022, equation 10, https://arxiv.org/abs/2106.13898. As in ncps 1.0.1 a layer listens to the one before by
the wiring, and to all of itself; without a backbone, and with a step of time of 1.

Shape legend: B batch, t moments, S senses, I inputs of a layer, U units of a layer or of all, M motor neurons.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.algorithms.iris.world_models.wiring import make_wiring
from rlsys.types import Array


class Joined(NamedTuple):
    """A layer's products side by side: two answers, and what mixes them.

    Attributes:
      input: `[3 U, I]`.
      recurrent: `[3 U, U]`.
      bias: `[3 U]`.
    """

    input: Tensor
    recurrent: Tensor
    bias: Tensor


class Dense(nn.Linear):
    """A product of a cell, which is only ever computed with others'."""

    def reset_parameters(self) -> None:
        """Begins as ncps does: Glorot and Bengio 2010, biases as torch's."""
        super().reset_parameters()
        nn.init.xavier_uniform_(self.weight)


class CfCLayer(nn.Module):
    """Neurons that answer twice, and move from one answer to the other.

    f = tanh((W₁ ∘ M) x + b₁), g = tanh((W₂ ∘ M) x + b₂), s = σ(W_a x + b_a + W_b x + b_b), x = [input, h]
    h ← (1 - s) f + s g; without a gate f + s g
    """

    mask: Tensor

    def __init__(self, listens: Array, *, has_gate: bool) -> None:
        """Takes who listens to whom, `[I, U]`."""
        super().__init__()
        self.num_inputs, self.num_units = listens.shape
        num_all = self.num_inputs + self.num_units
        self.ff1, self.ff2 = Dense(num_all, self.num_units), Dense(num_all, self.num_units)
        self.time_a, self.time_b = Dense(num_all, self.num_units), Dense(num_all, self.num_units)
        mask = torch.ones(self.num_units, num_all)
        mask[:, : self.num_inputs] = torch.from_numpy(listens.T.copy()).float()
        self.register_buffer("mask", mask, persistent=False)
        self._has_gate = has_gate

    def joined(self) -> Joined:
        """Returns the products as they are now."""
        time = self.time_a.weight + self.time_b.weight
        weight = torch.cat([self.ff1.weight * self.mask, self.ff2.weight * self.mask, time])
        bias = torch.cat([self.ff1.bias, self.ff2.bias, self.time_a.bias + self.time_b.bias])
        return Joined(weight[:, : self.num_inputs], weight[:, self.num_inputs :], bias)

    def forward(self, x: Tensor, h: Tensor, joined: Joined) -> tuple[Tensor, Tensor]:
        """Returns what the layer says at each moment, `[B, t, U]`, and its last state.

        Args:
          x: `[B, t, I]`.
          h: `[B, U]`, float32.
          joined: of this layer, perhaps rounded.
        """
        said, rounded = [], _product_dtype(joined.input)
        recurrent = joined.recurrent.to(rounded)
        heard = functional.linear(x.to(rounded), joined.input.to(rounded), joined.bias.to(rounded)).float()
        for heard_BU in heard.unbind(1):
            mixed = heard_BU + functional.linear(h.to(rounded), recurrent)
            answers, gate = torch.split(mixed, [2 * self.num_units, self.num_units], dim=-1)
            first, second = torch.tanh(answers).chunk(2, dim=-1)
            gate = torch.sigmoid(gate)
            h = torch.lerp(first, second, gate) if self._has_gate else torch.addcmul(first, gate, second)
            said.append(h)
        return torch.stack(said, dim=1), h


class CfC(nn.Module):
    """Three layers, inter, command and motor; what the last one says is the output."""

    def __init__(self, num_senses: int, num_units: int, num_motor: int, *, seed: int, has_gate: bool = True) -> None:
        super().__init__()
        wiring = make_wiring(num_senses, num_units, num_motor, seed)
        self.layers = nn.ModuleList(CfCLayer(listens, has_gate=has_gate) for listens in wiring.layers)
        self._listed = [layer for layer in self.layers if isinstance(layer, CfCLayer)]
        self._sizes = [layer.num_units for layer in self._listed]

    def joined(self) -> list[Joined]:
        """Returns the products of all layers as they are now."""
        return [layer.joined() for layer in self._listed]

    def forward(self, x: Tensor, state: Tensor, joined: Sequence[Joined] | None = None) -> tuple[Tensor, Tensor]:
        """Returns what motor neurons say at each moment, `[B, t, M]`, and the state after the last.

        A layer needs nothing of those after it, so that each is followed through all moments before the next.

        Args:
          x: `[B, t, S]`.
          state: `[B, U]` of the layers side by side, float32.
          joined: the products, if they are at hand.
        """
        states = []
        for layer, h, weights in zip(
            self._listed, torch.split(state, self._sizes, dim=-1), joined or self.joined(), strict=True
        ):
            x, h_after = layer(x, h, weights)
            states.append(h_after)
        return x, torch.cat(states, dim=-1)


def _product_dtype(weight: Tensor) -> torch.dtype:
    """Returns what a product is rounded to: once, rather than at each moment, where autocast says so."""
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
