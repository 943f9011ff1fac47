"""The peer's side of planet_peer.py: python simulusion_planet.py WINDOWS FRAMES TIMES.

It runs in an environment of its own, and knows nothing of this package.
"""

import json
import sys
from collections.abc import Callable
from time import process_time
from typing import Any

import numpy as np
import torch
from simulusion.controller.rssm_policy import RSSMPolicy
from simulusion.models.rssm import RecurrentStateSpaceModel
from simulusion.training.train_planet import train


def shortest(work: Callable[[], object], times: int) -> float:
    """Returns the CPU time of the shortest of some calls, after one that does not count."""
    work()
    taken = []
    for _ in range(times):
        began = process_time()
        work()
        taken.append(process_time() - began)
    return min(taken)


def main() -> None:
    """Prints the seconds of an update and of a decision."""
    windows, frames, times = map(int, sys.argv[1:])
    torch.set_num_threads(1)
    rng, rows = np.random.default_rng(0), frames - 1
    drawn = (
        rng.integers(0, 256, (frames, windows, 3, 64, 64), np.uint8),
        rng.uniform(-1.0, 1.0, (rows, windows, 1)).astype(np.float32),
        rng.random((rows, windows)).astype(np.float32),
        np.zeros((rows, windows), np.float32),
    )

    class Prepared:
        """Gives the same windows again and again."""

        def sample(self, *arguments: Any, **options: Any) -> Any:
            """Returns the windows, and lengths."""
            return drawn, np.full(windows, rows)

    device, model = torch.device("cpu"), RecurrentStateSpaceModel(1, state_size=200, latent_size=30)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4, eps=1e-4, weight_decay=1e-5)
    policy = RSSMPolicy(
        model, planning_horizon=12, num_candidates=1_000, num_iterations=10, top_candidates=100, device=device
    )
    policy.reset()
    seconds = {
        "update": shortest(lambda: train(Prepared(), model, optimizer, device, windows, rows), times),
        "decision": shortest(lambda: policy.poll(torch.zeros(3, 64, 64)), times),
    }
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
