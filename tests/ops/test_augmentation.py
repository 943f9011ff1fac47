"""Changes to pictures: where pixels come from, and that what is drawn is all that differs."""

import pytest
import torch

from rlsys.ops.augmentation import augmented


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(12, 9), (3, 12, 9), (4, 3, 12, 9)])
def test_pictures_move_by_at_most_four_pixels_with_their_border_repeated(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    pictures = torch.randint(256, (40, *shape), generator=drawn(1)).to(dtype)
    moved = augmented(pictures, ["shift"], drawn())
    assert moved.shape == pictures.shape and moved.dtype == dtype
    rows, columns = torch.arange(12), torch.arange(9)
    found = set()
    for before, after in zip(pictures, moved, strict=True):
        matches = {
            (dy, dx)
            for dy in range(-4, 5)
            for dx in range(-4, 5)
            if torch.equal(before[..., (rows + dy).clamp(0, 11), :][..., (columns + dx).clamp(0, 8)], after)
        }
        assert len(matches) == 1, "all planes move alike"
        found |= matches
    assert len(found) > 20 and {dy for dy, _ in found} == {dx for _, dx in found} == set(range(-4, 5))


def test_pictures_become_brighter_or_darker_by_a_tenth_at_most() -> None:
    pictures = torch.full((500, 2, 5, 5), 100, dtype=torch.uint8)
    changed = augmented(pictures, ["intensity"], drawn())
    assert changed.dtype == torch.float32
    assert (changed == changed[:, :1, :1, :1]).all(), "each picture as a whole"
    assert 90.0 - 1e-3 <= changed.amin() < 92.0 and 108.0 < changed.amax() <= 110.0 + 1e-3
    assert abs(changed.mean() - 100.0) < 1.0


def test_nothing_is_changed_unless_asked_for_and_the_same_draws_change_alike() -> None:
    pictures = torch.randint(256, (4, 6, 6), generator=drawn(1)).to(torch.uint8)
    assert augmented(pictures, (), drawn()) is pictures
    once, again = (augmented(pictures, ("shift", "intensity"), drawn(5)) for _ in range(2))
    torch.testing.assert_close(once, again, rtol=0, atol=0)
