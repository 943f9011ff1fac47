"""Turns the workers' reports into rows of metrics and into what the terminal shows."""

import math
import time
from collections import defaultdict

import numpy as np

from rlsys.runtime.console import Console, Status
from rlsys.runtime.evaluator import Evaluation
from rlsys.runtime.inference import InferenceReport
from rlsys.runtime.learning import LearnerReport
from rlsys.runtime.plan import Plan
from rlsys.runtime.presence import Presence
from rlsys.runtime.progress import Progress
from rlsys.runtime.rollout import RolloutReport
from rlsys.runtime.tracking import Tracker
from rlsys.types import Array


class Recorder:
    """Collects reports and, every `log_every_s`, writes one row to every sink.

    Metric groups: `episodes/` raw returns of whole games, `evaluation/`, `loss/` and what else the learner names,
    `throughput/` per second since the last row, `replay/`, `workers/` shares of time and failures, `inference/`.
    """

    def __init__(
        self, plan: Plan, progress: Progress, tracker: Tracker, console: Console, presence: Presence | None = None
    ) -> None:
        self._plan = plan
        self._presence = presence
        self._progress = progress
        self._tracker = tracker
        self._console = console
        self._restarts = 0
        self._checkpoint_step: int | None = None
        self._returns: list[float] = []
        self._waits: dict[str, str] = {}
        self._replay: dict[str, float] = {}
        self._metrics: dict[str, float] = {}
        self._wrong_weights = 0
        self._version_lag: int | None = None
        self._new_interval()

    def rollout(self, report: RolloutReport) -> None:
        """Takes in what a rollout worker did."""
        self._waits[f"rollout {report.worker}"] = report.waits_for
        self._returns += [game.episode_return for game in report.games]
        self._returns = self._returns[-200:]
        for name in ("env_s", "act_s", "write_s", "wait_s"):
            self._sums[f"workers/rollout_{name.removesuffix('_s')}_share"] += getattr(report, name)
        for name, value in report.means.items():
            self._weighted[name][0] += value * report.env_steps
            self._weighted[name][1] += report.env_steps

    def inference(self, report: InferenceReport) -> None:
        """Takes in what an inference worker did."""
        self._inference.append(report)

    def learner(self, report: LearnerReport) -> None:
        """Takes in what the learner did."""
        self._waits["learner"] = report.waits_for
        for name, value in report.metrics.items():
            self._weighted[name][0] += value * report.steps
            self._weighted[name][1] += report.steps
        self._tracker.histograms(report.histograms)
        self._learner_s[0] += report.wait_s
        self._learner_s[1] += report.step_s
        self._replay = report.replay
        self._lags.append(report.lags)

    def evaluation(self, evaluation: Evaluation) -> None:
        """Writes an evaluation at once, at the step it belongs to."""
        learner_step, statistics = evaluation.learner_step, evaluation.statistics
        if evaluation.film is not None:
            self._tracker.film("evaluation/game", evaluation.film)
        row = {
            "evaluation/return": statistics.mean,
            "evaluation/return_median": statistics.median,
            "evaluation/length": statistics.mean_length,
        }
        self._tracker.log(row, learner_step=learner_step, env_steps=self._progress.env_steps)
        self.message(
            f"evaluation at step {learner_step:,}: return {statistics.mean:,.1f} "
            f"[{statistics.interval[0]:,.1f}, {statistics.interval[1]:,.1f}], {len(statistics.returns)} episodes"
        )

    def waits(self, who: str, what: str) -> None:
        """Notes what somebody waits for who was not even called; nothing, of who is gone."""
        self._waits[who] = what

    def version_lag(self, versions: int) -> None:
        """Notes how far behind the slowest worker's weights are."""
        self._version_lag = versions

    def wrong_weights(self, text: str) -> None:
        """Counts and shows an alarm."""
        self._wrong_weights += 1
        self.message(text)

    def restarted(self, text: str) -> None:
        """Counts and shows a restart."""
        self._restarts += 1
        self.message(text)

    def rewind(self, learner_step: int) -> None:
        """Notes that the learner goes on from a checkpoint: rows of later steps count no more."""
        self._tracker.rewind(learner_step)
        self.message(f"the learner goes on from step {learner_step:,}")

    def checkpoint(self, learner_step: int) -> None:
        """Notes the newest checkpoint."""
        self._checkpoint_step = learner_step

    def message(self, text: str) -> None:
        """Shows one line."""
        self._console.message(text)

    def tick(self) -> None:
        """Writes a row if one is due by the clock, and gives a sign of life."""
        if self._presence is not None:
            self._presence.beat()
        by_clock = not self._plan.run.log_every_learner_steps
        if by_clock and time.monotonic() - self._interval_started >= self._plan.run.log_every_s:
            self.write()

    def finish(self) -> None:
        """Writes what has not been written yet."""
        if not self._plan.run.log_every_learner_steps:
            self.write()

    def write(self) -> None:
        """Writes a row and refreshes the terminal."""
        seconds = max(1e-9, time.monotonic() - self._interval_started)
        row = self._row(seconds)
        self._tracker.log(row, learner_step=self._progress.learner_steps, env_steps=self._progress.env_steps)
        status = self._status(row)
        self._console.update(status)
        if self._presence is not None:
            self._presence.update(status)
        self._new_interval()

    def _row(self, seconds: float) -> dict[str, float]:
        progress = self._progress
        env_steps = progress.env_steps - self._env_steps_before
        updates = max(0, progress.learner_steps - self._learner_steps_before)
        row = {
            "episodes/count": float(progress.episodes),
            "throughput/env_steps_per_s": env_steps / seconds,
            "throughput/frames_per_s": env_steps * self._plan.env_spec.frames_per_step / seconds,
            "throughput/updates_per_s": updates / seconds,
            "throughput/frames": float(progress.frames),
            "workers/restarts": float(self._restarts),
        }
        if progress.returns:
            row["episodes/return"] = progress.mean_return
            row["episodes/length"] = progress.mean_length
        for name, (total, weight) in self._weighted.items():
            if weight:
                row[name] = total / weight
        self._metrics.update({name: row[name] for name in self._weighted if name in row})
        worked = sum(self._sums.values())
        if worked:
            row.update({name: value / worked for name, value in self._sums.items()})
        row.update(self._inference_row())
        if sum(self._learner_s):
            row["workers/learner_idle_share"] = self._learner_s[0] / sum(self._learner_s)
        row["workers/wrong_weights"] = float(self._wrong_weights)
        if self._version_lag is not None:
            row["workers/version_lag"] = float(self._version_lag)
        row.update(self._lag_row())
        row.update({f"replay/{name}": value for name, value in self._replay.items()})
        return row

    def _lag_row(self) -> dict[str, float]:
        lags = np.concatenate([np.zeros(0, np.int64), *self._lags])
        if not len(lags):
            return {}
        self._tracker.histograms({"replay/version_lag": lags})
        median, high, highest = np.quantile(lags, (0.5, 0.95, 1.0))
        return {
            "replay/version_lag_median": float(median),
            "replay/version_lag_p95": float(high),
            "replay/version_lag_max": float(highest),
        }

    def _inference_row(self) -> dict[str, float]:
        reports = self._inference
        decisions, batches = (sum(getattr(report, name) for report in reports) for name in ("decisions", "batches"))
        elapsed_s = sum(report.elapsed_s for report in reports)
        if not batches or not elapsed_s:
            return {}
        return {
            "inference/decisions_per_s": decisions / elapsed_s * self._plan.num_inference_workers,
            "inference/batch_size": decisions / batches,
            "inference/busy_share": sum(report.busy_s for report in reports) / elapsed_s,
        }

    def _status(self, row: dict[str, float]) -> Status:
        progress = self._progress
        return Status(
            elapsed_s=progress.total_s,
            time_left_s=progress.time_left_s(row["throughput/updates_per_s"]),
            env_steps=progress.env_steps,
            frames=progress.frames,
            learner_steps=progress.learner_steps,
            episodes=progress.episodes,
            env_steps_per_s=row["throughput/env_steps_per_s"],
            frames_per_s=row["throughput/frames_per_s"],
            updates_per_s=row["throughput/updates_per_s"],
            mean_return=progress.mean_return,
            returns=tuple(self._returns),
            evaluation_return=progress.evaluation_return,
            best_return=progress.best_return,
            losses={name: value for name, value in self._metrics.items() if name.startswith("loss/")},
            replay_items=int(row.get("replay/items", 0)),
            replay_size=self._plan.replay_size,
            samples_per_insert=row.get("replay/samples_per_insert", math.nan),
            samples_per_insert_target=self._plan.table.samples_per_insert,
            version_lag=row.get("workers/version_lag", math.nan),
            batches_in_flight=int(row.get("replay/batches_in_flight", 0)),
            learner_idle_share=row.get("workers/learner_idle_share", math.nan),
            waits=tuple(f"{who} waits for {what}" for who, what in sorted(self._waits.items()) if what),
            restarts=self._restarts,
            checkpoint_step=self._checkpoint_step,
        )

    def _new_interval(self) -> None:
        self._interval_started = time.monotonic()
        self._env_steps_before = self._progress.env_steps
        self._learner_steps_before = self._progress.learner_steps
        self._sums: dict[str, float] = defaultdict(float)
        self._weighted: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._learner_s = [0.0, 0.0]
        self._lags: list[Array] = []
        self._inference: list[InferenceReport] = []
