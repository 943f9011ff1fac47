"""How well a world model foretells episodes that it did not learn from."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rlsys.api import World
from rlsys.planning.open_loop import foretell
from rlsys.types import ModelComparison

STEPS = (1, 10, 50)
"""Ahead at which it is compared."""
_FILMED = 4


@torch.no_grad()
def compare(
    world: World, frame: Tensor, action: Tensor, reward: Tensor
) -> tuple[dict[str, float], Sequence[ModelComparison]]:
    """Repeats real actions in the model and compares what comes.

    Args:
      world: the model.
      frame: `[B, R + T, *frame]` of real episodes, where the model begins from R = `max_context` of them.
      action: `[B, R - 1 + T]`.
      reward: likewise.

    Returns:
      Metrics: `world/frame_error_at_<t>`, the mean absolute error of a pixel's channel after t steps, in [0, 255];
      `world/copy_error_at_<t>`, that of showing the last known frame for ever; and `world/reward_error_at_<t>`, that
      of the reward. And what was foretold, to be shown.
    """
    known = world.max_context
    real, happened = frame[:, known:], reward[:, known - 1 :]
    shown, foretold = foretell(world, frame[:, :known], action)
    last = frame[:, known - 1].float()
    metrics: dict[str, float] = {}
    for step in (step for step in STEPS if step <= real.shape[1]):
        now = real[:, step - 1].float()
        metrics[f"world/frame_error_at_{step}"] = float((shown[:, step - 1].float() - now).abs().mean())
        metrics[f"world/copy_error_at_{step}"] = float((last - now).abs().mean())
        metrics[f"world/reward_error_at_{step}"] = float((foretold - happened)[:, step - 1].abs().mean())
    arrays = [part[:_FILMED].cpu().numpy() for part in (real, shown, happened, foretold)]
    return metrics, [ModelComparison(*rows) for rows in zip(*arrays, strict=True)]
