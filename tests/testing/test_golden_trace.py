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
from rlsys.testing.golden_trace import differences, golden_path, make_trace, write


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
