"""Elo ratings: they foretell scores, know what is certain, and are there for who never loses."""

import numpy as np

from rlsys.evaluation.matches.ratings import Match, intervals, rate


def won(share: float, games: int = 400) -> np.ndarray:
    scores = np.zeros(games)
    scores[: round(share * games)] = 1.0
    return np.random.default_rng(0).permutation(scores)


def expected(ratings: np.ndarray, first: int, second: int) -> float:
    return float(1 / (1 + 10 ** ((ratings[second] - ratings[first]) / 400)))


def test_ratings_foretell_scores() -> None:
    ratings = rate([Match(0, 1, won(0.75))], 2, anchor=1)
    assert ratings[1] == 0.0
    assert abs(ratings[0] - 400 * np.log10(3)) < 3, "three to one; the draw with the mean is one game of 401"
    half = np.full(10, 0.5)
    np.testing.assert_allclose(rate([Match(0, 1, half), Match(1, 2, half)], 3), 0.0, atol=1e-6)


def test_results_need_not_agree_and_the_order_of_players_means_nothing() -> None:
    matches = [Match(0, 1, won(0.6)), Match(1, 2, won(0.7)), Match(2, 0, won(0.3))]
    ratings = rate(matches, 3, anchor=2)
    assert ratings[0] > ratings[1] > ratings[2] == 0.0
    total = sum(match.scores.sum() for match in matches if match.first == 0) + (1 - matches[2].scores).sum()
    foretold = 400 * (expected(ratings, 0, 1) + expected(ratings, 0, 2))
    assert abs(total - foretold) < 1.0, "who is likeliest to have these scores has them in the mean"
    turned = [Match(match.second, match.first, 1 - match.scores) for match in matches]
    np.testing.assert_allclose(rate(turned, 3, anchor=2), ratings, atol=1e-6)


def test_who_never_loses_has_a_rating_that_grows_with_the_games() -> None:
    few, many = (rate([Match(0, 1, np.ones(games))], 2, anchor=1)[0] for games in (10, 100))
    assert 0 < few < many < 2_000


def test_intervals_hold_the_rating_and_shrink_with_games() -> None:
    widths = []
    for games in (20, 400):
        matches = [Match(0, 1, won(0.75, games)), Match(1, 2, won(0.5, games))]
        low, high = intervals(matches, 3, anchor=2)
        assert (low <= rate(matches, 3, anchor=2)).all() and (rate(matches, 3, anchor=2) <= high).all()
        assert low[2] == high[2] == 0.0
        widths.append(high[0] - low[0])
    assert widths[1] < widths[0] / 2
