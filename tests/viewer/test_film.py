from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from rlsys.errors import ConfigError
from rlsys.viewer.film import Film, FilmLimits, Footage, write_film


def frames(count: int, height: int, width: int) -> np.ndarray:
    """Frames of few colours, like a game's: a square that wanders over stripes."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (8, 3), dtype=np.uint8)
    film = np.repeat(colours[np.arange(width) % 7][None, None], count * height, axis=0).reshape(count, height, width, 3)
    for index in range(count):
        film[index, index : index + 4, 2 * index : 2 * index + 4] = colours[7]
    return film


def test_a_gif_holds_every_frame_with_its_exact_colours_enlarged_by_a_whole_factor(tmp_path):
    given = frames(12, 42, 35)
    path = tmp_path / "media" / "episode.gif"
    assert write_film(path, iter(given)).num_frames == 12
    read = iio.imread(path, plugin="pillow", mode="RGB")
    factor = -(-320 // 35)
    assert np.array_equal(read, given.repeat(factor, axis=1).repeat(factor, axis=2))


def test_a_film_as_mp4_has_all_frames_even_sides_and_nearly_the_same_picture(tmp_path):
    given = frames(20, 331, 333)
    path = tmp_path / "episode.mp4"
    write_film(path, given, fps=15)
    read = iio.imread(path, plugin="FFMPEG")
    assert read.shape == (20, 332, 334, 3)
    grey = read[:, :331, :333].astype(float).mean(axis=-1)
    assert np.abs(grey - given.astype(float).mean(axis=-1)).mean() < 12
    assert iio.immeta(path, plugin="FFMPEG")["fps"] == 15


def test_no_frames_leave_no_file(tmp_path):
    assert write_film(tmp_path / "nothing.gif", []).num_frames == 0
    assert list(tmp_path.iterdir()) == []


def test_a_film_ends_after_so_many_pictures_and_seconds_or_when_it_is_in_a_hurry(tmp_path):
    path = tmp_path / "episode.gif"
    footage = write_film(path, iter(frames(12, 42, 35)), limits=FilmLimits(5, 100.0))
    assert (footage.num_frames, footage.cut_by) == (5, "video_frames = 5")
    assert len(iio.imread(path, plugin="pillow", mode="RGB")) == 5
    whole = write_film(path, iter(frames(12, 42, 35)), limits=FilmLimits(12, 100.0))
    assert (whole.num_frames, whole.cut_by) == (12, ""), "there was no more to be seen"
    slow = Footage(FilmLimits(100, 2.5))
    with slow.picture():
        pass
    assert slow.wants_more() and (slow.num_frames, slow.seconds < 2.5) == (1, True)
    slow.seconds = 2.5
    assert not slow.wants_more() and slow.cut_by == "video_seconds = 2.5"
    assert Footage().wants_more(), "without limits"
    hurried = Footage(FilmLimits(100, 2.5, lambda: True))
    assert not hurried.wants_more() and hurried.cut_by == "interrupted"


def test_an_error_while_filming_still_ends_the_file(tmp_path):
    path = tmp_path / "episode.gif"
    with pytest.raises(ZeroDivisionError), Film(path) as film:
        film.append(frames(1, 400, 330)[0])
        raise ZeroDivisionError
    assert iio.imread(path, plugin="pillow", mode="RGB").shape[-3:] == (400, 330, 3)


def test_other_formats_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"film 'a\.avi' ends in '\.avi'; films are \.gif or \.mp4\."):
        Film(Path("a.avi"))
