"""Which implementation computes a network's functions: the fused one where there is one, else torch's own.

Fused ones are FCNetwork's on CPUs, without value prefixes. On a GPU a step of a search is one graph, recorded once for
each size of batch (`rlsys.ops.captured`).
Shape legend: B batch, K unroll steps, S numbers of a state, M numbers that a value prefix remembers.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.efficientzero.prefix import ValuePrefix
from rlsys.algorithms.muzero.fused.inference import FusedFC
from rlsys.algorithms.muzero.fused.perceptrons import FullyConnected
from rlsys.algorithms.muzero.fused.unroll import FusedUnroll
from rlsys.algorithms.muzero.networks import FCNetwork, Network, Unroll
from rlsys.algorithms.muzero.scalars import reward_code, value_code
from rlsys.nets.precision import autocast, multiplies_bfloat16
from rlsys.ops.captured import Inputs, captured
from rlsys.planning.model import RecurrentOutput, RootOutput


class Inference(Protocol):
    """The networks as search sees them: raw values and rewards, no gradients.

    Attributes:
      follows: whether it computes with what weights are now, rather than with those that it was made of.
    """

    follows: bool

    def initial(self, observation: Tensor) -> RootOutput:
        """Returns value, prior logits and state of raw observations."""

    def recurrent(self, state: Tensor, action: Tensor) -> RecurrentOutput:
        """Returns value, reward, prior logits and next state; of actions as `Network.transition` takes them."""


def make_inference(network: Network, config: MuZeroConfig) -> Inference:
    """Returns the fastest inference for a network; one that does not follow changes of weights, for those of now."""
    if network.prefix is not None:
        return _PrefixInference(network, network.prefix, config)
    if isinstance(network, FCNetwork) and _device(network).type == "cpu":
        return _FCInference(network, config)
    return _NetworkInference(network, config)


def make_unroll(network: Network, device: torch.device, precision: str) -> Callable[[Tensor, Tensor], Unroll]:
    """Returns the fastest way to unroll a network with gradients.

    Args:
      network: on the device; its weights are read at each call.
      device: that computes.
      precision: "fp32", or "bf16" for products of that where the device has them; outputs are float32.

    Returns:
      A function of observations `[B, ...]` and actions `[B, K]`, or numbers `[B, K, D]`.
    """
    if isinstance(network, FCNetwork) and network.prefix is None and device.type == "cpu":
        rounds = precision == "bf16" and multiplies_bfloat16(device)
        return FusedUnroll(network, torch.bfloat16 if rounds else torch.float32)

    def unroll(observation: Tensor, action_BK: Tensor) -> Unroll:
        with autocast(precision, device):
            return Unroll(*(output.float() for output in network.unroll(observation, action_BK)))

    return unroll


class _FCInference:
    """FCNetwork, packed for small batches on a CPU (`FusedFC`)."""

    follows = False

    def __init__(self, network: FCNetwork, config: MuZeroConfig) -> None:
        self._rescale = network.rescale
        perceptrons = FullyConnected(
            representation=(network.representation.hidden, network.representation.out),
            dynamics=(network.dynamics.hidden, network.dynamics.out),
            reward=(network.reward.hidden, network.reward.out),
            value=(network.value.hidden, network.value.out),
            policy=(network.policy.hidden, network.policy.out),
            num_actions=network.sizes.num_actions,
            value_support=value_code(config).support,
            reward_support=reward_code(config).support,
            inverse_transform=not config.no_target_transform,
        )
        self._fused = FusedFC(perceptrons, precision="bfloat16" if _is_rounded(network, config) else "float32")

    def initial(self, observation: Tensor) -> RootOutput:
        return RootOutput(*self._fused.initial(self._rescale(observation).flatten(start_dim=1)))

    def recurrent(self, state: Tensor, action: Tensor) -> RecurrentOutput:
        return RecurrentOutput(*self._fused.recurrent(state, action))


class _NetworkInference:
    """Any architecture, on any device."""

    follows = True

    def __init__(self, network: Network, config: MuZeroConfig) -> None:
        self._network = network.eval()
        self._value, self._reward = value_code(config), reward_code(config)
        rounded, device = _is_rounded(network, config), _device(network)
        self._precision = torch.autocast(device.type, torch.bfloat16, enabled=rounded)
        self._recurrent = captured(self._step_decoded, device)

    @torch.inference_mode()
    def initial(self, observation: Tensor) -> RootOutput:
        with self._precision:
            state = self._network.represent(observation)
            value, policy = self._network.predict(state)
        return RootOutput(self._value.decode(value.float()), policy.float(), state)

    @torch.inference_mode()
    def recurrent(self, state: Tensor, action: Tensor) -> RecurrentOutput:
        return self._recurrent({"state": state, "action": action})

    def _step_decoded(self, inputs: Inputs) -> RecurrentOutput:
        value_B, reward, policy, next_state = self.step(inputs["state"], inputs["action"])
        return RecurrentOutput(value_B, self._reward.decode(reward), policy, next_state)

    def step(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns what `recurrent` does, but of the reward what its head gives."""
        with self._precision:
            next_state, features = self._network.transition(state, action)
            reward = self._network.predict_reward(features)
            value, policy = self._network.predict(next_state)
        return self._value.decode(value.float()), reward.float(), policy.float(), next_state


class _PrefixInference:
    """Any architecture with value prefixes: what these remember is a part of the state that a search keeps.

    That is `[B, S + M]`, a flat state and the memory behind it.
    """

    follows = True

    def __init__(self, network: Network, prefix: ValuePrefix, config: MuZeroConfig) -> None:
        self._plain = _NetworkInference(network, config)
        self._network, self._prefix = network, prefix
        self._decode = reward_code(config).decode
        self._recurrent = captured(self._step_decoded, _device(network))

    @torch.inference_mode()
    def initial(self, observation: Tensor) -> RootOutput:
        root = self._plain.initial(observation)
        return root._replace(embedding=self._joined(root.embedding, self._prefix.begin(root.embedding)))

    @torch.inference_mode()
    def recurrent(self, state: Tensor, action: Tensor) -> RecurrentOutput:
        return self._recurrent({"state": state, "action": action})

    def _step_decoded(self, inputs: Inputs) -> RecurrentOutput:
        state, action = inputs["state"], inputs["action"]
        flat, memory_BM = torch.split(state, [self._network.state_size, self._prefix.memory_size], dim=1)
        value_B, features, policy, after = self._plain.step(flat.reshape(-1, *self._network.state_shape), action)
        reward_B, memory_BM = self._prefix.step(features, memory_BM, self._decode)
        return RecurrentOutput(value_B, reward_B, policy, self._joined(after, memory_BM))

    def _joined(self, state: Tensor, memory_BM: Tensor) -> Tensor:
        return torch.cat([state.float().flatten(start_dim=1), memory_BM], dim=1)


def _is_rounded(network: Network, config: MuZeroConfig) -> bool:
    return config.acting_precision == "bf16" and multiplies_bfloat16(_device(network))


def _device(network: Network) -> torch.device:
    return next(network.parameters()).device
