"""Optimizers as a trainable part holds them: they take each step's learning rate, and remember as arrays.

What they compute is torch's, by the functions that its optimizers are written with. The classes around those import
torch's compiler at their first step, which takes longer than all else that a small run waits for.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from rlsys.nets.flat import FlatParameters, copied_arrays


class GradientStep(Protocol):
    """Changes parameters by their gradients."""

    def step(self, learning_rate: float) -> None:
        """Does one update."""

    def save(self) -> Mapping[str, Any]:
        """Returns what it remembers, name -> array or number."""

    def load(self, saved: Mapping[str, Any]) -> None:
        """Takes over what `save` of the same optimizer returned."""


class FlatOptimizer(ABC):
    """Updates all parameters as one vector."""

    def __init__(self, flat: FlatParameters, weight_decay: float) -> None:
        """Takes parameters whose gradients are there before each step.

        Args:
          flat: the parameters.
          weight_decay: share of the parameters that is taken off them, or added to the gradient.
        """
        self._vector, self._gradient = flat.vector, flat.gradient
        self._weight_decay = weight_decay
        self._state: dict[str, Tensor] = {}

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """See `GradientStep`."""
        self._state = self._state or self._nothing()
        self._update(self._state, learning_rate)

    def save(self) -> Mapping[str, Any]:
        """See `GradientStep`; empty before the first step."""
        return copied_arrays(self._state)

    def load(self, saved: Mapping[str, Any]) -> None:
        """See `GradientStep`."""
        nothing = self._nothing()
        self._state = {name: torch.tensor(value).to(nothing[name]) for name, value in saved.items()}

    @abstractmethod
    def _nothing(self) -> dict[str, Tensor]:
        """Returns what is remembered before the first step."""

    @abstractmethod
    def _update(self, state: dict[str, Tensor], learning_rate: float) -> None:
        """Changes vector and state."""


class Adam(FlatOptimizer):
    """Adam (Kingma and Ba 2015), or AdamW (Loshchilov and Hutter 2019) where weight decay is decoupled."""

    def __init__(
        self,
        flat: FlatParameters,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        dense_only: bool = False,
    ) -> None:
        """Takes what is to be updated.

        Args:
          flat: the parameters.
          betas: smoothing of the gradient and of its square.
          epsilon: added after the root.
          weight_decay: see `decoupled`.
          decoupled: it shrinks the parameters themselves, times the learning rate; else it is a part of the gradient.
          dense_only: decoupled, it shrinks nothing but trained weights of dense layers: no biases, norms or embeddings.
        """
        assert decoupled or not dense_only, "a gradient has no such exceptions"
        super().__init__(flat, 0.0 if dense_only else weight_decay)
        self._betas, self._epsilon, self._is_decoupled = betas, epsilon, decoupled
        self._shrinking = flat.marks(flat.dense).mul_(weight_decay) if dense_only and weight_decay else None

    def _nothing(self) -> dict[str, Tensor]:
        average, square = torch.zeros_like(self._vector), torch.zeros_like(self._vector)
        return {"step": torch.zeros((), device=self._vector.device), "exp_avg": average, "exp_avg_sq": square}

    def _update(self, state: dict[str, Tensor], learning_rate: float) -> None:
        if self._shrinking is not None:
            self._vector.mul_(1.0 - learning_rate * self._shrinking)
        adam(
            [self._vector],
            [self._gradient],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            fused=True,
            decoupled_weight_decay=self._is_decoupled,
            amsgrad=False,
            beta1=self._betas[0],
            beta2=self._betas[1],
            lr=learning_rate,
            weight_decay=self._weight_decay,
            eps=self._epsilon,
            maximize=False,
        )


class RMSprop(FlatOptimizer):
    """RMSprop (Hinton 2012, lecture 6e) with its epsilon added after the root."""

    def __init__(
        self,
        flat: FlatParameters,
        *,
        alpha: float = 0.99,
        epsilon: float = 1e-8,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        """Takes what is to be updated.

        Args:
          flat: the parameters.
          alpha: smoothing of the gradient's square.
          epsilon: added after the root.
          momentum: share of the last step that is repeated.
          weight_decay: times the parameters, it is added to the gradient.
        """
        super().__init__(flat, weight_decay)
        self._alpha, self._epsilon, self._momentum = alpha, epsilon, momentum

    def _nothing(self) -> dict[str, Tensor]:
        nothing = {"step": torch.zeros(()), "square_avg": torch.zeros_like(self._vector)}
        return nothing | ({"momentum_buffer": torch.zeros_like(self._vector)} if self._momentum else {})

    def _update(self, state: dict[str, Tensor], learning_rate: float) -> None:
        rmsprop(
            [self._vector],
            [self._gradient],
            [state["square_avg"]],
            [],
            [state["momentum_buffer"]] if self._momentum else [],
            [state["step"]],
            lr=learning_rate,
            alpha=self._alpha,
            eps=self._epsilon,
            weight_decay=self._weight_decay,
            momentum=self._momentum,
            centered=False,
        )


class SGD(FlatOptimizer):
    """Stochastic gradient descent."""

    def __init__(self, flat: FlatParameters, *, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        """Takes what is to be updated.

        Args:
          flat: the parameters.
          momentum: share of the last step that is repeated.
          weight_decay: times the parameters, it is added to the gradient.
        """
        super().__init__(flat, weight_decay)
        self._momentum = momentum

    def _nothing(self) -> dict[str, Tensor]:
        return {"momentum_buffer": torch.zeros_like(self._vector)} if self._momentum else {}

    def _update(self, state: dict[str, Tensor], learning_rate: float) -> None:
        sgd(
            [self._vector],
            [self._gradient],
            [state.get("momentum_buffer")],
            fused=True,
            weight_decay=self._weight_decay,
            momentum=self._momentum,
            lr=learning_rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
