"""Turns the workers' reports into rows of metrics and into what the terminal shows."""

import math
import time
from dataclasses import replace

import numpy as np

from rlsys.api import Saved, TableSpec
from rlsys.evaluation.evaluator import Evaluation
from rlsys.files.json_tree import check_tree
from rlsys.loss_names import losses_in
from rlsys.metrics.advice import Advisor, Setup
from rlsys.metrics.averages import Averages, Growth, Staleness
from rlsys.metrics.console import Console
from rlsys.metrics.formatting import group_waits
from rlsys.metrics.process_stats import ProcessMeter, ProcessStats
from rlsys.metrics.tracking import Tracker
from rlsys.metrics.worker_table import WorkerTable
from rlsys.runs.heartbeat import Heartbeat
from rlsys.runs.progress import Progress
from rlsys.runs.spec import RunSpec
from rlsys.runs.status import Status
from rlsys.runs.workers import Worker, WorkerKind, WorkerRow
from rlsys.runtime.workers.inference import InferenceReport
from rlsys.runtime.workers.learning import LearnerReport
from rlsys.runtime.workers.rollout import RolloutReport
from rlsys.runtime.workers.shard import ShardReport
from rlsys.viewer.media import Media


class Recorder:
    """Collects reports and, every `log_every_s`, writes one row to every sink.

    Metric groups: `episodes/` raw returns of whole games, `evaluation/`, `loss/` and what else the learner names,
    `throughput/` per second since the last row, `replay/`, `workers/` shares of time and failures, `inference/`,
    `system/` cores and memory by kind of process.
    """

    def __init__(
        self, spec: RunSpec, progress: Progress, tracker: Tracker, console: Console, heartbeat: Heartbeat | None = None
    ) -> None:
        self._spec = spec
        self._heartbeat = heartbeat
        self._progress = progress
        self._tracker = tracker
        self._console = console
        self._restarts = 0
        self._checkpoint_step: int | None = None
        self._returns: list[float] = []
        self._waits: dict[Worker, str] = {}
        self._replay: dict[str, float] = {}
        self._growth = Growth()
        self._refreshed_rows = 0
        self._metrics: dict[str, float] = {}
        self._wrong_weights = 0
        self._troubles: set[str] = set()
        self._media = Media(spec.folder, spec.run, self._without)
        self._version_lag: int | None = None
        self._meter = ProcessMeter()
        self._worker_table = WorkerTable()
        self._is_held = False
        self._advisor = Advisor(Setup.of(spec))
        self._new_interval()
        if heartbeat is not None:
            heartbeat.tell_of(self._processes)

    def rollout(self, report: RolloutReport) -> None:
        """Takes in what a rollout worker did."""
        worker = Worker(report.kind, report.worker)
        self._refreshed_rows += report.refreshed_rows
        refreshed = {"refreshed rows": report.refreshed_rows}
        self._waits[worker] = report.waits_for
        self._returns += [game.episode_return for game in report.games]
        self._returns = self._returns[-200:]
        tasks = self._spec.env_spec.tasks
        for game in report.games if tasks else ():
            self._averages.add(f"episodes/{tasks[game.task]}/return", [game.episode_return])
        self._worker_table.report(
            worker,
            report.process_stats,
            spent=report.spent,
            counts={"env steps": report.env_steps} | (refreshed if report.refreshed_rows else {}),
            does=_waits(report.waits_for) or ("refreshes" if report.kind is WorkerKind.REANALYSE else "acts"),
            version=report.acts_with.version,
        )
        for name, value in report.means.items():
            self._averages.add(name, [value], report.env_steps)
        self._media.keep("train", report.episodes, self._progress.learner_steps)
        for episode in report.episodes:
            self._tracker.histograms({"episodes/action": np.ravel(episode.action)})

    def inference(self, report: InferenceReport) -> None:
        """Takes in what an inference worker did."""
        self._inference.append(report)
        self._worker_table.report(
            Worker(WorkerKind.INFERENCE, report.worker),
            report.process_stats,
            spent=report.spent,
            counts={"decisions": report.decisions, "batches": report.batches},
            does="decides",
            version=report.acts_with.version,
        )

    def shard(self, report: ShardReport) -> None:
        """Takes in what a replay shard did."""
        self._growth.shard(report.worker, report.stats)
        self._worker_table.report(
            Worker(WorkerKind.SHARD, report.worker),
            report.process_stats,
            spent=report.spent,
            counts={"inserts": report.inserted_items, "batches": report.batches},
            does="stores",
        )

    def server(self, process_stats: ProcessStats) -> None:
        """Takes in how the parameter server is."""
        self._worker_table.report(Worker(WorkerKind.SERVER, 0), process_stats, does="serves weights")

    def learner(self, report: LearnerReport, rank: int = 0) -> None:
        """Takes in what a learner rank did; what all ranks compute alike is taken from the first."""
        spent = dict(report.spent)
        if self._is_held:
            spent["held"] = spent.pop("other", 0.0)
        self._worker_table.report(
            Worker(WorkerKind.LEARNER, rank),
            report.process_stats,
            spent=spent,
            counts={"updates": report.steps},
            does=_waits(report.waits_for) or "learns",
        )
        if rank:
            return
        self._is_held = False
        self._worker_table.newest_version = report.version
        self._waits[Worker(WorkerKind.LEARNER, 0)] = report.waits_for
        for name, values in report.metrics.items():
            self._averages.add(name, values)
        self._tracker.histograms(report.histograms)
        for name, shown in report.shown.items():
            film = self._media.show(name, shown, report.learner_step)
            if film is not None:
                self._tracker.film(name, film)
        self._replay = self._growth.continued(report.replay)
        self._staleness.add(report.lags, report.ages)

    def check(self) -> None:
        """Makes sure that this process still leads the run, before something is written; see `Heartbeat.check`."""
        if self._heartbeat is not None:
            self._heartbeat.check()

    def evaluation(self, evaluation: Evaluation, env_steps: int) -> None:
        """Writes an evaluation at once, at the learner step and the decisions it belongs to."""
        self.check()
        learner_step, statistics = evaluation.learner_step, evaluation.statistics
        if evaluation.process_stats is not None:
            self._worker_table.report(
                Worker(WorkerKind.EVALUATOR, 0), evaluation.process_stats, does=f"has evaluated step {learner_step:,}"
            )
        if evaluation.film is not None:
            self._tracker.film("evaluation/game", evaluation.film)
        for trouble in statistics.troubles:
            self._without(trouble)
        self._tracker.histograms({f"evaluation/{name}": array for name, array in evaluation.histograms.items()})
        row = {
            "evaluation/return": statistics.mean,
            "evaluation/return_median": statistics.median,
            "evaluation/length": statistics.mean_length,
            **evaluation.metrics,
        }
        self._tracker.log(row, learner_step=learner_step, env_steps=env_steps)
        self.message(
            f"evaluation at step {learner_step:,}: return {statistics.mean:,.1f} "
            f"[{statistics.interval[0]:,.1f}, {statistics.interval[1]:,.1f}], {len(statistics.returns)} episodes"
            + "".join(f"; {text}" for text in statistics.shortened)
        )

    def waits(self, who: Worker, what: str) -> None:
        """Notes what somebody waits for who was not even called."""
        self._waits[who] = what
        self._is_held |= who.kind is WorkerKind.LEARNER and bool(what)

    def nobody_waits(self) -> None:
        """Forgets what anybody waited for: nobody works any more."""
        self._waits.clear()

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

    def left(self, worker: Worker) -> None:
        """Notes that a worker is gone for good."""
        self._worker_table.left(worker)
        self._waits[worker] = ""

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
        """Writes a row if one is due, and gives a sign of life."""
        if self._heartbeat is not None:
            self._heartbeat.beat()
        elapsed_s = time.monotonic() - self._interval_started
        if self._is_step_due() or (self._goes_by_clock and elapsed_s >= self._spec.run.log_every_s):
            self.write()

    def finish(self) -> None:
        """Writes what has not been written yet."""
        if self._is_step_due() or self._goes_by_clock:
            self.write()

    def write(self) -> None:
        """Writes a row and refreshes the terminal."""
        self.check()
        seconds = max(1e-9, time.monotonic() - self._interval_started)
        self._processes()
        row = self._row(seconds)
        self._advisor.take(seconds, row)
        self._tracker.log(row, learner_step=self._progress.learner_steps, env_steps=self._progress.env_steps)
        status = self._status(row)
        self._console.update(status)
        if self._heartbeat is not None:
            self._heartbeat.update(status)
        self._new_interval()

    def save(self) -> Saved:
        """Returns what the next row is made of, and what all rows count: part of a checkpoint."""
        return {
            "interval_s": time.monotonic() - self._interval_started,
            "env_steps_before": self._env_steps_before,
            "learner_steps_before": self._learner_steps_before,
            "averages": self._averages.save(),
            **self._staleness.save(),
            "refreshed_rows": self._refreshed_rows,
            "growth": self._growth.save(),
            "replay": dict(self._replay),
            "metrics": dict(self._metrics),
            "returns": list(self._returns),
            "restarts": self._restarts,
            "wrong_weights": self._wrong_weights,
        }

    def load(self, saved: Saved) -> None:
        """Goes on from `save`."""
        self._interval_started = time.monotonic() - check_tree(saved["interval_s"], float)
        self._env_steps_before = check_tree(saved["env_steps_before"], int)
        self._learner_steps_before = check_tree(saved["learner_steps_before"], int)
        self._averages.load(saved["averages"])
        self._staleness.load(saved)
        self._refreshed_rows = check_tree(saved.get("refreshed_rows", 0), int)  # 0 before anything ever was
        self._growth.load(saved["growth"])
        self._replay = check_tree(saved["replay"], dict[str, float])
        self._metrics = check_tree(saved["metrics"], dict[str, float])
        self._returns = check_tree(saved["returns"], list[float])
        self._restarts = check_tree(saved["restarts"], int)
        self._wrong_weights = check_tree(saved["wrong_weights"], int)

    @property
    def _goes_by_clock(self) -> bool:
        return not self._spec.run.log_every_learner_steps

    def _is_step_due(self) -> bool:
        """Tells whether a learner step that has a row is past since the last one; inline each is written at once."""
        every = self._spec.run.log_every_learner_steps
        return every > 0 and self._progress.learner_steps // every != self._learner_steps_before // every

    def _without(self, trouble: str) -> None:
        """Says once what will not be seen."""
        if trouble not in self._troubles:
            self._troubles.add(trouble)
            self.message(f"{trouble}. Training goes on.")

    def _processes(self) -> list[WorkerRow]:
        """Returns a row for each process of the run, this one included."""
        self._worker_table.report(Worker(WorkerKind.DRIVER, 0), self._meter.take(), does="supervises")
        return self._worker_table.rows()

    def _row(self, seconds: float) -> dict[str, float]:
        progress = self._progress
        env_steps = progress.env_steps - self._env_steps_before
        updates = max(0, progress.learner_steps - self._learner_steps_before)
        frames_per_step = self._spec.env_spec.frames_per_step
        row = progress.row(seconds=seconds, env_steps=env_steps, updates=updates, frames_per_step=frames_per_step)
        row["workers/restarts"] = float(self._restarts)
        means = self._averages.means()
        row.update(means)
        self._metrics.update(means)
        row.update(self._inference_row())
        row.update(self._worker_table.take_shares())
        row.update(self._worker_table.system())
        present = 1.0 - row.get("workers/learner_other_share", 0.0)
        if "workers/learner_wait_replay_share" in row and present > 0:
            row["learner/idle_share"] = row["workers/learner_wait_replay_share"] / present
        row["workers/wrong_weights"] = float(self._wrong_weights)
        if self._version_lag is not None:
            row["workers/version_lag"] = float(self._version_lag)
        if self._spec.refreshed_share and (searches := self._refreshed_rows + env_steps):
            row["replay/refreshed_share"] = self._refreshed_rows / searches
        self._tracker.histograms(self._staleness.histograms())
        row.update(self._staleness.row())
        row.update({f"replay/{name}": value for name, value in self._replay.items()})
        return row

    def _inference_row(self) -> dict[str, float]:
        reports = self._inference
        decisions, batches = (sum(getattr(report, name) for report in reports) for name in ("decisions", "batches"))
        elapsed_s = sum(report.elapsed_s for report in reports)
        if not batches or not elapsed_s:
            return {}
        return {
            "inference/decisions_per_s": decisions / elapsed_s * self._spec.num_inference_workers,
            "inference/batch_size": decisions / batches,
            "inference/busy_share": sum(report.busy_s for report in reports) / elapsed_s,
        }

    def _status(self, row: dict[str, float]) -> Status:
        store = self._spec.store
        return replace(
            self._progress.status(row, self._returns),
            losses=losses_in(self._metrics),
            replay_items=int(row.get("replay/items", 0)),
            replay_size=self._spec.replay_size,
            samples_per_insert=row.get("replay/samples_per_insert", math.nan),
            samples_per_insert_target=store.samples_per_insert if isinstance(store, TableSpec) else None,
            batches_in_flight=int(row.get("replay/batches_in_flight", 0)),
            learner_idle_share=row.get("learner/idle_share", math.nan),
            shares=self._advisor.shares(),
            advice=self._advisor.advice(),
            waits=group_waits(self._waits),
            restarts=self._restarts,
            checkpoint_step=self._checkpoint_step,
        )

    def _new_interval(self) -> None:
        self._interval_started = time.monotonic()
        self._env_steps_before = self._progress.env_steps
        self._learner_steps_before = self._progress.learner_steps
        self._averages = Averages()
        self._staleness = Staleness()
        self._refreshed_rows = 0
        self._inference: list[InferenceReport] = []


def _waits(what: str) -> str:
    return f"waits for {what}" if what else ""
