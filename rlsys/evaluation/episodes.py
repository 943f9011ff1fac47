"""Whole episodes on fixed seeds, with raw rewards, played in lockstep."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rlsys.actor import Actor
from rlsys.api import Decision, Policy
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError
from rlsys.evaluation.episode import Episode, OnStep, crash_of
from rlsys.types import Array, DType
from rlsys.viewer.film import FilmLimits
from rlsys.viewer.trace import Trace

OnFrame = Callable[[Array], None]
"""Takes a picture of the first episode, `[H, W, 3]` uint8."""

OnDecision = Callable[[Sequence[Episode], Decision], None]
"""Takes the running episodes, row by row, and what the policy has just decided for them."""

MOST_ENVIRONMENTS = 32
"""Episodes that are played in lockstep unless something else is asked for."""


@dataclass(frozen=True)
class EpisodeStatistics:
    """Results of N whole episodes, in the order of their seeds.

    Attributes:
      returns: `[N]` sums of raw rewards.
      clipped: `[N]` sums of the signs of the rewards that followed decisions.
      lengths: `[N]` decisions, those that wrappers take after a reset (FIRE) included.
      frames: `[N]` simulator frames.
      traces: one per episode if they were asked for.
      troubles: a sentence for each thing that could not be shown; none where all could.
      shortened: some words for each episode of which only the beginning was shown.
      crashed: a sentence for each episode, or several, that crashed: they are not among the N.
    """

    returns: Array
    clipped: Array
    lengths: Array
    frames: Array
    traces: tuple[Trace, ...] = ()
    troubles: tuple[str, ...] = ()
    shortened: tuple[str, ...] = ()
    crashed: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def mean_clipped(self) -> float:
        """Mean sum of the signs of the rewards."""
        return float(self.clipped.mean())

    @property
    def median(self) -> float:
        """Median return."""
        return float(np.median(self.returns))

    @property
    def std(self) -> float:
        """Standard deviation of the return, as a sample's; 0 for one episode."""
        return float(self.returns.std(ddof=1)) if len(self.returns) > 1 else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the mean return."""
        return bootstrap_interval(self.returns)

    @property
    def mean_length(self) -> float:
        """Mean length in decisions."""
        return float(self.lengths.mean())

    def with_troubles(self, troubles: Iterable[str]) -> "EpisodeStatistics":
        """Returns the same with more that could not be shown; what is empty does not count."""
        return replace(self, troubles=tuple(dict.fromkeys(filter(None, (*self.troubles, *troubles)))))

    def then(self, others: "EpisodeStatistics") -> "EpisodeStatistics":
        """Returns these episodes followed by others."""
        return EpisodeStatistics(
            np.concatenate([self.returns, others.returns]),
            np.concatenate([self.clipped, others.clipped]),
            np.concatenate([self.lengths, others.lengths]),
            np.concatenate([self.frames, others.frames]),
            self.traces + others.traces,
            tuple(dict.fromkeys(self.troubles + others.troubles)),
            self.shortened + others.shortened,
            self.crashed + others.crashed,
        )


def no_episodes(crashed: Iterable[str]) -> EpisodeStatistics:
    """Returns what there is of episodes that all crashed."""
    none = np.zeros(0)
    return EpisodeStatistics(none, none, none.astype(np.int64), none, crashed=tuple(crashed))


def bootstrap_interval(
    values: Array, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Returns the percentile bootstrap interval of the mean.

    Efron 1979. Too narrow for a handful of episodes: with N of them it covers about as often as a normal interval whose
    standard deviation is divided by N instead of N - 1.

    Args:
      values: `[N]`, at least one.
      confidence: share of the resampled means inside.
      resamples: how often N values are drawn with replacement.
      seed: of the draws; the same values always give the same interval.
    """
    rng = np.random.default_rng(seed)
    rows = max(1, 1_000_000 // len(values))
    means = np.concatenate(
        [
            values[rng.integers(len(values), size=(min(rows, resamples - start), len(values)))].mean(axis=1)
            for start in range(0, resamples, rows)
        ]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def play_episodes(
    policy: Policy,
    env_config: EnvConfig,
    episodes: int,
    seed: int,
    *,
    first: int = 0,
    leader: int | None = None,
    outlives_crashes: bool = False,
    explore: bool = False,
    max_environments: int = MOST_ENVIRONMENTS,
    max_steps: int | None = None,
    traces: bool = False,
    on_frame: OnFrame | None = None,
    on_steps: Mapping[int, OnStep] | None = None,
    limits: FilmLimits | None = None,
    on_decision: Sequence[OnDecision] = (),
    on_turn: Callable[[], None] | None = None,
) -> EpisodeStatistics:
    """Plays each of `episodes` seeds once, to the end, however long it takes: short games are not favoured.

    Args:
      policy: acts for up to `max_environments` episodes at once; it has its weights already.
      env_config: the environment. The policy is told of it what it is told in training; what is counted are raw
        rewards of whole games.
      episodes: how many.
      seed: episode g is played in a new environment of seed + g.
      first: index of the first of them.
      leader: index of the one that is begun first, and is in the first row of every batch until it ends.
      outlives_crashes: an episode whose environment fails is left out, and `crashed` says why; else that is raised.
      explore: act as while collecting.
      max_environments: episodes in lockstep; at most what the policy was built for.
      max_steps: decisions after which an episode is cut, and counts with what it has earned; None cuts none.
      traces: keep rewards and extras of every step.
      on_frame: is shown episode 0. What cannot be drawn is played all the same: `troubles` says why.
      on_steps: index of an episode -> what is shown it, likewise, with its rewards.
      limits: of what is shown of each; None shows whole games.
      on_decision: are told of each decision of all.
      on_turn: is called before each decision of all; what it raises ends the games.

    Raises:
      EnvError: the environment cannot be made.
    """
    env = env_spec(env_config)
    shown = {index: [show] for index, show in (on_steps or {}).items()}
    if on_frame is not None:
        shown.setdefault(0, []).append(lambda picture, reward: on_frame(picture))
    indices = sorted(range(first, first + episodes), key=lambda index: index != leader)
    crashed: dict[int, str] = {}

    def begun() -> Iterator[Episode]:
        for index in indices:
            try:
                yield Episode(env_config, seed, index, shown.get(index, ()), limits, traced=traces, max_steps=max_steps)
            except ConfigError:
                raise
            except Exception as error:
                if not outlives_crashes:
                    raise
                crashed[index] = crash_of(index, seed, 0, error)

    waiting = begun()
    running = list(itertools.islice(waiting, max_environments))
    actor = Actor(policy, len(running))
    finished: list[Episode] = []
    while running:
        if on_turn is not None:
            on_turn()
        _turn(actor, running, env.action.dtype, explore, on_decision, outlives_crashes)
        kept = [row for row, episode in enumerate(running) if not episode.ended]
        if len(kept) < len(running):
            finished += [episode for episode in running if episode.ended]
            fresh = list(itertools.islice(waiting, len(running) - len(kept)))
            actor.keep(kept, len(fresh))
            running = [running[row] for row in kept] + fresh
    crashed |= {episode.index: episode.crash for episode in finished if episode.crash}
    whole = sorted((episode for episode in finished if not episode.crash), key=lambda episode: episode.index)
    lost = [crashed[index] for index in sorted(crashed)]
    return replace(_statistics(whole, env.frames_per_step, traces), crashed=tuple(lost)) if whole else no_episodes(lost)


def _turn(
    actor: Actor,
    running: Sequence[Episode],
    action_dtype: DType,
    explore: bool,
    on_decision: Sequence[OnDecision],
    outlives_crashes: bool,
) -> None:
    """Decides for all running episodes, and takes a step of each."""
    decision = actor.decide(np.stack([episode.observation for episode in running]), explore=explore)
    for tell in on_decision:
        tell(running, decision)
    action = np.array(decision.action, action_dtype)
    for row, episode in enumerate(running):
        (episode.try_step if outlives_crashes else episode.step)(decision, action, row)
    actor.observe(
        action,
        np.array([episode.reward for episode in running], np.float32),
        np.array([episode.first for episode in running], np.bool_),
    )


def _statistics(finished: Sequence[Episode], frames_per_step: float, traces: bool) -> EpisodeStatistics:
    """Returns the results of ended episodes, in their order."""
    lengths = np.array([episode.game[1] for episode in finished], np.int64)
    return EpisodeStatistics(
        returns=np.array([episode.game[0] for episode in finished], np.float64),
        clipped=np.array([episode.clipped for episode in finished], np.float64),
        lengths=lengths,
        frames=lengths * frames_per_step,
        traces=tuple(episode.trace() for episode in finished) if traces else (),
        troubles=tuple(dict.fromkeys(episode.trouble for episode in finished if episode.trouble)),
        shortened=tuple(episode.shortened for episode in finished if episode.shortened),
    )
