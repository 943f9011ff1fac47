"""Elo ratings: numbers that say how likely each of several players beats each other one, and how certain that is.

    expected score of i against j = 1 / (1 + 10^((R_j − R_i) / 400))

Bradley and Terry 1952, with a draw as half a win. Ratings are those that the results are likeliest under, if each
player has also drawn once against one of mean strength, so that who never loses has a rating, too. Intervals are of a
bootstrap over pairs of games.

Shape legend: P players, G games of a match, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlsys.types import Array

_POINTS = 400 / np.log(10)
"""Of a rating, for each unit of log odds."""
_STEPS, _LONGEST, _NEAR = 100, 2.0, 1e-9
_PAIR = 2
RESAMPLES = 500


@dataclass(frozen=True)
class Match:
    """Games of two players.

    Attributes:
      first, second: their numbers.
      scores: `[G]`, what the first made of each game: 1 won, ½ drawn, 0 lost. Two that follow one another are a pair,
        alike but for who began.
    """

    first: int
    second: int
    scores: Array


def rate(matches: Sequence[Match], num_players: int, anchor: int = 0) -> Array:
    """Returns ratings `[P]`, of which the anchor's is 0."""
    won_PP, played_PP = np.zeros((2, num_players, num_players))
    for match in matches:
        _add(won_PP, played_PP, match, match.scores)
    return _anchored(_likeliest(won_PP, played_PP), anchor)


def intervals(
    matches: Sequence[Match], num_players: int, anchor: int = 0, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Array, Array]:
    """Returns between which ratings 95 % of resamples lie, `[P]` each; the anchor's are 0."""
    rng = np.random.default_rng(seed)
    rated_RP = np.empty((resamples, num_players))
    for rated_P in rated_RP:
        won_PP, played_PP = np.zeros((2, num_players, num_players))
        for match in matches:
            starts = np.arange(0, len(match.scores), _PAIR)
            drawn = rng.choice(starts, len(starts))
            scores = [match.scores[start : start + _PAIR] for start in drawn]
            _add(won_PP, played_PP, match, np.concatenate(scores))
        rated_P[:] = _anchored(_likeliest(won_PP, played_PP), anchor)
    low_P, high_P = np.quantile(rated_RP, [0.025, 0.975], axis=0)
    return low_P, high_P


def _add(won_PP: Array, played_PP: Array, match: Match, scores: Array) -> None:
    ours, theirs = (match.first, match.second), (match.second, match.first)
    won_PP[ours] += scores.sum()
    won_PP[theirs] += (1 - scores).sum()
    played_PP[ours] += len(scores)
    played_PP[theirs] += len(scores)


def _likeliest(won_PP: Array, played_PP: Array) -> Array:
    """Returns log odds `[P]` against one of mean strength, by Newton's method."""
    odds_P = np.zeros(len(won_PP))
    for _ in range(_STEPS):
        expected_PP, drawn_P = _logistic(odds_P[:, None] - odds_P), _logistic(odds_P)
        slope_P = won_PP.sum(axis=1) - (played_PP * expected_PP).sum(axis=1) + 0.5 - drawn_P
        curve_PP = played_PP * expected_PP * (1 - expected_PP)
        hessian_PP = np.diag(curve_PP.sum(axis=1) + drawn_P * (1 - drawn_P)) - curve_PP
        step_P = np.linalg.solve(hessian_PP, slope_P)
        odds_P += step_P * min(1.0, _LONGEST / max(np.abs(step_P).max(), _NEAR))
        if np.abs(step_P).max() < _NEAR:
            break
    return odds_P


def _anchored(odds_P: Array, anchor: int) -> Array:
    return np.asarray((odds_P - odds_P[anchor]) * _POINTS)


def _logistic(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))
