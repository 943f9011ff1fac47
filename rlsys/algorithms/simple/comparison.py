"""How well a world model foretells held-out episodes. Kaiser et al. 2020, section 6, https://arxiv.org/abs/1903.00374."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from rlsys.algorithms.simple.networks import INPUT_FRAMES
from rlsys.api import World
from rlsys.planning.open_loop import foretell
from rlsys.types import ModelComparison


@torch.no_grad()
def compare(
    world: World,
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    ratios: Sequence[float],
    num_shown: int,
) -> tuple[dict[str, float], list[ModelComparison]]:
    """Repeats real actions in the model and compares what comes.

    Args:
      world: the model.
      batches: frames `[B, 4 + T, *frame]`, actions and rewards `[B, 3 + T]` of real episodes.
      ratios: shares of the T steps after which rewards are compared.
      num_shown: rollouts of the first batch that are returned.

    Returns:
      Metrics: `world/reward_accuracy_at_<t>`, the share of rollouts whose predicted rewards so far add up to the real
      ones; `world/frame_error_at_<t>`, the mean absolute error of a pixel's channel after t steps, in [0, 255]; and
      `world/copy_error_at_<t>`, that of showing the last known frame for ever. And what was foretold, to be shown.
    """
    sums: dict[str, float] = {}
    shown: list[ModelComparison] = []
    count = 0
    for frame, action, reward in batches:
        real, happened = frame[:, INPUT_FRAMES:], reward[:, INPUT_FRAMES - 1 :]
        seen, foretold = foretell(world, frame[:, :INPUT_FRAMES], action)
        known = frame[:, INPUT_FRAMES - 1].float()
        length = real.shape[1]
        for step in sorted({1, *(max(1, int(ratio * length)) for ratio in ratios)}):
            now = real[:, step - 1].float()
            is_right = foretold[:, :step].sum(dim=1) == happened[:, :step].sum(dim=1)
            found = {
                f"world/reward_accuracy_at_{step}": is_right.float().mean(),
                f"world/frame_error_at_{step}": (seen[:, step - 1].float() - now).abs().mean(),
                f"world/copy_error_at_{step}": (known - now).abs().mean(),
            }
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        if not shown:
            arrays = [part[:num_shown].cpu().numpy() for part in (real, seen, happened, foretold)]
            shown = [ModelComparison(*rows) for rows in zip(*arrays, strict=True)]
        count += 1
    return {name: total / count for name, total in sums.items()}, shown
