"""What a learner worker relies on in every update: metrics, weights, turns, the end, films."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rlsys.api import NothingToDraw, Saved, TableSpec
from rlsys.testing.requirement import require
from rlsys.testing.saved import first_difference
from rlsys.testing.training import Rank, Training
from rlsys.types import Array, EpisodeRecord, ModelComparison, Reconstruction, Sequences

_MOST_UPDATES = 1_000
"""Updates after which the weights must have changed."""
_NEAR = 50
"""A learner that is done within so many updates more is watched to its end."""
_MORE = 2
"""Updates after the weights first changed that are watched, too."""


@dataclass(frozen=True)
class Update:
    """One update of all ranks.

    Attributes:
      saved: what each learner saved before it.
      metrics: what each returned.
    """

    saved: Sequence[Saved]
    metrics: Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class _Before:
    """A learner before an update: `given` is what `weights` returned, `weights` a copy of it."""

    given: Mapping[str, Array]
    weights: Mapping[str, Array]
    turns: int | None
    steps_left: int | None


def watched_updates(training: Training, *, to_the_end: bool) -> Iterator[Update]:
    """Trains and checks, until the weights have changed, and a little longer, or to the end, where that is near."""
    num_changed = 0
    begun = [_copied(rank.learner.weights()) for rank in training.ranks]
    for _ in range(_MOST_UPDATES):
        if training.ranks[0].learner.steps_left() == 0:
            break
        saved, before = training.save(), [_look_at(rank) for rank in training.ranks]
        metrics = training.update()
        for rank, earlier, values in zip(training.ranks, before, metrics, strict=True):
            _check_update(rank, earlier, values)
        yield Update(saved, metrics)
        weights = [rank.learner.weights() for rank in training.ranks]
        num_changed += num_changed > 0 or first_difference(begun, weights) is not None
        left = training.ranks[0].learner.steps_left()
        if num_changed > _MORE and not (to_the_end and left is not None and left <= _NEAR):
            return
    done = training.ranks[0].learner_step
    require(num_changed > 0, f"a learner changes its weights some day; after {done:,} updates they are as they were")


def _look_at(rank: Rank) -> _Before:
    given = rank.learner.weights()
    return _Before(given, _copied(given), rank.learner.turns(), rank.learner.steps_left())


def _check_update(rank: Rank, before: _Before, metrics: Mapping[str, float]) -> None:
    learner = rank.learner
    _check_metrics(metrics)
    require(
        first_difference(dict(before.given), dict(before.weights)) is None,
        "`weights` returns arrays of its own; those of before an update have changed with it",
    )
    left = before.steps_left
    require(
        learner.steps_left() == (None if left is None else left - 1),
        f"`steps_left` falls by one with every step; it was {left} and is {learner.steps_left()}",
    )
    turns = learner.turns()
    require(
        (before.turns is None and turns is None)
        or (before.turns is not None and turns is not None and turns >= before.turns),
        f"`turns` never falls; it was {before.turns} and is {turns}",
    )
    size, share = rank.store.batch_size, rank.learner_context.num_ranks
    for sampled in _counted(rank):
        require(
            sampled * share <= size,
            f"all ranks together sample at most what the store's batch_size says, {size}; each of {share} samples "
            f"{sampled}",
        )
    _check_histograms(learner.histograms())
    _check_shown(rank)


def _counted(rank: Rank) -> list[int]:
    """Returns how many items each batch counts, where that may be held against inserts."""
    if isinstance(rank.store, TableSpec) and rank.store.samples_per_insert is None:
        return []
    batches = [batch for batch in rank.replay.batches if not isinstance(batch, NothingToDraw)]
    return [batch.mask.size if isinstance(batch, Sequences) else len(batch.reward) for batch in batches]


def _check_metrics(metrics: Mapping[str, float]) -> None:
    require(bool(metrics), "a step reports metrics; it reports none")
    for name, value in metrics.items():
        require("/" in name, f"metrics are named group/name; one is called '{name}'")
        require(
            isinstance(value, int | float) and bool(np.isfinite(value)),
            f"metrics are finite numbers; {name} is {value!r}",
        )


def _check_histograms(histograms: Mapping[str, Array]) -> None:
    for name, array in histograms.items():
        require("/" in name, f"histograms are named group/name; one is called '{name}'")
        require(bool(np.isfinite(array).all()), f"histograms are of finite numbers; {name} is not")


def _check_shown(rank: Rank) -> None:
    shown = rank.learner.shown()
    for name, items in shown.items():
        require("/" in name, f"what is shown is named group/name; one is called '{name}'")
        for item in items:
            _check_item(name, item, rank.env.spec.observation.shape)
    require(not shown or not rank.learner.shown(), "what is shown is given once; it was given again")


def _check_item(name: str, item: ModelComparison | Reconstruction | EpisodeRecord, frame: tuple[int, ...]) -> None:
    match item:
        case ModelComparison():
            _check_stretch(name, item, frame)
        case Reconstruction():
            shapes = {array.shape[1:] for array in (item.observation, item.reconstruction)}
            require(
                shapes == {frame} and len(item.observation) == len(item.reconstruction),
                f"a reconstruction has a frame per frame; of {name} there are {item.observation.shape} and "
                f"{item.reconstruction.shape}",
            )
        case EpisodeRecord():
            steps = {len(item.action), len(item.reward), len(item.terminated), len(item.observation) - 1}
            require(
                len(steps) == 1 and item.observation.shape[1:] == frame,
                f"an episode has a frame more than steps; one of {name} has {item.observation.shape} of {steps}",
            )


def _check_stretch(name: str, stretch: ModelComparison, frame: tuple[int, ...]) -> None:
    expected = (len(stretch.reward), *frame)
    for part, array in (("observation", stretch.observation), ("model_observation", stretch.model_observation)):
        require(
            array.shape == expected and array.dtype == np.uint8,
            f"a film has a uint8 frame per reward, {expected}; {part} of {name} is {array.dtype} of {array.shape}",
        )
    require(
        stretch.reward.shape == stretch.model_reward.shape,
        f"a film has a foretold reward for each; {name} has {stretch.model_reward.shape} for {stretch.reward.shape}",
    )


def _copied(weights: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in weights.items()}
