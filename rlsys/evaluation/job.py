"""Episodes of one row of an evaluation, divided among processes."""

import contextlib
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType

import numpy as np

from rlsys.api import Policy, PolicyContext
from rlsys.config import EnvConfig
from rlsys.evaluation.episodes import EpisodeStatistics, no_episodes, play_episodes
from rlsys.evaluation.kept_games import KeptGames
from rlsys.evaluation.moments import Moments
from rlsys.evaluation.watching import DEBUG_FPS, Trees, Watched, all_of, debugging, plain
from rlsys.exports.find import give_weights
from rlsys.types import Weights
from rlsys.viewer.episodes import write_episodes
from rlsys.viewer.film import Film, FilmLimits


@dataclass(frozen=True)
class Job:
    """Episodes to be played by one process, and what their policy is built from.

    Attributes:
      make_policy, context: build the policy.
      env: what is played.
      weights: what is played with; None for a policy without.
      episodes: how many; episode g has the seed `seed` + g.
      seed: of episode 0.
      first: index of the first of them.
      max_steps: decisions after which one is cut.
      debug_films: index of an episode -> its film, with rewards in a header.
      limits: of each film.
    """

    make_policy: Callable[[PolicyContext], Policy]
    context: PolicyContext
    env: EnvConfig
    weights: Weights | None
    episodes: int
    seed: int
    first: int = 0
    max_steps: int | None = None
    debug_films: Mapping[int, Path] = field(default_factory=dict)
    limits: FilmLimits | None = None

    @property
    def indices(self) -> range:
        """Of its episodes."""
        return range(self.first, self.first + self.episodes)

    def divided(self, parts: int) -> list["Job"]:
        """Returns up to `parts` jobs with about as many episodes each, which together play the same seeds.

        The draws of their policies differ.
        """
        bounds = np.linspace(0, self.episodes, min(parts, self.episodes) + 1).astype(int).tolist()
        return [
            dataclasses.replace(
                self,
                context=dataclasses.replace(self.context, seed=self.context.seed + start),
                episodes=end - start,
                first=self.first + start,
            )
            for start, end in itertools.pairwise(bounds)
        ]


class Players:
    """Processes among which the episodes of one row after the other are divided; a context that ends them."""

    def __init__(self, parallel: int) -> None:
        """Takes how many there are; this process is one of them, and the others begin when they are needed."""
        self._parallel = parallel
        self._others: dict[int, ProcessPoolExecutor] = {}

    def __enter__(self) -> "Players":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for other in self._others.values():
            other.shutdown(cancel_futures=True)

    def play(self, job: Job, watched: Watched) -> EpisodeStatistics:
        """Plays the part with the watched episode here, and each other part in a process of its own.

        Episodes of a process that dies are lost like those that crash, and the others are played on.
        """
        parts = job.divided(self._parallel)
        here = next(place for place, part in enumerate(parts) if watched.episode in part.indices)
        played = {place: self._begin(place, part) for place, part in enumerate(parts) if place != here}
        mine = _play(parts[here], watched)
        found = [mine if place == here else self._end(place, played[place], part) for place, part in enumerate(parts)]
        return functools.reduce(EpisodeStatistics.then, found)

    def _begin(self, place: int, part: Job) -> Future[EpisodeStatistics]:
        if place not in self._others:
            threads = max(1, (os.cpu_count() or 1) // self._parallel)
            self._others[place] = ProcessPoolExecutor(
                1, get_context("spawn"), initializer=_use_threads, initargs=(threads,)
            )
        return self._others[place].submit(_play, part, Watched(part.first))

    def _end(self, place: int, playing: Future[EpisodeStatistics], part: Job) -> EpisodeStatistics:
        try:
            return playing.result()
        except BrokenProcessPool:
            self._others.pop(place).shutdown()
            first, last = part.indices[0], part.indices[-1]
            which = f"game {first}" if first == last else f"games {first} to {last}"
            return no_episodes([f"{which} (seeds from {part.seed + first}) are lost: their process died"])


def _use_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def _play(job: Job, watched: Watched) -> EpisodeStatistics:
    policy = job.make_policy(job.context)
    if job.weights is not None:
        give_weights(policy, job.weights)
    trees = Trees(policy, watched.trees, job.context, watched.episode, watched.trees_after) if watched.trees else None
    moments = Moments(policy, job.context.env) if watched.latents else None
    kept = KeptGames(job.first + job.episodes, job.context.env.num_stack) if watched.record else None
    with contextlib.ExitStack() as stack:
        films = [stack.enter_context(Film(path)) for path in watched.films]
        shows = {watched.episode: [plain(film) for film in films] + ([watched.show] if watched.show else [])}
        for index in job.debug_films.keys() & set(job.indices):
            films.append(stack.enter_context(Film(job.debug_films[index], DEBUG_FPS)))
            shows.setdefault(index, []).append(debugging(films[-1]))
        statistics = play_episodes(
            policy,
            job.env,
            job.episodes,
            job.seed,
            first=job.first,
            leader=watched.episode,
            outlives_crashes=True,
            max_steps=job.max_steps,
            traces=True,
            on_steps={index: all_of(several) for index, several in shows.items() if several},
            limits=None if watched.show else job.limits,
            on_decision=[told for told in (trees, moments, kept) if told is not None],
        )
    if moments is not None and watched.latents is not None:
        moments.write(watched.latents)
    if kept is not None and watched.record is not None:
        write_episodes(watched.record, kept.take())
    troubles = [f"the film {film.path} is left out: {film.trouble}" for film in films if film.trouble]
    return statistics.with_troubles([*troubles, trees.trouble if trees else ""])
