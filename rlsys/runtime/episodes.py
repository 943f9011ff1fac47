"""Whole episodes on fixed seeds, with raw rewards, played in lockstep."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlsys.api import Decision, Policy
from rlsys.config import EnvConfig
from rlsys.envs.make import make, spec
from rlsys.runtime.workers.states import restart
from rlsys.types import Array, State
from rlsys.viewer.trace import Trace

OnFrame = Callable[[Array], None]
"""Takes a picture of the first episode, `[H, W, 3]` uint8."""

OnStep = Callable[[Array, float], None]
"""Takes a picture as above and the raw reward of the step that led to it, 0 for the first."""

OnDecision = Callable[[int, int], None]
"""Takes (decision, row): the policy has just decided for the first episode, which is that row of the batch."""

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
    """

    returns: Array
    clipped: Array
    lengths: Array
    frames: Array
    traces: tuple[Trace, ...] = ()

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

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

    def then(self, others: "EpisodeStatistics") -> "EpisodeStatistics":
        """Returns these episodes followed by others."""
        return EpisodeStatistics(
            np.concatenate([self.returns, others.returns]),
            np.concatenate([self.clipped, others.clipped]),
            np.concatenate([self.lengths, others.lengths]),
            np.concatenate([self.frames, others.frames]),
            self.traces + others.traces,
        )


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
    explore: bool = False,
    max_environments: int = MOST_ENVIRONMENTS,
    max_steps: int | None = None,
    traces: bool = False,
    on_frame: OnFrame | None = None,
    on_steps: Mapping[int, OnStep] | None = None,
    on_decision: OnDecision | None = None,
) -> EpisodeStatistics:
    """Plays each of `episodes` seeds once, to the end, however long it takes: short games are not favoured.

    Args:
      policy: acts for up to `max_environments` episodes at once; it has its weights already.
      env_config: the environment, played without what changes rewards or ends for learning.
      episodes: how many.
      seed: episode g is played in a new environment of seed + g.
      explore: act as while collecting.
      max_environments: episodes in lockstep; at most what the policy was built for.
      max_steps: decisions after which an episode is cut, and counts with what it has earned; None cuts none.
      traces: keep rewards and extras of every step.
      on_frame: is shown the first episode, if the environment can be drawn.
      on_steps: index of an episode -> what is shown it, likewise, with its rewards.
      on_decision: is told of each decision in the first episode.

    Raises:
      EnvError: the environment cannot be made, or not be drawn.
    """
    frames_per_step = spec(env_config).frames_per_step
    waiting = iter(range(episodes))
    finished: dict[int, _Episode] = {}
    shown = {index: [show] for index, show in (on_steps or {}).items()}
    if on_frame is not None:
        shown.setdefault(0, []).append(lambda picture, reward: on_frame(picture))

    def start(count: int) -> list[_Episode]:
        return [
            _Episode(env_config, seed, index, shown.get(index, ()), traces, max_steps)
            for index in itertools.islice(waiting, count)
        ]

    running = start(min(episodes, max_environments))
    state = policy.initial_state(len(running))
    while running:
        decision = policy.act(np.stack([episode.observation for episode in running]), state, explore=explore)
        if on_decision is not None and running[0].index == 0:
            on_decision(running[0].length, 0)
        reward = np.array([episode.step(decision, row) for row, episode in enumerate(running)], np.float32)
        state = policy.after_step(decision.state, decision.action, reward)
        state = restart(policy, state, [row for row, episode in enumerate(running) if episode.lost_life])
        ended = [row for row, episode in enumerate(running) if episode.ended]
        finished.update({running[row].index: running[row] for row in ended})
        fresh = start(len(ended))
        kept = [row for row in range(len(running)) if row not in ended]
        state = _continue_state(policy, state, kept, len(fresh))
        running = [running[row] for row in kept] + fresh
    in_order = [finished[index] for index in range(episodes)]
    lengths = np.array([episode.game[1] for episode in in_order], np.int64)
    return EpisodeStatistics(
        returns=np.array([episode.game[0] for episode in in_order], np.float64),
        clipped=np.array([episode.clipped for episode in in_order], np.float64),
        lengths=lengths,
        frames=lengths * frames_per_step,
        traces=tuple(episode.trace() for episode in in_order) if traces else (),
    )


class _Episode:
    """One episode that is being played.

    Attributes:
      index: its number.
      observation: what the policy sees next.
      length: decisions so far.
      lost_life: whether the last step ended an episode as learning knows it, but not the game.
      ended: whether it is over.
      clipped: sum of the signs of its rewards so far.
      game: its return and length, once it is over.
    """

    def __init__(
        self,
        config: EnvConfig,
        seed: int,
        index: int,
        on_step: Sequence[OnStep],
        traced: bool,
        max_steps: int | None,
    ) -> None:
        self.index = index
        self.length = 0
        self.clipped = 0.0
        self.lost_life = False
        self.ended = False
        self.game: tuple[float, int] = (0.0, 0)
        render_mode = "rgb_array" if on_step else None
        self._env: Any = make(config, seed + index, training=False, render_mode=render_mode)
        self._on_step = on_step
        self._max_steps = max_steps
        self._traced = traced
        self._rewards: list[float] = []
        self._extras: dict[str, list[Array]] = {}
        self.observation, _ = self._env.reset()
        self._show(0.0)

    def step(self, decision: Decision, row: int) -> float:
        """Takes the action of one row of a decision and returns the raw reward."""
        action = decision.action[row]
        observation, reward, terminated, truncated, _ = self._env.step(action if action.ndim else int(action))
        self.observation = observation
        self.length += 1
        self.clipped += float(np.sign(reward))
        self._show(float(reward))
        if self._traced:
            self._rewards.append(float(reward))
            for name, value in decision.extras.items():
                self._extras.setdefault(name, []).append(np.array(value[row]))
        finished_games = self._env.get_wrapper_attr("finished_games")
        self.lost_life = bool((terminated or truncated) and not finished_games)
        if self.lost_life:
            self.observation, _ = self._env.reset()  # a life was lost: the game goes on, with FIRE where it needs that
        if finished_games or self.length == self._max_steps:
            self.ended = True
            self.game = finished_games[0] if finished_games else self._env.get_wrapper_attr("running_game")
            self._env.close()
        return float(reward)

    def trace(self) -> Trace:
        """Returns what was kept of each step."""
        return Trace(np.array(self._rewards), {name: np.stack(values) for name, values in self._extras.items()})

    def _show(self, reward: float) -> None:
        if self._on_step:
            picture = self._env.render()
            for show in self._on_step:
                show(picture, reward)


def _continue_state(policy: Policy, state: State, kept: Sequence[int], num_fresh: int) -> State:
    fresh = policy.initial_state(num_fresh) if num_fresh else {}
    return {
        name: np.concatenate([value[list(kept)], *([fresh[name]] if fresh else [])]) for name, value in state.items()
    }
