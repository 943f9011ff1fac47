"""Episodes that a run keeps: the newest, and the best."""

from pathlib import Path

import numpy as np

from rlsys.types import EpisodeRecord
from rlsys.viewer.episodes import keep, kept_in, read_episode


def episode(episode_return: float) -> EpisodeRecord:
    return EpisodeRecord(
        np.arange(3 * 4, dtype=np.uint8).reshape(3, 2, 2),
        np.array([1, 0]),
        np.array([episode_return, 0.0], np.float32),
        np.array([False, True]),
    )


def returns(folder: Path) -> list[float]:
    return [read_episode(path).episode_return for path in kept_in(folder)]


def test_the_newest_are_kept_and_the_best_for_ever(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    for first in range(0, 24, 2):  # as several starts of a run
        keep(folder, [episode(20.0 - abs(number - 7)) for number in (first, first + 1)], 100 + first, newest=10)
    assert [path.name for path in kept_in(folder)] == [
        *(f"episode_{number:06d}_step_{100 + (number - 1) // 2 * 2:09d}.npz" for number in range(15, 25)),
        "best_episode_000008_step_000000106.npz",
    ]
    assert returns(folder) == [20.0 - abs(number - 7) for number in (*range(14, 24), 7)]


def test_the_first_of_equally_good_ones_stays_the_best(tmp_path: Path) -> None:
    keep(tmp_path, [episode(1.0), episode(1.0)], 0, newest=1)
    assert [path.name for path in kept_in(tmp_path)] == [
        "episode_000002_step_000000000.npz",
        "best_episode_000001_step_000000000.npz",
    ]


def test_an_episode_is_read_as_it_was_written(tmp_path: Path) -> None:
    keep(tmp_path, [episode(3.0)], 7, newest=10)
    read = read_episode(kept_in(tmp_path)[0])
    for name, array in vars(episode(3.0)).items():
        assert np.array_equal(getattr(read, name), array) and getattr(read, name).dtype == array.dtype, name
    assert not list(tmp_path.glob(".*")), "no drafts"
