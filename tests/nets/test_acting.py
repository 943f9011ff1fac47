"""What policies have in common that draw actions from a distribution whose parameters one network says."""

import copy

import numpy as np
import torch
from torch import nn

from rlsys.api import Decision, PolicyContext
from rlsys.nets.acting import NetworkPolicy
from rlsys.nets.distributions.categorical import Categorical
from rlsys.types import Array, ArraySpec, EnvSpec, State, Weights

ENV = EnvSpec("x", ArraySpec((3,), "float32"), ArraySpec((), "int64"), num_actions=2)
LOGITS = np.tile(np.log(np.array([0.5, 0.2, 0.3])), (1_000, 1))


class OneLayer(NetworkPolicy[nn.Linear]):
    """As little of a policy as there can be."""

    def initial_state(self, batch_size: int) -> State:
        return {}

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        with torch.no_grad():
            logits = self._network(self.to_device(observation)).numpy()
        return Decision(self.draw(logits, float(explore)), {})


def make_policy() -> OneLayer:
    return OneLayer(PolicyContext(None, ENV, seed=1), nn.Linear(3, 2), Categorical(), "fp32")


def test_a_restored_stream_draws_the_same() -> None:
    policy, twin = make_policy(), make_policy()
    policy.draw(LOGITS, 1.0)
    twin.load(copy.deepcopy(policy.save()))
    assert np.array_equal(policy.draw(LOGITS, 1.0), twin.draw(LOGITS, 1.0))


def test_it_acts_with_the_arrays_that_it_was_given_and_has_none_before() -> None:
    policy = make_policy()
    assert policy.weights() == {}
    arrays = {"weight": np.eye(2, 3, dtype=np.float32), "bias": np.zeros(2, np.float32)}
    for array in arrays.values():
        array.flags.writeable = False  # as memory that processes share
    policy.set_weights(Weights(0, 0, arrays))
    assert all(np.shares_memory(policy.weights()[name], array) for name, array in arrays.items())
    observation = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 5.0]], np.float32)
    assert policy.act(observation, {}, explore=False).action.tolist() == [0, 1]
