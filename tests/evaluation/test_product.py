"""The product of settings: what counts as several values, in which order, and what of it is left out."""

from typing import Any

import pytest

from rlsys import config
from rlsys.errors import ConfigError
from rlsys.evaluation.product import axes_of, product

MODEL = type(config.load("muzero-breakout").experiment)


@pytest.mark.parametrize(
    ("overrides", "axes"),
    [
        (["muzero.num_simulations=9"], {"muzero.num_simulations": ("9",)}),
        (["muzero.num_simulations=9", "muzero.num_simulations=3"], {"muzero.num_simulations": ("9", "3")}),
        (["muzero.num_simulations=[9, 3, 9]"], {"muzero.num_simulations": ("9", "3")}),
        (["muzero.only_prior=[false,true]"], {"muzero.only_prior": ("false", "true")}),
        (["muzero.search=[puct, 'gumbel']"], {"muzero.search": ("puct", "gumbel")}),
        (["env.max_episode_steps=[null,70]"], {"env.max_episode_steps": ("null", "70")}),
        (["muzero.value_support=[-15,15]"], {"muzero.value_support": ("[-15,15]",)}),
        (["muzero.fixed_temperatures=[1,0.5]", "muzero.fixed_temperatures=[]"],
         {"muzero.fixed_temperatures": ("[1,0.5]", "[]")}),
        (["env.id=[a,b]"], {"env.id": ("[a,b]",)}),
        (["muzero.unknown=[1,2]"], {"muzero.unknown": ("[1,2]",)}),
    ],
)  # fmt: skip
def test_a_list_is_several_values_unless_the_field_takes_lists(overrides: list[str], axes: dict[str, Any]) -> None:
    assert axes_of(overrides, MODEL) == axes


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("muzero.num_simulations=[]", r"muzero\.num_simulations = '\[\]' has no values\."),
        ("muzero.num_simulations=[1", r"muzero\.num_simulations = '\[1' is no list: "),
        ("num_simulations", "'num_simulations' is not KEY=VALUE"),
    ],
)
def test_what_has_no_values_is_refused_in_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        axes_of([override], MODEL)
    assert "\n" not in str(refused.value)


def without_both(chosen: Any) -> tuple[int, ...]:
    if chosen["a"] == chosen["b"] == 1 or chosen["b"] == 9:
        raise ConfigError(f"a = {chosen['a']} with b = {chosen['b']}.")
    return tuple(chosen.values())


def test_the_last_axis_varies_fastest_and_values_that_contradict_each_other_are_left_out() -> None:
    made, left_out = product({"a": [0, 1], "b": [0, 1], "c": [5, 6]}, without_both)
    assert made == [(0, 0, 5), (0, 0, 6), (0, 1, 5), (0, 1, 6), (1, 0, 5), (1, 0, 6)]
    assert [str(error) for error in left_out] == ["a = 1 with b = 1."] * 2


@pytest.mark.parametrize("axes", [{"a": [1], "b": [1]}, {"a": [0, 1], "b": [0, 9]}, {"a": [1], "b": [0, 1]}])
def test_a_value_with_which_nothing_can_be_made_is_an_error(axes: dict[str, list[int]]) -> None:
    with pytest.raises(ConfigError, match=r"a = \d with b = "):
        product(axes, without_both)
