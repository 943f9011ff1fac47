"""How a run stands: the figures that its terminal, its folder and whoever asks are shown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Status:
    """How a run stands; NaN and None mean that a number is not known yet.

    Attributes:
      elapsed_s: wall time of all sessions.
      time_left_s: until the budget is spent, at the present rate.
      learner_steps, updates_per_s: of the learner.
      env_steps, env_steps_per_s: decisions of all environments.
      frames, frames_per_s: simulator frames.
      episodes: whole games finished.
      mean_return: raw return, mean of the last games.
      returns: raw returns of recent games, oldest first.
      evaluation_return, best_return: means of the last and of the best evaluation.
      losses: name of the metric, such as `loss/value` -> value.
      replay_items, replay_size: items in the table, and how many it keeps.
      samples_per_insert, samples_per_insert_target: the ratio so far, and as configured.
      batches_in_flight: batches on their way to the learner.
      queues: other queues: name -> depth.
      version_lag: versions by which acting weights are behind.
      learner_idle_share: share of the learner's time spent waiting, 0 to 1.
      shares: `workers/<kind>_<part>_share` -> where the workers' time went in the last half minute.
      advice: what binds the run, and what to do about it; empty while that is not clear.
      waits: "rollout worker 3 waits for …", a line for workers of a kind that wait for the same.
      restarts: of all workers.
      checkpoint_step: learner step of the newest checkpoint.
    """

    elapsed_s: float = 0.0
    time_left_s: float | None = None
    learner_steps: int = 0
    updates_per_s: float = math.nan
    env_steps: int = 0
    env_steps_per_s: float = math.nan
    frames: int = 0
    frames_per_s: float = math.nan
    episodes: int = 0
    mean_return: float = math.nan
    returns: Sequence[float] = ()
    evaluation_return: float = math.nan
    best_return: float = math.nan
    losses: Mapping[str, float] = field(default_factory=dict)
    replay_items: int = 0
    replay_size: int = 0
    samples_per_insert: float = math.nan
    samples_per_insert_target: float | None = None
    batches_in_flight: int | None = None
    queues: Mapping[str, int] = field(default_factory=dict)
    version_lag: float = math.nan
    learner_idle_share: float = math.nan
    shares: Mapping[str, float] = field(default_factory=dict)
    advice: str = ""
    waits: Sequence[str] = ()
    restarts: int = 0
    checkpoint_step: int | None = None
