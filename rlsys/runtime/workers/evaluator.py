"""Evaluation while a run trains: frozen weights, the same seeds each time, the first game filmed."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from rlsys.config import EnvConfig
from rlsys.envs.make import make
from rlsys.errors import EnvError
from rlsys.runtime.episodes import EpisodeStatistics, play_episodes
from rlsys.runtime.metrics.vitals import Vitals
from rlsys.runtime.plan import Plan
from rlsys.runtime.workers.weights import Echo, echo
from rlsys.types import Array, Weights
from rlsys.viewer.film import Film

_MOST_FRAMES = 1_800
"""A film ends after a minute at 30 frames a second, however long the game."""


@dataclass(frozen=True)
class Evaluation:
    """What came out, of the weights of which learner step.

    Without a film of the first game where it cannot be drawn, and without vitals in a process that is not its own.
    """

    learner_step: int
    acted_with: Echo
    statistics: EpisodeStatistics
    film: Path | None
    vitals: Vitals | None = None


def evaluate(plan: Plan, weights: Weights) -> Evaluation:
    """Plays `run.evaluation_episodes` whole games; the same weights always give the same result."""
    policy = plan.algorithm.make_policy(plan.policy_context(worker=0, incarnation=0))
    policy.set_weights(weights)
    seed = plan.seeds("evaluation")[0] % 2**31
    episodes, env = plan.run.evaluation_episodes, plan.evaluation_env
    most = min(episodes, plan.runtime.environments_per_worker)
    film = Film(plan.folder / "media" / f"evaluation-{weights.learner_step:09d}.mp4")

    def show(frame: Array) -> None:
        if film.num_frames < _MOST_FRAMES:
            film.append(frame)

    on_frame = show if plan.run.video and _can_be_drawn(env) else None
    explore = plan.run.evaluation_explore
    with film:
        statistics = play_episodes(
            policy, env, episodes, seed, explore=explore, max_environments=most, on_frame=on_frame
        )
    acted_with = echo(weights.version, policy.weights())
    return Evaluation(weights.learner_step, acted_with, statistics, film.path if film.num_frames else None)


def _can_be_drawn(config: EnvConfig) -> bool:
    with contextlib.suppress(EnvError):
        make(config, 0, training=False, render_mode="rgb_array").close()  # type: ignore[no-untyped-call]
        return True
    return False
