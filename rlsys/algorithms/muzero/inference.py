"""The networks as search sees them: raw values and rewards, no gradients.

Shape legend: B batch, A actions, S state.
"""

from typing import Protocol

import torch
from torch import Tensor

from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.networks import FCNetwork, Network
from rlsys.algorithms.muzero.scalars import reward_code, value_code
from rlsys.nets.inference import FullyConnected, FusedFC
from rlsys.nets.precision import multiplies_bfloat16
from rlsys.planning.model import RecurrentOutput, RootOutput


class Inference(Protocol):
    """The model's two calls."""

    def initial(self, observation: Tensor) -> RootOutput:
        """Returns value, prior logits and state of raw observations."""

    def recurrent(self, state: Tensor, action_B: Tensor) -> RecurrentOutput:
        """Returns value, reward, prior logits and next state."""


def make_inference(network: Network, config: MuZeroConfig) -> Inference:
    """Returns the fastest inference for a network; call again after each change of its weights."""
    return _FCInference(network, config) if isinstance(network, FCNetwork) else _NetworkInference(network, config)


class _FCInference:
    """FCNetwork, packed for small batches on a CPU (`rlsys.nets.inference`)."""

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

    def recurrent(self, state: Tensor, action_B: Tensor) -> RecurrentOutput:
        return RecurrentOutput(*self._fused.recurrent(state, action_B))


class _NetworkInference:
    """Any architecture, on any device."""

    def __init__(self, network: Network, config: MuZeroConfig) -> None:
        self._network = network.eval()
        self._value, self._reward = value_code(config), reward_code(config)
        rounded, device = _is_rounded(network, config), _device(network)
        self._precision = torch.autocast(device.type, torch.bfloat16, enabled=rounded)

    @torch.inference_mode()
    def initial(self, observation: Tensor) -> RootOutput:
        with self._precision:
            state = self._network.represent(observation)
            value, policy = self._network.predict(state)
        return RootOutput(self._value.decode(value.float()), policy.float(), state)

    @torch.inference_mode()
    def recurrent(self, state: Tensor, action_B: Tensor) -> RecurrentOutput:
        with self._precision:
            next_state, features = self._network.transition(state, action_B)
            reward = self._network.predict_reward(features)
            value, policy = self._network.predict(next_state)
        decoded = self._value.decode(value.float()), self._reward.decode(reward.float())
        return RecurrentOutput(*decoded, policy.float(), next_state)


def _is_rounded(network: Network, config: MuZeroConfig) -> bool:
    return config.acting_precision == "bf16" and multiplies_bfloat16(_device(network))


def _device(network: Network) -> torch.device:
    return next(network.parameters()).device
