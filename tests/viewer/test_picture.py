"""Pictures of all that environments draw, and films of all of those."""

from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rlsys.errors import EnvError
from rlsys.viewer.film import Film
from rlsys.viewer.picture import fitted, to_picture

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
GREY = RGB[:, :, 0]
SHOWN: dict[str, tuple[Any, np.ndarray]] = {
    "colour": (RGB, RGB),
    "alpha": (np.dstack([RGB, RGB[:, :, 0]]), RGB),
    "from 0 to 1": (RGB / 255.0, RGB),
    "from 0 to 255": (RGB.astype(np.float32), RGB),
    "wide integers": (RGB.astype(np.int64), RGB),
    "above 255": (RGB.astype(np.int32) + 1_000, np.full_like(RGB, 255)),
    "grey": (GREY, np.dstack([GREY] * 3)),
    "grey plane": (GREY[:, :, None], np.dstack([GREY] * 3)),
    "grey with alpha": (RGB[:, :, :2], np.dstack([GREY] * 3)),
    "planes first": (RGB.transpose(2, 0, 1), RGB),
    "black and white": (GREY > 99, np.dstack([(GREY > 99) * np.uint8(255)] * 3)),
    "several": ([RGB[::-1], RGB], RGB),
    "stacked": (np.stack([RGB[::-1], RGB]), RGB),
    "nested lists": (GREY.tolist(), np.dstack([GREY] * 3)),
    "not a number": (np.full((6, 9), np.nan), np.zeros_like(RGB)),
    "upside down": (RGB[::-1][::-1], RGB),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_can_be_shown_becomes_a_picture(name: str) -> None:
    drawn, expected = SHOWN[name]
    picture = to_picture(drawn)
    assert picture.dtype == np.uint8 and picture.flags.c_contiguous
    assert np.array_equal(picture, expected)


def test_text_is_drawn_with_a_place_of_the_same_size_for_each_character_and_without_colours() -> None:
    lines = ["+--+", "|i |", "+--+"]
    picture = to_picture("\n".join(lines) + "\n")
    assert picture.any() and np.array_equal(picture, to_picture("\x1b[43m" + "\n".join(lines) + "\x1b[0m"))
    wider = to_picture("\n".join(line + "-" for line in lines))
    assert wider.shape[0] == picture.shape[0] and wider.shape[1] > picture.shape[1]
    assert picture.shape[2] == 3 and to_picture("").size


@pytest.mark.parametrize(
    "drawn", [None, ["+---+"], [], [None], {}, 3.0, np.zeros((0, 4, 3)), np.zeros(5), np.zeros((5, 6, 7)), object()]
)
def test_what_cannot_be_shown_is_said_in_one_line(drawn: Any) -> None:
    with pytest.raises(EnvError, match=r"^render returned .*; a picture is an array \[H, W\] or \[H, W, 3\]\."):
        to_picture(drawn)


_SHAPES = arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=7)
_DTYPES = st.sampled_from(["u1", "i4", "i8", "u2", "f2", "f4", "f8", "?", "c8", "U3", "O"])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(drawn=st.tuples(_DTYPES, _SHAPES).flatmap(lambda kind: arrays.arrays(kind[0], kind[1], fill=st.nothing())))
def test_every_array_is_a_picture_or_one_line(drawn: np.ndarray) -> None:
    try:
        picture = to_picture(drawn)
    except EnvError as error:
        assert "\n" not in str(error)
    else:
        assert picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == np.uint8 and picture.size


def test_a_picture_of_another_size_is_fitted_amid_black() -> None:
    assert fitted(RGB, 6, 9) is RGB
    wide = fitted(RGB, 12, 30)
    assert np.array_equal(wide[:, 6:24], RGB.repeat(2, axis=0).repeat(2, axis=1))
    assert not wide[:, :6].any() and not wide[:, 24:].any()
    assert fitted(RGB, 1, 1).shape == (1, 1, 3)


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
@pytest.mark.parametrize(
    "frames",
    [
        [RGB, RGB[:4], RGB[:, :5], GREY],
        [np.zeros((1, 1), np.uint8)],
        [np.zeros((2, 9_000, 3), np.uint8)] * 2,
        [np.zeros((5_001, 4_003, 3), np.uint8)],
        [np.zeros((331, 333, 3), np.uint8)] * 2,
    ],
    ids=["changing sizes", "a pixel", "a line", "huge", "odd"],
)
def test_films_of_all_sizes_have_all_their_frames(frames: list[np.ndarray], ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"film{ending}"
    with Film(path) as film:
        for frame in frames:
            film.append(frame)
    assert (film.trouble, film.num_frames) == ("", len(frames))
    if ending == ".mp4":  # equal pictures of a GIF become one that lasts longer
        assert iio.imread(path, plugin="FFMPEG").shape[0] == len(frames)


def test_a_film_that_cannot_be_written_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Film(tmp_path / "file" / "film.mp4") as film:
        film.append(RGB)
        film.append(RGB)
    assert (film.num_frames, film.trouble) == (0, "File exists") or film.trouble == "Not a directory"
    (tmp_path / "folder.gif").mkdir()
    with Film(tmp_path / "folder.gif") as film:
        film.append(RGB)
    assert "folder.gif: Is a directory" in film.trouble and film.num_frames == 0


def test_a_full_disk_takes_the_film_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").symlink_to("/dev/full")
    with Film(tmp_path / "film.mp4") as film:
        for _ in range(50):
            film.append(np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8))
    assert "No space left on device" in film.trouble
    assert not (tmp_path / "film.mp4").exists()


def test_without_an_encoder_there_is_no_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
    with Film(tmp_path / "film.gif") as film:
        film.append(RGB)
    assert film.trouble and not list(tmp_path.iterdir())
