"""The layers of MuZero's five functions, and how the weights of those that share an input are packed.

Shape legend: O observation features, D state features, A actions, or numbers of an action, U hidden units, P outputs,
padded with zeros to full vector registers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.errors import WorkerError

TwoLayers = tuple[nn.Linear, nn.Linear]
"""Input and output layer; a ReLU lies between them."""
Support = tuple[int, int]
"""Lowest and highest integer atom of a categorical value or reward."""

_LANES = 16  # float32 numbers in the widest vector register


@dataclass(frozen=True)
class FullyConnected:
    """MuZero's five functions as perceptrons.

    Attributes:
      representation: observation `[O]` -> state `[D]`, which then passes a ReLU and is scaled to [0, 1].
      dynamics: state and action `[D + A]`, one-hot or numbers -> next state `[D]`, likewise.
      reward: state and action `[D + A]` -> logits of the reward's atoms, or the reward itself `[1]`.
      value: state `[D]` -> logits of the value's atoms, or the value itself `[1]`.
      policy: state `[D]` -> logits, of whatever number.
      num_actions: A of one-hot actions; 0 where actions are numbers.
      value_support: atoms of the value, None where the network predicts a scalar.
      reward_support: atoms of the reward, likewise.
      inverse_transform: True where values and rewards are predicted as h(x), so that h⁻¹ must bring them back.

    Raises:
      WorkerError: a weight is not finite.
    """

    representation: TwoLayers
    dynamics: TwoLayers
    reward: TwoLayers
    value: TwoLayers
    policy: TwoLayers
    num_actions: int
    value_support: Support | None
    reward_support: Support | None
    inverse_transform: bool = True

    def __post_init__(self) -> None:
        for head, support in ((self.value, self.value_support), (self.reward, self.reward_support)):
            num_outputs = 1 if support is None else support[1] - support[0] + 1
            assert head[1].out_features == num_outputs, (head[1].out_features, support)
        for name in ("representation", "dynamics", "reward", "value", "policy"):
            parameters = [parameter for layer in getattr(self, name) for parameter in layer.parameters()]
            if not all(bool(parameter.isfinite().all()) for parameter in parameters):
                raise WorkerError(
                    f"the {name} network has weights that are not finite; search needs numbers. Go back to the last "
                    "good checkpoint, and clip gradients or lower the learning rate."
                )


def detached(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Returns copies of weight and bias."""
    return layer.weight.detach().clone(), layer.bias.detach().clone()


def joined_input(first: TwoLayers, second: TwoLayers) -> tuple[Tensor, Tensor]:
    """Returns weight `[U, D + A]` and bias `[U]` of both hidden layers."""
    layers = detached(first[0]), detached(second[0])
    return torch.cat([weight for weight, _ in layers]), torch.cat([bias for _, bias in layers])


def split_input(first: TwoLayers, second: TwoLayers, num_actions: int) -> tuple[Tensor, Tensor]:
    """Returns the weight `[D, U]` of a state, and the bias of each action, `[A, U]`, or `[1, U]` without any."""
    weight_UI, bias_U = joined_input(first, second)
    num_features = weight_UI.shape[1] - num_actions
    bias_AU = bias_U + weight_UI[:, num_features:].t() if num_actions else bias_U[None]
    return weight_UI[:, :num_features].t().contiguous(), bias_AU.contiguous()


def padded_output(perceptron: TwoLayers) -> Tensor:
    """Returns the weight of the output layer, `[U, P]`."""
    weight, _ = detached(perceptron[1])
    return functional.pad(weight, (0, 0, 0, -len(weight) % _LANES)).t().contiguous()
