"""How well a world model foretells episodes that it did not learn from, and what the policy does in it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rlsys.algorithms.iris.imagination import Dream
from rlsys.algorithms.iris.tokenizer.tokenizer import as_bytes
from rlsys.api import World
from rlsys.planning.open_loop import foretell
from rlsys.types import EpisodeRecord, ModelComparison

STEPS = (1, 10, 50)
"""Ahead at which it is compared."""
_FILMED = 4
_KEPT = 10


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


def imagined_episodes(dream: Dream, shape: tuple[int, ...]) -> tuple[dict[str, float], Sequence[EpisodeRecord]]:
    """Returns what was imagined up to the first end of each dream.

    Args:
      dream: of B copies.
      shape: of frames as the environment has them.

    Returns:
      Metrics: the means of `imagination/episode_return` and `imagination/episode_length`. And some of the episodes.
    """
    ended = dream.terminated.long()
    counts = ended.cumsum(dim=1) == ended
    length = counts.sum(dim=1)
    metrics = {
        "imagination/episode_return": float((dream.reward * counts).sum(dim=1).mean()),
        "imagination/episode_length": float(length.float().mean()),
    }
    seen = as_bytes(dream.frames[:_KEPT]).reshape(-1, dream.frames.shape[1], *shape)
    columns = [part[:_KEPT].cpu().numpy() for part in (seen, dream.action, dream.reward, dream.terminated)]
    rows = zip(length.tolist(), *columns, strict=False)
    return metrics, [EpisodeRecord(seen[: n + 1], done[:n], came[:n], over[:n]) for n, seen, done, came, over in rows]
