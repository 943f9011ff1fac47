"""What a search found out about each observation, and what of it other parts want to know.

Shape legend: B batch, A actions, D factors of an action (`actions.py`), M actions taken from one search, N nodes of a
tree.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from rlsys.algorithms.muzero.actions import ActionCode
from rlsys.algorithms.muzero.requirements import PREDICTED_REWARD, ROOT_VALUE, VISITS
from rlsys.planning.tree import Tree
from rlsys.types import Array, State


@dataclass(frozen=True)
class Choice:
    """A decision for B observations, and its reasons. While a plan is followed it is the policy's state.

    Attributes:
      action: `[B, M, D]` int64, the values of actions to be taken one after the other; -1 where a plan is over.
      reward: `[B, M]` float64, what the model predicts for them.
      visit_probabilities: `[B, A]` float64, or `[B, D, values]` of numbers, the policy target.
      root_value: `[B]` float64, what value targets bootstrap from.
      network_value: `[B]` float64, the network's own value.
      depth: `[B]` int64, edges of the search's longest path.
    """

    action: Array
    reward: Array
    visit_probabilities: Array
    root_value: Array
    network_value: Array
    depth: Array

    @classmethod
    def none_yet(cls, batch_size: int, code: ActionCode, num_steps: int) -> "Choice":
        """Returns plans of M = `num_steps` actions that are all over."""
        return cls(
            action=np.full((batch_size, num_steps, code.num_factors), -1, np.int64),
            reward=np.zeros((batch_size, num_steps)),
            visit_probabilities=np.zeros((batch_size, *code.policy_shape)),
            root_value=np.zeros(batch_size),
            network_value=np.zeros(batch_size),
            depth=np.zeros(batch_size, np.int64),
        )

    @property
    def is_over(self) -> Array:
        """`[B]` bool, where there is no next action."""
        return np.asarray(self.action[:, 0, 0] < 0)

    @property
    def state(self) -> State:
        """All of it, as a policy's state."""
        return dict(vars(self))

    def with_rows(self, rows: Array, other: "Choice") -> "Choice":
        """Returns a copy in which row `rows[i]` is row i of `other`."""
        merged = {name: values.copy() for name, values in self.state.items()}
        for name, values in other.state.items():
            merged[name][rows] = values
        return Choice(**merged)

    def after_one_action(self) -> "Choice":
        """Returns the rest of the plans."""
        action, reward = np.full_like(self.action, -1), np.zeros_like(self.reward)
        action[:, :-1], reward[:, :-1] = self.action[:, 1:], self.reward[:, 1:]
        return dataclasses.replace(self, action=action, reward=reward)

    def stored_extras(self) -> dict[str, Array]:
        """Returns what replay keeps."""
        return {
            VISITS: self.visit_probabilities.astype(np.float32),
            ROOT_VALUE: self.root_value.astype(np.float32),
        }

    def shown_extras(self) -> dict[str, Array]:
        """Returns what the model expected, to be seen beside what then happens."""
        return {
            PREDICTED_REWARD: self.reward[:, 0].astype(np.float32),
            "predicted_value": self.network_value.astype(np.float32),
            "search_depth": self.depth.astype(np.float32),
        }


def tree_arrays(tree: Tree, root: int) -> dict[str, Array]:
    """Returns copies of what one root's tree holds per node and action, `[N, A]` each, by the names of `Tree`."""
    names = ("child", "prior", "reward", "visit_count", "value_sum", "q_value")
    return {name: getattr(tree, name)[root].copy() for name in names}
