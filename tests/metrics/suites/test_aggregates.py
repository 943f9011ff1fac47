"""Aggregates against what was published, and against their definitions written naively."""

import itertools

import numpy as np
import pytest

from rlsys.metrics.suites.aggregates import AGGREGATES, aggregate, improvement, profile
from rlsys.metrics.suites.suite import load

PUBLISHED = {
    "SimPLe": (0.332, 0.134, 0.130, 0.729, 1),
    "MuZero": (0.562, 0.227, 0.288, 0.616, 5),
    "EfficientZero": (1.943, 1.090, 1.047, 0.367, 14),
    "IRIS": (1.046, 0.289, 0.501, 0.512, 10),
    "TWM": (0.956, 0.505, 0.459, 0.513, 8),
    "DreamerV3": (1.124, 0.485, 0.487, 0.510, 9),
    "STORM": (1.222, 0.425, 0.561, 0.472, 9),
    "REM": (1.222, 0.280, 0.673, 0.482, 12),
    "Δ-IRIS": (1.383, 0.594, 0.682, 0.443, 12),
    "DIAMOND": (1.459, 0.373, 0.641, 0.480, 11),
    "Simulus": (1.645, 0.982, 0.990, 0.412, 13),
}
"""Mean, median, interquartile mean, optimality gap, and games as good as a human, as their papers have them."""


def scores_of(name: str) -> list[np.ndarray]:
    suite = load("atari100k")
    (method,) = [method for method in suite.methods if method.name == name]
    return [np.array([suite.normalised(game, value) for value in method.returns[game]]) for game in suite.references]


def some_scores(seed: int, counts: tuple[int, ...] = (5, 3, 4)) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.round(rng.normal(1.0, 1.0, count), 1) for count in counts]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_returns_make_published_aggregates(name: str) -> None:
    scores = scores_of(name)
    found = aggregate(scores, resamples=100)
    assert list(found) == ["mean", "median", "IQM", "optimality gap"]
    assert [round(float(estimate.value), 3) for estimate in found.values()] == list(PUBLISHED[name][:4])
    assert sum(score.mean() >= 1 for score in scores) == PUBLISHED[name][4]


def test_intervals_of_iris_are_those_of_its_five_runs() -> None:
    found = aggregate(scores_of("IRIS"), seed=1)
    intervals = {name: (float(estimate.low), float(estimate.high)) for name, estimate in found.items()}  # type: ignore[arg-type]
    # Of 20,000 resamples made by a loop over them.
    expected = {
        "mean": (0.966, 1.128),
        "median": (0.249, 0.415),
        "IQM": (0.442, 0.565),
        "optimality gap": (0.491, 0.533),
    }
    for name, (low, high) in expected.items():
        assert intervals[name] == (pytest.approx(low, abs=0.012), pytest.approx(high, abs=0.012))


def test_the_interquartile_mean_counts_runs_and_the_others_games() -> None:
    scores = some_scores(0)
    pooled = sorted(itertools.chain(*scores))  # 12: three are cut on each side
    found = aggregate(scores, resamples=10)
    assert found["IQM"].value == pytest.approx(sum(pooled[3:9]) / 6)
    means = [sum(score) / len(score) for score in scores]
    assert found["mean"].value == pytest.approx(sum(means) / 3)
    assert found["median"].value == pytest.approx(sorted(means)[1])
    gaps = [sum(max(0.0, 1.0 - value) for value in score) / len(score) for score in scores]
    assert found["optimality gap"].value == pytest.approx(sum(gaps) / 3)


def test_runs_are_drawn_again_within_their_game() -> None:
    apart = [np.full(4, 10.0), np.full(2, 0.0)]
    for estimate in aggregate(apart, resamples=50).values():
        assert estimate.low == estimate.value == estimate.high, "a run never counts for another game"
    scores = some_scores(1)
    found, again, other = (aggregate(scores, resamples=200, seed=seed) for seed in (0, 0, 1))
    assert found == again != other
    for estimate in found.values():
        assert estimate.low is not None and estimate.high is not None
        assert estimate.low < estimate.value < estimate.high


def test_resamples_are_as_a_loop_makes_them() -> None:
    scores = some_scores(2, (3, 2))
    found = aggregate(scores, resamples=20_000)
    chosen = [list(itertools.product(score, repeat=len(score))) for score in scores]  # all that there are
    exact = [np.mean([np.mean(one), np.mean(other)]) for one, other in itertools.product(*chosen)]
    low, high = np.quantile(exact, [0.025, 0.975])
    assert found["mean"].low == pytest.approx(low, abs=0.03) and found["mean"].high == pytest.approx(high, abs=0.03)


def test_there_is_no_interval_where_a_game_has_one_run() -> None:
    scores = some_scores(3, (5, 1))
    found = [*aggregate(scores).values(), improvement(scores, some_scores(4, (5, 5))), profile(scores, np.zeros(1))]
    assert len(found) == len(AGGREGATES) + 2
    assert all(estimate.low is None and estimate.high is None for estimate in found)


def test_the_probability_of_improvement_counts_pairs_of_runs_and_half_of_those_that_are_equal() -> None:
    scores, others = some_scores(5), some_scores(6, (2, 6, 3))
    naive = []
    for one, other in zip(scores, others, strict=True):
        pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in one for b in other]
        naive.append(sum(pairs) / len(pairs))
    assert any(a == b for one, other in zip(scores, others, strict=True) for a in one for b in other)
    found, reverse = improvement(scores, others), improvement(others, scores)
    assert found.value == pytest.approx(sum(naive) / 3)
    assert reverse.value == pytest.approx(1 - found.value)
    assert found.low is not None and found.high is not None and found.low < found.value < found.high
    better = improvement([score + 10 for score in scores], others)
    assert (better.value, better.low, better.high) == (1.0, 1.0, 1.0)


def test_a_profile_is_the_share_of_runs_above_each_threshold_over_games() -> None:
    scores, threshold_T = some_scores(7), np.linspace(-1.0, 3.0, 9)
    found = profile(scores, threshold_T, resamples=300)
    naive = [np.mean([np.mean([value > at for value in score]) for score in scores]) for at in threshold_T]
    assert found.value == pytest.approx(naive)
    assert (np.diff(found.value) <= 0).all()
    assert found.low is not None and found.high is not None
    assert (found.low <= found.value + 1e-9).all() and (found.value <= found.high + 1e-9).all()
