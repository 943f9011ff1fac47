"""How well a world model foretells held-out episodes. Kaiser et al. 2020, section 6, https://arxiv.org/abs/1903.00374."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from rlsys.algorithms.simple.next_frame import INPUT_FRAMES
from rlsys.algorithms.simple.simulation import Simulation


@torch.no_grad()
def compare(
    simulation: Simulation, batches: Iterable[tuple[Tensor, Tensor, Tensor]], ratios: Sequence[float]
) -> dict[str, float]:
    """Repeats real actions in the model and compares what comes.

    Args:
      simulation: begins anew with each batch.
      batches: frames `[B, 4 + T, C, H, W]`, actions and rewards `[B, 4 + T]` of real episodes.
      ratios: shares of the T steps after which rewards are compared.

    Returns:
      `world/reward_accuracy_at_<t>`, the share of rollouts whose predicted rewards so far add up to the real ones;
      `world/frame_error_at_<t>`, the mean absolute error of a pixel's channel after t steps, in [0, 255]; and
      `world/copy_error_at_<t>`, that of showing the last known frame for ever.
    """
    sums: dict[str, float] = {}
    count = 0
    for frame, action, reward in batches:
        length = frame.shape[1] - INPUT_FRAMES
        at = sorted({1, *(max(1, int(ratio * length)) for ratio in ratios)})
        simulation.begin(frame[:, :INPUT_FRAMES])
        known = frame[:, INPUT_FRAMES - 1].float()
        foretold, happened = torch.zeros(len(frame), device=frame.device), torch.zeros(len(frame), device=frame.device)
        for step in range(1, length + 1):
            row = INPUT_FRAMES - 2 + step
            seen, predicted = simulation.step(action[:, row])
            foretold, happened = foretold + predicted, happened + reward[:, row]
            if step in at:
                real = frame[:, row + 1].float()
                found = {
                    f"world/reward_accuracy_at_{step}": (foretold == happened).float().mean(),
                    f"world/frame_error_at_{step}": (seen.float() - real).abs().mean(),
                    f"world/copy_error_at_{step}": (known - real).abs().mean(),
                }
                for name, value in found.items():
                    sums[name] = sums.get(name, 0.0) + float(value)
        count += 1
    return {name: total / count for name, total in sums.items()}
