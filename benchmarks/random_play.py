"""What uniformly random actions score: the floor that learning is shown above.

    python benchmarks/random_play.py EXPERIMENT [--episodes N] [--json FILE] [KEY=VALUE …]

Whole games of the experiment's environment, with its mean return and a 95 % bootstrap interval. Each environment counts
equally often, so that short games are not preferred.
"""

import argparse

import numpy as np
from rows import json_option, positive, publish

from rlsys import config
from rlsys.envs.vector import BatchedEnv

_ENVIRONMENTS, _RESAMPLED, _SEED = 50, 2_000, 0


def play(env: config.EnvConfig, episodes: int) -> np.ndarray:
    """Returns the raw returns `[E × n]` of the first n games of each of E environments, at least `episodes` in all."""
    batch = BatchedEnv(env, range(_ENVIRONMENTS), training=False)
    rng = np.random.default_rng(_SEED)
    each = -(-episodes // _ENVIRONMENTS)
    returns: list[list[float]] = [[] for _ in range(_ENVIRONMENTS)]
    while min(map(len, returns)) < each:
        for game in batch.step(rng.integers(0, batch.spec.num_actions, _ENVIRONMENTS)).games:
            returns[game.environment].append(game.episode_return)
    batch.close()
    return np.array([games[:each] for games in returns]).ravel()


def main() -> None:
    """Prints the row; `--json FILE` appends it as a JSON line, too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--episodes", type=positive(int), default=2_000, help="at least (default: 2,000)")
    json_option(parser)
    options = parser.parse_intermixed_args()
    env = config.load(options.experiment, overrides=options.overrides).experiment.env
    returns = play(env, options.episodes)
    rng = np.random.default_rng(_SEED)
    means = [rng.choice(returns, len(returns)).mean() for _ in range(_RESAMPLED)]
    low, high = np.percentile(means, [2.5, 97.5])
    words = ["python benchmarks/random_play.py", options.experiment, f"--episodes {options.episodes}"]
    row = {
        "what": f"random play, {env.id}",
        "episodes": len(returns),
        "mean": round(float(returns.mean()), 3),
        "interval": [round(float(low), 3), round(float(high), 3)],
        "seed": _SEED,
        "command": " ".join([*words, *options.overrides]),
    }
    publish(
        options.json, [row], lambda row: f"{row['what']}: {row['mean']} {row['interval']} over {row['episodes']} games"
    )


if __name__ == "__main__":
    main()
