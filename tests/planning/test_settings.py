"""Planners' settings: what is refused, in one line."""

import pytest
from pydantic import ValidationError

from rlsys.errors import ConfigError
from rlsys.planning.settings import PlannerConfig
from rlsys.types import ArraySpec, EnvSpec

_SEEN = ArraySpec((4,), "float32")
DISCRETE = EnvSpec("CartPole-v1", _SEEN, ArraySpec((), "int64"), 2)
NUMBERS = EnvSpec("Pendulum-v1", _SEEN, ArraySpec((1,), "float32"), 0, action_low=(-2.0,), action_high=(2.0,))
CHOICES = EnvSpec("Choices-v0", _SEEN, ArraySpec((2,), "int64"), 0, action_choices=(3, 4))


@pytest.mark.parametrize("kind", ["cem", "icem", "mppi"])
def test_more_elites_than_candidates_are_refused(kind: str) -> None:
    PlannerConfig.model_validate({"kind": kind, "candidates": 10, "elites": 10})
    with pytest.raises(ValidationError, match="elites = 11 of candidates = 10; there are at most as many"):
        PlannerConfig.model_validate({"kind": kind, "candidates": 10, "elites": 11})


def test_a_tree_has_no_elites() -> None:
    PlannerConfig.model_validate({"kind": "tree", "candidates": 10})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "random"}, "'cem', 'icem', 'mppi' or 'tree'"),
        ({"candidates": 0}, "greater than or equal to 1"),
        ({"horizon": 0}, "greater than or equal to 1"),
        ({"iterations": 0}, "greater than or equal to 1"),
        ({"discount": 1.1}, "less than or equal to 1"),
        ({"temperature": 0.0}, "greater than or equal to"),
        ({"initial_std": 0.0}, "greater than 0"),
        ({"momentum": 1.0}, "less than 1"),
        ({"candidates_decay": 0.5}, "greater than or equal to 1"),
        ({"discrete_select": "mean"}, "'best' or 'belief'"),
        ({"topk": 3}, "Extra inputs"),
    ],
)
def test_a_value_that_cannot_be_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PlannerConfig.model_validate(settings)


@pytest.mark.parametrize("kind", ["cem", "icem", "mppi", "tree"])
def test_an_action_is_as_many_numbers_as_the_environment_says(kind: str) -> None:
    config = PlannerConfig.model_validate({"kind": kind})
    assert config.action_size(DISCRETE, "planet.planner") == 2
    if kind != "tree":
        assert config.action_size(NUMBERS, "planet.planner") == 1


@pytest.mark.parametrize("kind", ["cem", "icem", "mppi", "tree"])
def test_a_planner_that_does_not_fit_the_actions_is_refused_in_one_line(kind: str) -> None:
    config = PlannerConfig.model_validate({"kind": kind})
    with pytest.raises(ConfigError) as refused:
        config.action_size(CHOICES, "planet.planner")
    assert "'Choices-v0' acts with MultiDiscrete([3, 4])" in str(refused.value) and "\n" not in str(refused.value)


def test_a_tree_of_numbers_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        PlannerConfig(kind="tree").action_size(NUMBERS, "planet.planner")
    assert str(refused.value) == (
        "planet.planner.kind = 'tree' with 'Pendulum-v1', which acts with Box(-2, 2, (1,)); tree search needs discrete "
        "actions. Choose cem, icem or mppi."
    )
