"""What a latent transition model is: one step of time, without and with what is seen there.

A state is a mapping of tensors that goes in and comes out, so that it can be repeated, chosen from and gone on from
twice. Its names and sizes are those of `Cell.initial`; "mean", "stddev" and "sample" are always among them.

Hafner et al. 2019, section 3, https://arxiv.org/abs/1811.04551.

Shape legend: B batch, T frames, A numbers of an action, E of an embedding, S of a stochastic state, D of a belief.
"""

import abc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

CellState = Mapping[str, Tensor]
"""Name -> `[B, n]`; unrolled `[B, T, n]`."""


class Step(NamedTuple):
    """What a cell expects of a moment, and what it thinks of it having seen it."""

    prior: CellState
    posterior: CellState


@dataclass(frozen=True)
class Sizes:
    """Of a cell.

    Attributes:
      action: numbers A.
      embedding: numbers E.
      state: S.
      belief: D.
      hidden: units of each hidden layer.
    """

    action: int
    embedding: int
    state: int = 30
    belief: int = 200
    hidden: int = 200


class Cell(nn.Module, abc.ABC):
    """One step of latent dynamics: z_t from z_{t-1}, a_{t-1} and, for the posterior, what is seen at t.

    Attributes:
      state_size: S, of all that is drawn: mean, deviation and sample.
      num_features: numbers of `features`.
      seen_size: numbers of `see`.
    """

    state_size: int
    seen_size: int
    num_features: int

    @abc.abstractmethod
    def initial(self, size: int) -> CellState:
        """Returns the state before anything was seen, of `size` copies: zeros."""

    @abc.abstractmethod
    def see(self, embedded: Tensor) -> Tensor:
        """Returns what `observe` needs of embeddings `[..., E]`: all that does not depend on time."""

    @abc.abstractmethod
    def imagine(self, state: CellState, action: Tensor, noise: Tensor) -> CellState:
        """Returns what comes after an action, unseen: the prior.

        Args:
          state: of B copies.
          action: `[B, A]`, done in it.
          noise: `[B, S]`, from a standard normal distribution; 0 for the mean.
        """

    @abc.abstractmethod
    def observe(self, state: CellState, action: Tensor, seen: Tensor, noise: Tensor) -> Step:
        """Returns prior and posterior of what comes after an action; the sample of the prior is its mean.

        Args:
          state: of B copies.
          action: `[B, A]`, done in it.
          seen: `[B, ...]`, of `see`.
          noise: `[B, S]`, of the posterior.
        """

    def features(self, state: CellState) -> Tensor:
        """Returns `[..., F]`, what heads see of a state."""
        return torch.cat([state["sample"], state["belief"]], dim=-1)

    def unroll(self, seen: Tensor, action: Tensor, noise: Tensor) -> Step:
        """Follows B windows from their beginning, before which nothing is known.

        Args:
          seen: `[B, T, ...]`, of `see`.
          action: `[B, T, A]`, which led to each frame.
          noise: `[T, B, S]`.

        Returns:
          States `[B, T, n]`.
        """
        state, steps = self.initial(len(seen)), list[Step]()
        for seen_B, action_BA, noise_BS in zip(seen.unbind(1), action.unbind(1), noise, strict=True):
            steps.append(self.observe(state, action_BA, seen_B, noise_BS))
            state = steps[-1].posterior
        return Step(stacked(step.prior for step in steps), stacked(step.posterior for step in steps))


class Gaussian(nn.Module):
    """Mean and deviation from hidden units: the deviation is softplus(·) + `min_stddev`."""

    def __init__(self, num_hidden: int, state_size: int, min_stddev: float, *, mean_only: bool) -> None:
        super().__init__()
        self.mean = dense(num_hidden, state_size)
        self.stddev = dense(num_hidden, state_size)
        self._min_stddev, self._mean_only = min_stddev, mean_only

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both, `[..., S]`, for `[..., num_hidden]`."""
        return self.mean(hidden), functional.softplus(self.stddev(hidden)) + self._min_stddev

    def draw(self, mean: Tensor, stddev: Tensor, noise: Tensor) -> Tensor:
        """Returns a sample, or the mean where that is all that is ever used."""
        return mean if self._mean_only else mean + stddev * noise


def dense(num_in: int, num_out: int, *, bias: bool = True, of_inputs: int | None = None) -> nn.Linear:
    """Returns a dense layer as upstream begins it: Glorot and Bengio 2010, uniform, biases of 0.

    Args:
      num_in: inputs.
      num_out: outputs.
      bias: whether it adds one.
      of_inputs: inputs of the layer that this one is a part of, if it is one.
    """
    layer = nn.Linear(num_in, num_out, bias=bias)
    bound = (6.0 / ((of_inputs or num_in) + num_out)) ** 0.5
    nn.init.uniform_(layer.weight, -bound, bound)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def stacked(states: Iterable[CellState]) -> CellState:
    """Puts the states of T moments side by side: `[B, n]` each -> `[B, T, n]`."""
    listed = list(states)
    return {name: torch.stack([state[name] for state in listed], dim=1) for name in listed[0]}


def joined(states: Iterable[CellState]) -> CellState:
    """Puts the states of several cells side by side, along the last axis."""
    listed = list(states)
    return {name: torch.cat([state[name] for state in listed], dim=-1) for name in listed[0]}
