"""Films of what a world model foretold: each step beside what happened."""

import numpy as np

from rlsys.types import ModelComparison
from rlsys.viewer.columns import compose
from rlsys.viewer.comparison import Tally, column, difference_column, film_of


def stretch(length: int, seed: int) -> ModelComparison:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (2, length, 3, 20, 30), np.uint8)
    rewards = rng.integers(-1, 2, (2, length)).astype(np.float32)
    return ModelComparison(frames[0], frames[1], rewards[0], rewards[1])


def test_each_step_is_the_picture_of_play_with_rewards_added_up() -> None:
    first = stretch(3, 0)
    pictures = list(film_of([first]))
    model, real = Tally(), Tally()
    for step in range(3):
        model.add(float(first.model_reward[step]))
        real.add(float(first.reward[step]))
        frames = first.model_observation[step], first.observation[step]
        columns = [
            column("world model", model, frames[0]),
            column("game", real, frames[1]),
            difference_column(model, frames[0], real, frames[1]),
        ]
        assert np.array_equal(pictures[step][3:], compose(columns, 1.0, (0, 0, 0))[3:])
    assert "c: " in column("game", real, first.observation[0]).lines[0]
    assert column("game", Tally(1.0, 3.0, 7), first.observation[0]).lines == ("c: 3  r: 1", "fc: 7")


def test_stretches_begin_anew_and_end_in_the_dark() -> None:
    pictures = list(film_of([stretch(2, 0), stretch(4, 1)]))
    dark = [not picture.any() for picture in pictures]
    assert dark == [False, False, True, True, False, False, False, False, True, True]
    assert np.array_equal(pictures[4], next(film_of([stretch(4, 1)])))
    assert {picture.shape for picture in pictures} == {pictures[0].shape}
