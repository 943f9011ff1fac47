"""One part that learns: a module, its parameters in one vector, their optimizer, and its gradient step on every rank.

A learner is composed of such parts; each has a loss of its own:

    metrics = model.step(loss, learning_rate, {"world/loss": loss})     # a gradient step
    model.check_finite(metrics, {"observation from replay": batch.observation}, learner_step)

Where something comes between gradient and step, the parts of `step` are called one by one:

    policy.backward(loss)
    norm = policy.average_and_clip()
    policy.apply(learning_rate)
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from rlsys.api import LearnerContext
from rlsys.errors import WorkerError
from rlsys.nets.flat import FlatParameters, check_fits, copied_arrays
from rlsys.nets.optimizers import GradientStep
from rlsys.nets.precision import autocast
from rlsys.nets.transfer import to_host
from rlsys.types import Array

Network = TypeVar("Network", bound=nn.Module)


class Trainable(Generic[Network]):
    """Holds what one loss trains. Learning rates come with each step: they are functions of the learner's progress.

    Attributes:
      network: the module, on the learner's device.
      forward: the same as a function, compiled where that is asked for.
      precision: a context for it.
    """

    def __init__(
        self,
        context: LearnerContext,
        build: Callable[[], Network],
        optimizer: Callable[[FlatParameters], GradientStep],
        *,
        name: str = "learner",
        remedy: str,
        max_norm: float | None = None,
        precision: Literal["fp32", "bf16"] = "fp32",
        compiles: Literal["auto", "yes", "no"] = "no",
    ) -> None:
        """Builds the module from the context's seed alone, so that all ranks begin with the same.

        Args:
          context: of the learner.
          build: returns the module; what it draws from torch's random stream leaves no trace there.
          optimizer: of its parameters.
          name: group of its metrics.
          remedy: what helps against numbers that are not finite, as in "a lower ppo.learning_rate".
          max_norm: the gradient is scaled down to it.
          precision: of products within `precision`.
          compiles: torch.compile for `forward`; auto: on GPUs.
        """
        device = torch.device(context.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self.network = build().to(device)
        self._flat = FlatParameters(self.network)
        state = self.network.state_dict().items()
        self._buffers = {name: value for name, value in state if name not in self._flat.parameters}
        self._statistics = [value for value in self._buffers.values() if value.is_floating_point()]
        self._optimizer = optimizer(self._flat)
        self._average = context.average
        self._name, self._remedy, self._max_norm = name, remedy, max_norm
        self.precision = autocast(precision, device)
        is_compiled = compiles == "yes" or (compiles == "auto" and device.type == "cuda")
        self.forward: Callable[..., Any] = torch.compile(self.network) if is_compiled else self.network

    def step(self, loss: Tensor, learning_rate: float, metrics: Mapping[str, Tensor]) -> dict[str, float]:
        """Does one update; see `finish` for what it returns.

        Args:
          loss: scalar, of this rank's share of the batch.
          learning_rate: of this step.
          metrics: scalars that are to be known, name -> on the device.
        """
        self.backward(loss)
        return self.finish(learning_rate, metrics)

    def backward(self, loss: Tensor, *, adds: bool = False) -> None:
        """Computes this rank's gradient anew, or adds to that of another batch."""
        if not adds:
            self._flat.gradient.zero_()
        loss.backward()  # type: ignore[no-untyped-call]

    def finish(self, learning_rate: float, metrics: Mapping[str, Tensor]) -> dict[str, float]:
        """Averages and clips the gradient, and updates the weights by it unless a number is not finite.

        Returns:
          The metrics, the norm of the gradient before it was clipped and, where the weights were updated, the rate.
        """
        norm = self.average_and_clip()
        numbers = to_host({**metrics, f"{self._name}/gradient_norm": norm})
        if math.isfinite(sum(numbers.values())):
            self.apply(learning_rate)
            numbers[f"{self._name}/learning_rate"] = learning_rate
        return numbers

    def average_and_clip(self) -> Tensor:
        """Averages gradient and running statistics over the ranks, and clips the former; returns its norm before."""
        self._average([self._flat.gradient, *self._statistics])
        return self._flat.clip(self._max_norm)

    def apply(self, learning_rate: float) -> None:
        """Updates the weights by the gradient as it is."""
        self._optimizer.step(learning_rate)

    def check_finite(self, metrics: Mapping[str, float], given: Mapping[str, Array], learner_step: int) -> None:
        """Stops training where a number is not finite, before anybody acts with what comes of it.

        Args:
          metrics: of a step.
          given: name -> what was learned from.
          learner_step: at which.

        Raises:
          WorkerError: it names the first number on the way to the gradient that is not finite.
        """
        if math.isfinite(sum(metrics.values())):
            return
        norm = f"{self._name}/gradient_norm"
        losses = {name: value for name, value in metrics.items() if name != norm}
        gradients = {f"gradient of {name}": value.cpu() for name, value in self._flat.gradients().items()}
        places: dict[str, Any] = {**given, **losses, **gradients, **metrics}
        name = next(name for name, value in places.items() if not np.isfinite(np.asarray(value)).all())
        found = f"{name} = {places[name]}" if name in metrics else f"{name} holds nan or inf"
        raise WorkerError(
            f"{found} at learner step {learner_step}; losses and gradients must be finite. The weights are those "
            f"before: go back to the last checkpoint with {self._remedy}."
        )

    def weights(self) -> dict[str, Array]:
        """Returns copies of all parameters, and of what normalisation layers remember."""
        return self._flat.to_arrays() | copied_arrays(self._buffers)

    def load_weights(self, weights: Mapping[str, Array]) -> None:
        """Takes over what `weights` of another such part returned.

        Raises:
          CheckpointError: they are another module's.
        """
        check_fits(self.network, weights, "network", "it is another one. Resume with its settings, or start a new run.")
        self._flat.load_arrays({name: weights[name] for name in self._flat.parameters})
        for name, buffer in self._buffers.items():
            buffer.copy_(torch.tensor(weights[name]))

    def histograms(self) -> dict[str, Array]:
        """Returns copies of all weights and of the last update's gradients."""
        return self._flat.histograms()

    def save(self) -> dict[str, Any]:
        """Returns parameters, optimizer and, where normalisation layers remember anything, buffers."""
        saved = {"parameters": self._flat.to_arrays(), "optimizer": self._optimizer.save()}
        return saved | {"buffers": copied_arrays(self._buffers)} if self._buffers else saved

    def load(self, saved: Mapping[str, Any]) -> None:
        """Goes on exactly from `save`.

        Raises:
          CheckpointError: it was another module's.
        """
        self.load_weights({**saved["parameters"], **(saved["buffers"] if self._buffers else {})})
        self._optimizer.load(saved["optimizer"])
