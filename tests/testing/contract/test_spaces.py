"""An algorithm that claims spaces has to learn in them."""

from dataclasses import replace

import pytest
from support.refusals import refused

from rlsys.api import Decision, PolicyContext, Spaces
from rlsys.api.spaces import action_kind, observation_kinds
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError
from rlsys.testing.algorithm import CHECKING, CheckingConfig, CheckingPolicy
from rlsys.testing.contract.spaces import EXAMPLES
from rlsys.types import Array, EnvSpec, State


class _Blind(CheckingPolicy):
    """Makes one choice, however many there are to make."""

    def __init__(self, context: PolicyContext) -> None:
        super().__init__(context)
        self._num_actions = max(1, context.env.num_actions)

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        counted = observation.copy()
        counted[:, 2] = state["steps"]
        return replace(super().act(counted, state, explore=explore), extras={"seen": counted, "value": counted[:, 2]})


def _refuses_others(config: CheckingConfig, env: EnvSpec, num_environments: int, num_ranks: int) -> None:
    if env.id != "rlsys/Counting-v0":
        raise ConfigError(f"'{env.id}' is not what this can do. Choose another environment.")


@pytest.mark.parametrize(
    ("spaces", "claim"),
    [(Spaces(("discrete", "numbers")), "numbers"), (Spaces(observations=("array", "parts")), "parts")],
)
def test_a_claim_that_no_environment_bears_out_is_told(spaces: Spaces, claim: str) -> None:
    sentence = rf"what `spaces` claims is there in an environment that it does not refuse; \['{claim}'\] is not"
    refused(replace(CHECKING, spaces=spaces, check=_refuses_others), sentence)


def test_a_policy_that_cannot_act_in_what_it_claims_is_told() -> None:
    refused(replace(CHECKING, spaces=Spaces(("discrete", "choices")), make_policy=_Blind), "actions have shape")


def test_the_examples_have_every_kind_of_action_and_of_observation() -> None:
    specs = [env_spec(EnvConfig(id=name)) for name in EXAMPLES]
    assert {action_kind(spec) for spec in specs} == {"discrete", "choices", "numbers"}
    assert set.union(*map(observation_kinds, specs)) == {"array", "integers", "parts"}
