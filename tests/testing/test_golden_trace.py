"""A golden trace sees what changes, down to a hundredth of a setting, and says where."""

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlsys import registry
from rlsys.algorithms import muzero, ppo
from rlsys.api import Algorithm
from rlsys.testing.golden_trace import differences, golden_path, make_trace, without_rounding, write

GOLDEN = Path(__file__).parents[1] / "algorithms" / "golden"


def with_settings(algorithm: Algorithm, **settings: Any) -> Algorithm:
    return replace(algorithm, debug={**algorithm.debug, **settings})


@functools.cache
def golden_trace(name: str) -> dict[str, Any]:
    return make_trace(registry.get_algorithm(name, "a test"))


def test_a_training_is_the_same_each_time() -> None:
    assert make_trace(ppo.ALGORITHM) == golden_trace("ppo")


def test_what_is_written_is_what_was_traced(tmp_path: Path) -> None:
    write(tmp_path / "golden", "ppo")
    assert json.loads(golden_path(tmp_path / "golden", "ppo").read_text(encoding="utf-8")) == golden_trace("ppo")


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (ppo.ALGORITHM, {"gae_gamma": 0.991}),
        (ppo.ALGORITHM, {"entropy_loss_coef": 0.0101}),
        (muzero.ALGORITHM, {"value_loss_weight": 1.001}),
    ],
)
def test_a_setting_that_is_off_by_little_is_seen(algorithm: Algorithm, settings: dict[str, Any]) -> None:
    lines = differences(make_trace(with_settings(algorithm, **settings)), golden_trace(algorithm.name))
    assert lines
    assert all(", golden " in line for line in lines), lines


def test_names_that_come_and_go_are_named() -> None:
    assert differences({"a": 1, "b": 1.0}, {"b": 1.0, "c": 1}) == ["a is new", "c is gone"]
    assert differences({"a": [1, 2.0]}, {"a": [2, 2.00001]}) == ["a.0 = 1, golden 2"]


def test_what_rounding_alone_decides_is_not_compared() -> None:
    trace = {"steps": 3, "moved": [0.5, 0.2], "loss": 1.0}
    others = [{"steps": 3, "moved": [0.5, 0.3], "loss": 1.00001}, {"steps": 3, "moved": [0.5, 0.2], "loss": 1.0}]
    golden = without_rounding(trace, others)
    assert golden == {"steps": 3, "moved": [0.5, None], "loss": 1.0}
    assert without_rounding({"actions": 7}, [{"actions": 8}]) == {"actions": 7}, "what is counted is always compared"
    assert differences({"steps": 3, "moved": [0.5, 7.0], "loss": 1.0}, golden) == []
    assert differences({"steps": 3, "moved": [0.6, 0.2], "loss": 1.0}, golden) == ["moved.0 = 0.6, golden 0.5"]


def test_of_iris_those_are_biases_which_a_normalisation_takes_away_again() -> None:
    golden = json.loads(golden_path(GOLDEN, "iris").read_text(encoding="utf-8"))
    noise = [name for name, numbers in golden["weights"].items() if None in numbers.values()]
    assert noise and all(name.startswith("tokenizer.") and name.endswith("bias") for name in noise)
    assert not any(None in update["metrics"].values() or update["moved"] is None for update in golden["updates"])
    first = make_trace(registry.get_algorithm("iris", "a test"), rounding_seed=7)
    assert differences(first, golden) == []
