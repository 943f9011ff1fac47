"""What scores over a suite of games come to, and how certain that is from a few runs of each.

Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice", https://arxiv.org/abs/2108.13264, sections 4.1
to 4.3. Intervals are of a stratified bootstrap: runs are drawn again within each game. (Its library, rliable, is
archived since 2025.)

Shape legend: G games, N runs of a game, which may differ, R resamples, T thresholds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rlsys.types import Array

Scores = Sequence[Array]
"""For each of G games the normalised scores of its runs, `[N]`; resampled `[R, N]`."""

RESAMPLES = 2_000
_SHARE = 0.95
_CUT = 0.25


@dataclass(frozen=True)
class Estimate:
    """A number, or several, of which the interval is known where every game has two runs or more.

    Attributes:
      value: of the runs that there are.
      low, high: 95 % of resamples lie between; None where there are too few runs to draw from.
    """

    value: Array
    low: Array | None = None
    high: Array | None = None


def mean(scores: Scores) -> Array:
    """Returns the mean over games of the mean over runs, `[R]`."""
    return np.asarray(_means(scores).mean(axis=0))


def median(scores: Scores) -> Array:
    """Returns the median over games of the mean over runs, `[R]`."""
    return np.asarray(np.median(_means(scores), axis=0))


def interquartile_mean(scores: Scores) -> Array:
    """Returns the mean of the middle half of all runs of all games, `[R]`: a run counts as much as any other."""
    pooled = np.sort(np.concatenate(scores, axis=-1), axis=-1)
    cut = int(_CUT * pooled.shape[-1])
    return np.asarray(pooled[:, cut : pooled.shape[-1] - cut].mean(axis=-1))


def optimality_gap(scores: Scores) -> Array:
    """Returns the mean over games of how much the runs lack to 1, `[R]`; what is above 1 makes up for nothing."""
    return mean([np.maximum(0.0, 1.0 - score) for score in scores])


AGGREGATES: dict[str, Callable[[Scores], Array]] = {
    "mean": mean,
    "median": median,
    "IQM": interquartile_mean,
    "optimality gap": optimality_gap,
}
"""Name -> what it makes of scores; all but the last are the better the higher."""


def aggregate(scores: Scores, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Estimate]:
    """Returns each of `AGGREGATES` with its interval.

    Args:
      scores: of the runs of each game.
      resamples: from which intervals are made.
      seed: of what is drawn.
    """
    drawn = _resampled(scores, resamples, np.random.default_rng(seed))
    return {
        name: _estimate(statistic(_as_one(scores)), None if drawn is None else statistic(drawn))
        for name, statistic in AGGREGATES.items()
    }


def improvement(scores: Scores, others: Scores, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Returns how probable it is that a run of one method is better than one of another, over games (section 4.3).

        mean over games of P(X > Y) + P(X = Y) / 2, which is Mann and Whitney's U

    Args:
      scores: of the runs of each game.
      others: of another method's, in the same games.
      resamples: as for `aggregate`.
      seed: likewise.
    """
    generator = np.random.default_rng(seed)
    drawn, drawn_others = (_resampled(one, resamples, generator) for one in (scores, others))
    found = None if drawn is None or drawn_others is None else _improvement(drawn, drawn_others)
    return _estimate(_improvement(_as_one(scores), _as_one(others)), found)


def profile(scores: Scores, threshold_T: Array, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Returns the share of runs, over games, whose score is above each threshold, `[T]` (section 4.2).

    Args:
      scores: of the runs of each game.
      threshold_T: normalised scores.
      resamples: as for `aggregate`.
      seed: likewise.
    """
    drawn = _resampled(scores, resamples, np.random.default_rng(seed))
    found = None if drawn is None else _profile(drawn, threshold_T)
    return _estimate(_profile(_as_one(scores), threshold_T), found)


def _as_one(scores: Scores) -> Scores:
    return [score[None] for score in scores]


def _means(scores: Scores) -> Array:
    """Returns the mean over the runs of each game, `[G, R]`."""
    return np.stack([score.mean(axis=-1) for score in scores])


def _improvement(scores: Scores, others: Scores) -> Array:
    shares = []
    for score_RN, other_RN in zip(scores, others, strict=True):
        difference = score_RN[:, :, None] - other_RN[:, None, :]
        shares.append((0.5 * np.sign(difference) + 0.5).mean(axis=(1, 2)))
    return np.asarray(np.mean(shares, axis=0))


def _profile(scores: Scores, threshold_T: Array) -> Array:
    shares = [(score_RN[:, :, None] > threshold_T).mean(axis=1) for score_RN in scores]
    return np.asarray(np.mean(shares, axis=0))


def _resampled(scores: Scores, resamples: int, generator: np.random.Generator) -> Scores | None:
    """Draws runs within each game, with replacement; None where a game has one run only."""
    if min(map(len, scores)) < 2:
        return None
    return [score[generator.integers(len(score), size=(resamples, len(score)))] for score in scores]


def _estimate(value: Array, drawn: Array | None) -> Estimate:
    """Puts together what a statistic is of the runs, `[1, …]`, and of resamples, `[R, …]`."""
    if drawn is None:
        return Estimate(value[0])
    low, high = np.quantile(drawn, [(1 - _SHARE) / 2, (1 + _SHARE) / 2], axis=0)
    return Estimate(value[0], low, high)
