"""Runs beside what was published, on the games that they have in common."""

import numpy as np
import pytest

from rlsys.errors import ConfigError
from rlsys.metrics.suites.comparison import THRESHOLDS, Comparison
from rlsys.metrics.suites.results import Results
from rlsys.metrics.suites.suite import Method, load

SUITE = load("atari100k")


def compare(**methods: dict[str, list[float]]) -> Comparison:
    return Comparison.of(SUITE, Results([Method(name, "", returns) for name, returns in methods.items()]))


def test_published_methods_are_compared_on_the_games_of_the_runs() -> None:
    found = compare(mine={"Pong": [14.6, -20.7], "Alien": [227.8]})
    assert found.games == ["Alien", "Pong"]
    assert [method.name for method in found.methods][:2] == ["mine", "SimPLe"]
    np.testing.assert_allclose(np.concatenate(found.scores["mine"]), [0.0, 1.0, 0.0])
    assert {len(scores) for scores in found.scores.values()} == {2}
    assert found.aggregates["mine"]["mean"].value == pytest.approx(0.25)
    assert found.aggregates["IRIS"]["mean"].value == pytest.approx(
        np.mean([np.mean(score) for score in found.scores["IRIS"]])
    )
    assert found.num_as_good("mine") == 0 and found.num_as_good("EfficientZero") == 1


def test_runs_on_all_games_are_beside_the_published_aggregates() -> None:
    (iris,) = [method for method in SUITE.methods if method.name == "IRIS"]
    found = compare(again=dict(iris.returns))
    assert found.games == list(SUITE.references)
    assert found.aggregates["again"] == found.aggregates["IRIS"]
    assert found.improvements["again", "IRIS"].value == pytest.approx(0.5)


def test_several_methods_are_compared_where_all_have_runs() -> None:
    found = compare(a={"Pong": [1.0, 2.0], "Alien": [300.0]}, b={"Pong": [3.0], "Qbert": [4.0]})
    assert found.games == ["Pong"]
    assert found.returns_of("Qbert")["b"] == [4.0] and "a" not in found.returns_of("Qbert"), "nothing is lost"
    pairs = list(found.improvements)
    assert pairs[0] == ("a", "b") and ("b", "a") not in pairs
    assert ("a", "IRIS") in pairs and ("b", "IRIS") in pairs
    assert not [pair for pair in pairs if "MuZero" in pair], "one number for a game is no run"
    assert found.improvements["a", "b"].value == 0.0
    assert set(found.profiles) == {"a", "b"} | {other for _, other in pairs}
    assert found.profiles["a"].value.shape == THRESHOLDS.shape


def test_runs_of_a_published_name_stand_for_it() -> None:
    found = compare(IRIS={"Pong": [1.0]})
    assert [method.name for method in found.methods].count("IRIS") == 1
    assert found.methods[0].returns == {"Pong": [1.0]}


def test_nothing_to_compare_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^no run has a return in a game of atari100k: a/1 is left out\. Train on"):
        Comparison.of(SUITE, Results([], ["a/1 is left out"]))
    with pytest.raises(ConfigError, match=r"played by all methods: a has Pong; b has Qbert\. Choose another FOLDER"):
        compare(a={"Pong": [1.0]}, b={"Qbert": [4.0]})
