"""A world model beside the game: their frames, and by how much they differ. For play, and for what learners show."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rlsys.types import Array, ModelComparison, Reconstruction
from rlsys.viewer.columns import Column, compose, difference, to_rgb

_BAR = (90, 150, 230)
_BLACK_FRAMES = 2
"""After each stretch of a film, as upstream."""


@dataclass
class Tally:
    """What play has come to: the last reward, the sum of rewards, and the number of frames."""

    reward: float = 0.0
    total: float = 0.0
    frames: int = 0

    def add(self, reward: float) -> None:
        """Counts a step."""
        self.reward = reward
        self.total += reward
        self.frames += 1


def column(title: str, tally: Tally, frame: Array) -> Column:
    """Returns a frame below what has come so far."""
    return Column(title, (f"c: {tally.total:g}  r: {tally.reward:g}", f"fc: {tally.frames}"), frame)


def difference_column(model: Tally, model_frame: Array, real: Tally, real_frame: Array) -> Column:
    """Returns model - game."""
    apart = f"c: {model.total - real.total:g}  r: {model.reward - real.reward:g}"
    return Column("difference", (apart, "model - game"), difference(model_frame, real_frame))


def film_of(stretches: Iterable[ModelComparison], zoom: float = 1.0) -> Iterator[Array]:
    """Draws what a model foretold, what happened and their difference: `[H, W, 3]` uint8 for each step."""
    for stretch in stretches:
        model, real = Tally(), Tally()
        for step, (foretold, happened) in enumerate(zip(stretch.model_reward, stretch.reward, strict=True)):
            model.add(float(foretold))
            real.add(float(happened))
            frames = stretch.model_observation[step], stretch.observation[step]
            columns = [
                column("world model", model, frames[0]),
                column("game", real, frames[1]),
                difference_column(model, frames[0], real, frames[1]),
            ]
            picture = compose(columns, zoom, _BAR)
            yield picture
        if len(stretch.reward):
            yield from [np.zeros_like(picture)] * _BLACK_FRAMES


def picture_of_reconstructions(stretches: Sequence[Reconstruction]) -> Array:
    """Draws frames from left to right, below each what a model makes of it: `[H, W, 3]` uint8, two rows a stretch."""
    rows = [
        np.concatenate([to_rgb(frame) for frame in frames], axis=1)
        for stretch in stretches
        for frames in (stretch.observation, stretch.reconstruction)
    ]
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, [(0, 0), (0, width - row.shape[1]), (0, 0)]) for row in rows])
