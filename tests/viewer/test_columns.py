"""Pictures of columns."""

import numpy as np
import pytest

from rlsys.types import ArraySpec
from rlsys.viewer.columns import Column, compose, difference, is_picture, to_rgb, with_footer

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
