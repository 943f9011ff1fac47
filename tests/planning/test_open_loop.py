"""What a world makes of frames that it is given."""

import numpy as np
import pytest
import torch

from rlsys.planning.open_loop import reconstruct
from rlsys.testing.worlds import DotWorld, draw_dots


@pytest.mark.parametrize("num_context", [1, 3])
def test_a_world_that_keeps_frames_as_they_are_reconstructs_them(num_context: int) -> None:
    position = np.stack([np.full(6, 3), np.arange(6)], axis=1)
    frames = torch.from_numpy(draw_dots(position, np.full(6, 200)))[None].repeat(2, 1, 1, 1)
    action = torch.full((2, 5), 3)
    world = DotWorld(min_context=num_context)
    made = reconstruct(world, frames, action)
    assert torch.equal(made, frames[:, num_context - 1 :])
