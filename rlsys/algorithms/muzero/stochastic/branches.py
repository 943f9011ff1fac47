"""What a search branches to with chance: actions, and codes of what comes of them, by turns.

Shape legend: B batch, A actions, C codes, W branches (the larger of A and C), R nodes.
"""

import numpy as np
import torch
from torch import Tensor

from rlsys.algorithms.muzero.actions import ActionCode
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.fused.dispatch import Inference
from rlsys.planning.chance import AfterstateOutput, ChanceModel
from rlsys.planning.mcts import SearchResult
from rlsys.planning.model import RecurrentOutput, RootOutput, to_array
from rlsys.types import Array


class ActionsAndChance:
    """A branch for each discrete action of a state, and for each code of an afterstate; see `branches.Branches`."""

    def __init__(self, inference: Inference, afterstates: Inference, config: MuZeroConfig, code: ActionCode) -> None:
        """Takes the networks: one makes afterstates of states and actions, the other states of those and codes."""
        assert config.chance_codes is not None
        self._inference, self._afterstates, self._code = inference, afterstates, code
        self._num_codes = config.chance_codes
        self._model = ChanceModel(
            self._act,
            self._happen,
            num_actions=code.num_values,
            num_codes=config.chance_codes,
            discount=config.discount,
        )
        self.recurrent = self._model.recurrent
        self.discount = self._model.discount
        self.chance_after: int | None = code.num_values

    def root(self, root: RootOutput, rng: np.random.Generator | None) -> RootOutput:
        """See `Branches`."""
        return self._model.root(root)

    def choice(self, embedding: Tensor, action_B: Array) -> Array:
        """See `Branches`."""
        return action_B[:, None]

    def target(self, root: RootOutput, share_BA: Array) -> Array:
        """See `Branches`."""
        return share_BA[:, : self._code.num_values]

    def reward(self, result: SearchResult, action_B: Array) -> Array:
        """See `Branches`: the mean over what could happen, as far as it was searched; 0 where nothing was."""
        tree = result.tree
        afterstate_B = tree.edges["child"][np.arange(len(action_B)), action_B]
        visits_BW = tree.edges["visit_count"][afterstate_B]
        reward_BW = tree.edges["reward"][afterstate_B] * self.discount
        return np.asarray((visits_BW * reward_BW).sum(axis=1) / visits_BW.sum(axis=1).clip(min=1))

    def likely_reward(self, state: Tensor, action: Tensor) -> Array:
        """See `Branches`: that of the likeliest code."""
        afterstate = self._act(state, action)
        return to_array(self._happen(afterstate.embedding, afterstate.code_logits.argmax(dim=1)).reward)

    def names(self, embedding: Tensor) -> dict[str, Array]:
        """See `Branches`."""
        num_branches = max(self._code.num_values, self._num_codes)
        actions = self._code.names(np.arange(self._code.num_values)[:, None])
        codes = [f"code {code}" for code in range(self._num_codes)]
        of_states, of_afterstates = (np.array(names + [""] * (num_branches - len(names))) for names in (actions, codes))
        is_chance_R = self._model.is_chance(embedding).cpu().numpy()
        return {"name": np.where(is_chance_R[:, None], of_afterstates, of_states)}

    def _act(self, state: Tensor, action_B: Tensor) -> AfterstateOutput:
        value_B, _, code_logits_BC, afterstate = self._afterstates.recurrent(state, action_B)
        return AfterstateOutput(value_B, code_logits_BC, afterstate)

    def _happen(self, afterstate: Tensor, code_B: Tensor) -> RecurrentOutput:
        one_hot_BC = torch.nn.functional.one_hot(code_B, self._num_codes).float()
        return self._inference.recurrent(afterstate, one_hot_BC)
