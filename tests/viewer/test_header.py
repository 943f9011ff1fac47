"""The header of a film."""

import numpy as np

from rlsys.viewer.header import HEADER_HEIGHT, with_header


def test_a_header_is_red_text_above_an_untouched_picture() -> None:
    picture = np.full((40, 160, 3), 7, np.uint8)
    below = with_header(picture, "c:12 r:1", "f:8")
    assert below.shape == (40 + HEADER_HEIGHT, 160, 3)
    np.testing.assert_array_equal(below[HEADER_HEIGHT:], picture)
    header = below[:HEADER_HEIGHT]
    assert header[:13, :, 0].max() == 255 and header[13:, :, 0].max() == 255
    assert header[..., 1:].max() == 0
    assert (with_header(picture, "c:12 r:1", "f:9") != below).any()
