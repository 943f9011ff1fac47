"""What evaluations are told by every algorithm: its discount, the extras of its values, its temperature."""

from typing import Any

import pytest

from rlsys import registry
from rlsys.api import Algorithm
from rlsys.config import EnvConfig
from rlsys.errors import ConfigError
from rlsys.evaluation.episodes import play_episodes
from rlsys.files.yaml_tree import at
from rlsys.runs.grid import cells
from rlsys.testing.processes import RankGroup
from rlsys.testing.training import Rank

DISCOUNTS = {
    "impala": "discounting",
    "iris": "actor_critic.gamma",
    "muzero": "discount",
    "planet": "discount",
    "ppo": "gae_gamma",
    "simple": "ppo.gae_gamma",
}
MODELS = {"muzero": "predicted_reward"}


def of(name: str) -> tuple[Algorithm, Any]:
    """Returns the algorithm, and its section as `debug=true` makes it."""
    algorithm = registry.get_algorithm(name, "a test")
    return algorithm, algorithm.config_type(**algorithm.debug)


@pytest.mark.parametrize("name", registry.names())
def test_the_discount_of_a_plot_is_the_sections(name: str) -> None:
    algorithm, section = of(name)
    discount = algorithm.values(section).discount
    assert discount == at(section.model_dump(), DISCOUNTS[name])
    assert 0.9 < discount < 1.0


@pytest.mark.parametrize("name", registry.names())
def test_evaluations_tell_the_values_and_predicted_rewards_that_are_stated(name: str) -> None:
    algorithm, section = of(name)
    config = EnvConfig(**algorithm.example_env)
    rank = Rank(algorithm, section, config, RankGroup(1, 0), 0, 1)
    rank.publish()
    (trace,) = play_episodes(rank.policy, config, 1, seed=0, max_environments=1, max_steps=3, traces=True).traces
    values = algorithm.values(section)
    told = {extra for extra in (values.extra, values.reward_extra) if extra}
    assert told <= {extra for extra, _ in trace.scalars()}
    assert values.reward_extra == MODELS.get(name, "")


@pytest.mark.parametrize("name", registry.names())
def test_the_temperature_that_is_stated_is_a_field_and_reaches_each_cell(name: str) -> None:
    algorithm, section = of(name)
    if not algorithm.temperature:
        with pytest.raises(ConfigError, match=f"temperature = 0.5; {name} always takes the best action"):
            cells(algorithm, section, EnvConfig(**algorithm.example_env), (0.0, 0.5), ())
        return
    found = cells(algorithm, section, EnvConfig(**algorithm.example_env), (0.0, 0.5), ())
    assert [cell.temperature for cell in found] == [0.0, 0.5]
    assert [cell.section.model_dump()[algorithm.temperature] for cell in found] == [0.0, 0.5]
