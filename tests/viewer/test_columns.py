"""Pictures of columns."""

import numpy as np
import pytest

from rlsys.types import Array, ArraySpec, EnvSpec, Part
from rlsys.viewer.columns import Column, compose, difference, is_picture, picture_of, to_rgb, with_footer

RED = (255, 0, 0)


def test_the_difference_is_what_exceeds_ten() -> None:
    rng = np.random.default_rng(0)
    model, real = rng.integers(0, 256, (2, 3, 20, 20), np.uint8)
    expected = [max(abs(int(a) - int(b)) - 10, 0) for a, b in zip(model.flat, real.flat, strict=True)]
    assert difference(model, real).ravel().tolist() == expected
    assert difference(model, real).dtype == np.uint8


def test_frames_grey_or_coloured_become_rgb() -> None:
    rng = np.random.default_rng(0)
    coloured = rng.integers(0, 256, (3, 4, 5), np.uint8)
    assert np.array_equal(to_rgb(coloured), coloured.transpose(1, 2, 0))
    for grey in (coloured[0], coloured[:1]):
        assert np.array_equal(to_rgb(grey), coloured[0][..., None].repeat(3, axis=2))


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((105, 80), "uint8", True),
        ((3, 64, 64), "uint8", True),
        ((1, 64, 64), "uint8", True),
        ((4, 64, 64), "uint8", False),
        ((64, 64), "float32", False),
        ((128,), "uint8", False),
    ],
)
def test_pictures_are_planes_of_bytes(shape: tuple[int, ...], dtype: str, expected: bool) -> None:
    assert is_picture(ArraySpec(shape, dtype)) == expected


@pytest.mark.parametrize(("zoom", "factor"), [(4.0, 4), (8.0, 8)])
def test_columns_stand_side_by_side_enlarged_without_smoothing_below_their_headers(zoom: float, factor: int) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 3, 70, 60), np.uint8)
    columns = [Column(str(index), ("c: 1", "fc: 2"), frame) for index, frame in enumerate(frames)]
    picture = compose(columns, zoom, RED)
    width = 60 * factor
    gap = (picture.shape[1] - 3 * width) // 2
    header = picture.shape[0] - 70 * factor
    assert 30 < header < 100 and 0 < gap < 20
    for index, frame in enumerate(frames):
        left = index * (width + gap)
        shown = picture[header:, left : left + width]
        assert np.array_equal(shown, frame.transpose(1, 2, 0).repeat(factor, axis=0).repeat(factor, axis=1))
    assert (picture[0] == RED).all(), "the topmost row tells the mode"
    assert (picture[10:header].max(axis=(0, 2)) > 200).any(), "there is text"


def test_small_frames_are_enlarged_until_their_header_has_room() -> None:
    picture = compose([Column("game", ("c: 0", "fc: 0"), np.zeros((10, 10), np.uint8))], 4.0, RED)
    assert picture.shape[1] >= 200


def test_a_footer_goes_below() -> None:
    picture = np.full((50, 300, 3), 7, np.uint8)
    longer = with_footer(picture, ["WAIT", "W: up"])
    assert np.array_equal(longer[:50], picture)
    assert longer.shape[0] > 80 and longer[50:].max() > 100


def bars_of(env: EnvSpec, frame: Array, count: int) -> list[tuple[int, int]]:
    """Returns where each of a few bars begins and ends, counted from the middle."""
    field = picture_of(env, frame)
    assert field.shape == (96, 96) and field.dtype == np.uint8
    bars = [np.flatnonzero(row == field.max()) - 48 for row in field[: 12 * count : 12]]
    return [(int(bar[0]), int(bar[-1])) for bar in bars]


def test_numbers_are_bars_from_the_middle_on_a_scale_without_end() -> None:
    env = EnvSpec("x", ArraySpec((4,), "float32"), ArraySpec((), "int64"), 2)
    bars = bars_of(env, np.array([0.0, 1.0, -1e30, np.nan], np.float32), 4)
    assert bars == [(0, 0), (0, 24), (-47, 0), (0, 0)]


def test_bytes_are_on_the_scale_of_bytes_and_integers_on_that_of_their_choices() -> None:
    ram = EnvSpec("ram", ArraySpec((2,), "uint8"), ArraySpec((), "int64"), 2)
    assert bars_of(ram, np.array([0, 255], np.uint8), 2) == [(-47, 0), (0, 47)]
    record = np.dtype([("which", "<i8"), ("arm", "<f4", (2,))])
    parts = (Part("which", ArraySpec((), "int64"), (5,)), Part("arm", ArraySpec((2,), "float32")))
    env = EnvSpec("x", ArraySpec((), record), ArraySpec((), "int64"), 2, parts=parts)
    assert bars_of(env, np.array((4, (-1.0, 0.0)), record), 3) == [(0, 47), (-24, 0), (0, 0)]


def test_the_first_of_many_numbers_are_shown_and_a_picture_is_shown_as_it_is() -> None:
    env = EnvSpec("x", ArraySpec((500,), "float32"), ArraySpec((), "int64"), 2)
    assert (picture_of(env, np.ones(500, np.float32))[::2, 60] == 220).all()
    frame = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert picture_of(EnvSpec("x", ArraySpec((3, 4), "uint8"), ArraySpec((), "int64"), 2), frame) is frame
