"""Episodes of one row of an evaluation: divided among processes, filmed, their searches drawn."""

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from rlsys.api import Decision, Policy, PolicyContext
from rlsys.config import EnvConfig
from rlsys.errors import ConfigError
from rlsys.evaluation.episode import Episode, OnStep
from rlsys.evaluation.episodes import EpisodeStatistics, OnFrame, play_episodes
from rlsys.evaluation.moments import Moments
from rlsys.exports.find import give_weights
from rlsys.types import Array, Weights
from rlsys.viewer.film import Film, FilmLimits
from rlsys.viewer.header import with_header
from rlsys.viewer.search_tree import SearchTree, draw_search_tree

_DEBUG_FPS = 10.0
"""Of films with a header: upstream's."""


@runtime_checkable
class Searching(Protocol):
    """A policy that can show the search behind its last decision."""

    def search_tree(self, row: int) -> Mapping[str, Array]:
        """Returns the tree of one row of the last batch: arrays named as in `rlsys.viewer.search_tree.SearchTree`."""


@dataclass(frozen=True)
class Watched:
    """What is made of the first episode, or of all.

    Attributes:
      films: .gif or .mp4 files of it.
      trees: folder for a picture of each of its search trees.
      latents: .npz file of what the policy knows in all episodes.
    """

    films: Sequence[Path] = ()
    trees: Path | None = None
    latents: Path | None = None


@dataclass(frozen=True)
class Job:
    """Episodes to be played by one process, and what their policy is built from.

    Attributes:
      make_policy, context: build the policy.
      env: what is played.
      weights: what is played with; None for a policy without.
      episodes: how many; episode g has the seed `seed` + g.
      seed: of the first.
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
    max_steps: int | None = None
    debug_films: Mapping[int, Path] = field(default_factory=dict)
    limits: FilmLimits | None = None

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
                seed=self.seed + start,
                debug_films={index - start: path for index, path in self.debug_films.items() if start <= index < end},
            )
            for start, end in itertools.pairwise(bounds)
        ]


def play_divided(job: Job, parallel: int, watched: Watched | None = None) -> EpisodeStatistics:
    """Plays the first part here, where it can be watched, and each other part in a process of its own."""
    watched = watched or Watched()
    first, *others = job.divided(parallel)
    if not others:
        return _play(first, watched)
    threads = max(1, (os.cpu_count() or 1) // (1 + len(others)))
    spawn = get_context("spawn")
    with ProcessPoolExecutor(len(others), spawn, initializer=_use_threads, initargs=(threads,)) as pool:
        playing = [pool.submit(_play, other, Watched()) for other in others]
        statistics = _play(first, watched)
        for part in playing:
            statistics = statistics.then(part.result())
    return statistics


def _use_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def _play(job: Job, watched: Watched) -> EpisodeStatistics:
    policy = job.make_policy(job.context)
    if job.weights is not None:
        give_weights(policy, job.weights)
    trees = _Trees(policy, watched.trees, job.context) if watched.trees else None
    moments = Moments(policy, job.context.env) if watched.latents else None
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(Film(path)) for path in watched.films]
        debugging = {index: stack.enter_context(Film(path, _DEBUG_FPS)) for index, path in job.debug_films.items()}
        statistics = play_episodes(
            policy,
            job.env,
            job.episodes,
            job.seed,
            max_steps=job.max_steps,
            traces=True,
            on_frame=_show(writers) if writers else None,
            on_steps={index: _debug(film) for index, film in debugging.items()},
            limits=job.limits,
            on_decision=[told for told in (trees, moments) if told is not None],
        )
    if moments is not None and watched.latents is not None:
        moments.write(watched.latents)
    films = (*writers, *debugging.values())
    troubles = [f"the film {film.path} is left out: {film.trouble}" for film in films if film.trouble]
    return statistics.with_troubles([*troubles, trees.trouble if trees else ""])


def _show(films: Sequence[Film]) -> OnFrame:
    def show(picture: Array) -> None:
        for film in films:
            film.append(picture)

    return show


def _debug(film: Film) -> OnStep:
    """Films an episode below what it has earned so far, what the last step earned, and the number of the frame."""
    total = 0.0

    def show(picture: Array, reward: float) -> None:
        nonlocal total
        total += reward
        film.append(with_header(picture, f"c:{total:g} r:{reward:g}", f"f:{film.num_frames}"))

    return show


class _Trees:
    """Draws the search behind each decision of the first episode, for as long as that works.

    Attributes:
      trouble: one sentence about why there are no more pictures; empty while nothing has gone wrong.
    """

    def __init__(self, policy: Policy, folder: Path, context: PolicyContext) -> None:
        if not isinstance(policy, Searching):
            raise ConfigError(
                f"save_mcts = {folder}, but {type(policy).__name__} does not search; only a search has trees. "
                "Leave it out."
            )
        self.trouble = ""
        self._policy = policy
        self._folder = folder
        self._actions = context.env.action_meanings

    def __call__(self, episodes: Sequence[Episode], decision: Decision) -> None:
        if self.trouble or episodes[0].index:
            return
        tree = SearchTree.from_arrays(self._policy.search_tree(0))
        path = self._folder / f"{episodes[0].length:06d}.png"
        try:
            draw_search_tree(tree, path, actions=self._actions)
        except Exception as error:  # noqa: BLE001 - Graphviz and matplotlib fail in any way, and the game goes on
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            self.trouble = f"search trees are left out from {path} on: {reason}"
