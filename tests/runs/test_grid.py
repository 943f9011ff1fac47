"""Evaluation in a grid: what each cell plays, and how it is called."""

from collections.abc import Callable
from typing import Any

import pytest
from support.games import COUNTING, SEARCHING

from rlsys import registry
from rlsys.config import EnvConfig
from rlsys.envs.families.atari import AtariConfig
from rlsys.envs.make import make
from rlsys.errors import ConfigError, EnvError
from rlsys.runs.grid import cells, environments
from rlsys.runs.resolve import check
from rlsys.testing.algorithm import CHECKING


def noops_played(config: EnvConfig, seed: int) -> int:
    env = make(config, seed, training=False)
    env.reset()
    return int(env.unwrapped.ale.getEpisodeFrameNumber())  # type: ignore[attr-defined]


@pytest.mark.parametrize("env_id", ["BreakoutNoFrameskip-v4", "BreakoutDeterministic-v4"])
def test_no_ops_are_counted_in_decisions_and_drawn_in_the_emulators_steps(env_id: str) -> None:
    config = AtariConfig(id=env_id, frame_skip=1 if "Deterministic" in env_id else 4, noop_reset=True, noop_max=12)
    (most, own), (none, without), (three, changed) = *environments(config, ()), *environments(config, (0, 3))
    assert (most, own) == (12.0 if "Deterministic" in env_id else 3.0, config)
    assert (none, without) == (0.0, config.model_copy(update={"noop_reset": False}))
    assert environments(without, ()) == [(0.0, without)]
    played = {noops_played(changed, seed) for seed in range(40)}
    assert (three, min(played), max(played)) == (3.0, 0, 12)
    assert all(count % 4 == 0 for count in played) is ("Deterministic" in env_id)


def test_where_there_are_no_no_ops_none_can_be_asked_for() -> None:
    assert environments(EnvConfig(id="CartPole-v1"), (0,)) == [(0.0, EnvConfig(id="CartPole-v1"))]
    assert environments(EnvConfig(id="BreakoutNoFrameskip-v4"), ()) == [(0.0, AtariConfig(id="BreakoutNoFrameskip-v4"))]
    with pytest.raises(EnvError, match=r"no-ops = 3 with 'CartPole-v1'; only Atari games have them"):
        environments(EnvConfig(id="CartPole-v1"), (0, 3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"evaluation_temperatures": (0.0, 0.5)},
            r"run\.evaluation_temperatures .* temperature = 0\.5; checking always",
        ),
        ({"evaluation_noops": (8,)}, r"run\.evaluation_noops: no-ops = 8 with 'rlsys/Counting-v0'; only Atari games"),
        (
            {"evaluation_temperatures": (0.0,), "evaluation_explore": True},
            r"run\.evaluation_temperatures with run\.evaluation_explore = True",
        ),
    ],
)
def test_a_grid_that_cannot_be_played_is_refused_before_anything_starts(
    make_spec: Callable[..., Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check(make_spec(run=settings))


def test_the_grid_of_a_section_with_a_temperature_has_it_in_each_cell(make_spec: Callable[..., Any]) -> None:
    spec = make_spec(run={"evaluation_temperatures": (0.0, 0.5)})
    object.__setattr__(spec, "algorithm", SEARCHING)
    object.__setattr__(spec, "section", SEARCHING.config_type(eval_temperature=0.25))
    assert [cell.section.eval_temperature for cell in spec.evaluation_grid] == [0.0, 0.5]
    assert [cell.temperature for cell in spec.evaluation_grid] == [0.0, 0.5]
    assert [cell.name for cell in spec.evaluation_grid] == [f"sampling_temp_{t}_max_noops_0" for t in ("0.0", "0.5")]


def test_without_a_grid_the_temperature_is_the_sections_own() -> None:
    (cell,) = cells(SEARCHING, SEARCHING.config_type(eval_temperature=0.25), COUNTING, (), ())
    assert (cell.temperature, cell.section.eval_temperature, cell.max_noops) == (0.25, 0.25, 0.0)
    (greedy,) = cells(CHECKING, CHECKING.config_type(), COUNTING, (0.0,), ())
    assert greedy.temperature == 0.0


def test_a_temperature_that_the_section_cannot_have_is_refused() -> None:
    muzero = registry.get_algorithm("muzero", "a test")
    with pytest.raises(ConfigError, match=r"muzero\.eval_temperature = 0\.5: search = gumbel draws actions by itself"):
        cells(muzero, muzero.config_type(search="gumbel"), COUNTING, (0.5,), ())
