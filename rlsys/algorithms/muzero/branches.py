"""What a search branches to in a node, and what its branches stand for: all actions, or those that the node draws.

Where chance has a part in it, see `stochastic/branches.py`.

Shape legend: B batch, A branches of a node, M actions taken from one search, D factors of an action (`actions.py`), P
size of the policy head, N values of a factor, R nodes.
"""

from typing import Protocol

import numpy as np
from torch import Tensor

from rlsys.algorithms.muzero.actions import ActionCode
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.fused.dispatch import Inference, make_inference
from rlsys.algorithms.muzero.networks import Network
from rlsys.algorithms.muzero.stochastic.branches import ActionsAndChance
from rlsys.planning.mcts import SearchResult
from rlsys.planning.model import RecurrentOutput, RootOutput, to_array
from rlsys.planning.sampled import SampledModel
from rlsys.types import Array


class Branches(Protocol):
    """How the networks come to a search, and how what it found comes back.

    Attributes:
      discount: of what a branch leads to, below 0 where that is the opponent's.
      chance_after: actions of a state, where chance has every second move; else None.
    """

    discount: float
    chance_after: int | None

    def root(self, root: RootOutput, rng: np.random.Generator | None) -> RootOutput:
        """Returns what a search starts from, with `[B, A]` logits, of the networks' view, with `[B, P]`.

        Args:
          root: the networks' view; logits of illegal actions are -inf.
          rng: what is drawn from; None to draw the same every time.
        """

    def recurrent(self, embedding: Tensor, action_B: Tensor) -> RecurrentOutput:
        """Goes along a branch of each node."""

    def choice(self, embedding: Tensor, action_B: Array) -> Array:
        """Returns `[B, D]` int64: the values that a branch of each node stands for."""

    def target(self, root: RootOutput, share_BA: Array) -> Array:
        """Returns how shares of the roots' branches fall to the values of each factor, `[B, *policy_shape]`."""

    def reward(self, result: SearchResult, action_B: Array) -> Array:
        """Returns `[B]`, what is foretold for a branch of each root, which has been searched."""

    def likely_reward(self, state: Tensor, action: Tensor) -> Array:
        """Returns `[B]`, the same without a search, of the networks' states and of actions as these are told them."""

    def names(self, embedding: Tensor) -> dict[str, Array]:
        """Returns `name: [R, A]`, what branches of nodes are called where that differs from node to node; else `{}`."""


class _Actions:
    """Branches that are actions, and nothing else."""

    def __init__(self, inference: Inference, config: MuZeroConfig) -> None:
        self._inference = inference
        self.discount = config.signed_discount
        self.chance_after: int | None = None

    def reward(self, result: SearchResult, action_B: Array) -> Array:
        """See `Branches`."""
        rewards: Array = result.tree.reward[np.arange(len(action_B)), 0, action_B]
        return rewards

    def likely_reward(self, state: Tensor, action: Tensor) -> Array:
        """See `Branches`."""
        return to_array(self._inference.recurrent(state, action).reward)


class EveryAction(_Actions):
    """A branch for each discrete action."""

    def __init__(self, inference: Inference, config: MuZeroConfig) -> None:
        super().__init__(inference, config)
        self.recurrent = inference.recurrent

    def root(self, root: RootOutput, rng: np.random.Generator | None) -> RootOutput:
        """See `Branches`."""
        return root

    def choice(self, embedding: Tensor, action_B: Array) -> Array:
        """See `Branches`."""
        return action_B[:, None]

    def target(self, root: RootOutput, share_BA: Array) -> Array:
        """See `Branches`."""
        return share_BA

    def names(self, embedding: Tensor) -> dict[str, Array]:
        """See `Branches`."""
        return {}


class DrawnActions(_Actions):
    """A branch for each of `sampled_actions` draws."""

    def __init__(self, inference: Inference, config: MuZeroConfig, code: ActionCode) -> None:
        assert config.sampled_actions is not None
        super().__init__(inference, config)
        self._code = code
        self._model = SampledModel(
            self._step,
            code.values,
            num_samples=config.sampled_actions,
            num_factors=code.num_factors,
            temperature=config.sampling_temperature,
        )
        self.root, self.recurrent = self._model.root, self._model.recurrent

    def choice(self, embedding: Tensor, action_B: Array) -> Array:
        """See `Branches`."""
        chosen: Array = self._model.drawn(embedding)[np.arange(len(action_B)), action_B]
        return chosen

    def target(self, root: RootOutput, share_BA: Array) -> Array:
        """See `Branches`."""
        is_value_BADN = self._model.drawn(root.embedding)[..., None] == np.arange(self._code.num_values)
        target_BDN: Array = np.einsum("ba,badn->bdn", share_BA, is_value_BADN)
        return target_BDN.reshape(-1, *self._code.policy_shape)

    def names(self, embedding: Tensor) -> dict[str, Array]:
        """See `Branches`."""
        drawn_RAD = self._model.drawn(embedding)
        names = self._code.names(drawn_RAD.reshape(-1, drawn_RAD.shape[2]))
        return {"name": np.array(names).reshape(drawn_RAD.shape[:2])}

    def _step(self, state: Tensor, value_BD: Tensor) -> RecurrentOutput:
        return self._inference.recurrent(state, value_BD if self._code.is_numbers else value_BD[:, 0].long())


def make_branches(network: Network, inference: Inference, config: MuZeroConfig, code: ActionCode) -> Branches:
    """Returns what searches with these networks, and the inference of them, branch to."""
    if network.chance is not None:
        return ActionsAndChance(inference, make_inference(network.chance.afterstates, config), config, code)
    return EveryAction(inference, config) if config.sampled_actions is None else DrawnActions(inference, config, code)


def choices_along(branches: Branches, result: SearchResult, action_BM: Array) -> Array:
    """Returns `[B, M, D]`: the values that branches along a path from each root stand for; -1 where there is none."""
    num_roots, num_steps = action_BM.shape
    row = np.arange(num_roots)
    choices = []
    for step in range(num_steps):
        action_B = action_BM[:, step]
        choice_BD = branches.choice(result.embedding[row], action_B)
        choices.append(np.where(action_B[:, None] < 0, -1, choice_BD))
        row = np.where(action_B < 0, 0, result.tree.edges["child"][row, action_B])
    return np.stack(choices, axis=1)
