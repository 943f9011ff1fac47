"""What sequences are worth to whoever acts: the fused roll-out says what the model's own steps do."""

import pytest
import torch

from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.decisions import Decisions
from rlsys.algorithms.planet.inputs import Actions
from rlsys.algorithms.planet.networks import Agent
from rlsys.planning.shooting.rollout import rollout_score
from rlsys.types import ArraySpec, EnvSpec

ENV = EnvSpec("Pictures-v0", ArraySpec((16, 16, 3), "uint8"), ArraySpec((), "int64"), 3)


@pytest.mark.parametrize("bootstraps", [True, False])
@pytest.mark.parametrize("future_rnn", [True, False])
def test_the_fused_roll_out_is_the_models(bootstraps: bool, future_rnn: bool) -> None:
    torch.manual_seed(0)
    config = PlanetConfig.model_validate(
        {
            "model_size": 12,
            "state_size": 5,
            "image_depth": 2,
            "head_layers": 2,
            "head_units": 9,
            "mean_only": True,  # what is drawn is drawn in another order
            "future_rnn": future_rnn,
            "bootstraps": bootstraps,
            "precision": "fp32",
            "planner": {"discount": 0.9},
        }
    )
    actions = Actions(ENV, torch.device("cpu"))
    decisions = Decisions(config, Agent(config, ENV), actions, torch.Generator())
    state = {"mean": torch.zeros(2, 5), "stddev": torch.ones(2, 5), "sample": torch.randn(2, 5)}
    state["belief"] = torch.randn(2, 12).tanh()
    candidates = torch.nn.functional.one_hot(torch.randint(3, (2, 20, 6)), 3).float()
    value = decisions._value if bootstraps else None
    with torch.no_grad():
        wanted = rollout_score(decisions._step, state, discount=0.9, value=value)(candidates)
    assert torch.allclose(decisions._score(state)(candidates), wanted, atol=1e-5)
