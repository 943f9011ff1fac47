"""The acting side of PPO: draws actions, and remembers how probable they were and what was expected.

Shape legend: B environments, P parameters of a distribution of actions.
"""

import torch

from rlsys.algorithms.ppo.config import PPOConfig
from rlsys.algorithms.ppo.networks import ActorCritic
from rlsys.algorithms.ppo.requirements import LOG_PROBABILITY, VALUE
from rlsys.api import Decision, PolicyContext
from rlsys.nets.acting import NetworkPolicy
from rlsys.nets.distributions.make import make_distribution
from rlsys.nets.distributions.spaces import drawn_extras
from rlsys.types import Array, State


class PPOPolicy(NetworkPolicy[ActorCritic]):
    """A network that is given its weights."""

    def __init__(self, context: PolicyContext) -> None:
        self._config: PPOConfig = context.config
        distribution = make_distribution(self._config, context.env)
        super().__init__(context, ActorCritic(self._config, context.env), distribution, self._config.acting_precision)
        self._extras = drawn_extras(context.env)

    def initial_state(self, batch_size: int) -> State:
        """Returns `{}`: a stack of frames is all that it remembers."""
        return {}

    @torch.inference_mode()
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Draws an action for each observation, at temperature 1 or, in evaluations, `eval_temperature`."""
        with self._precision:
            output = self._network(self.to_device(observation))
        policy_BP, value_B = output.policy.cpu().numpy(), output.value.cpu().numpy()
        drawn = self.draw(policy_BP, 1.0 if explore else self._config.eval_temperature)
        extras = {
            LOG_PROBABILITY: self._distribution.acting_log_probability(policy_BP, drawn),
            VALUE: value_B,
            **dict.fromkeys(self._extras, drawn),
        }
        return Decision(self._distribution.action(drawn), state, extras)
