"""What acts: PPO's policy, at the temperature that SimPLe's evaluations have."""

from dataclasses import replace

from rlsys.algorithms.ppo.policy import PPOPolicy
from rlsys.algorithms.simple.config import SimpleConfig
from rlsys.api import PolicyContext


class SimplePolicy(PPOPolicy):
    """Acts in real environments; it never looks into the world model."""

    def __init__(self, context: PolicyContext) -> None:
        config: SimpleConfig = context.config
        ppo = config.ppo.model_copy(update={"eval_temperature": config.eval_temperature})
        super().__init__(replace(context, config=ppo))
