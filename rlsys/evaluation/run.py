"""Evaluation of runs' checkpoints: what `rlsys eval` does."""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlsys.api import ValueSpec
from rlsys.api.spaces import action_names
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError, EnvError
from rlsys.evaluation.agents.planning_policy import Planning
from rlsys.evaluation.job import Players
from rlsys.evaluation.options import EvaluationOptions, check
from rlsys.evaluation.rows import result_row
from rlsys.evaluation.subject import Opened, Subject, Variant
from rlsys.evaluation.watching import Rendering, Watched
from rlsys.exports.find import find, find_or_experiment
from rlsys.files.outputs import check_outputs
from rlsys.metrics import report
from rlsys.metrics.afterwards import LateRow, append_rows
from rlsys.metrics.row_settings import label_of, short_labels
from rlsys.process import prepare, use_threads
from rlsys.runs.grid import Cell
from rlsys.viewer import plots
from rlsys.viewer.trace import Trace

COMPARISONS = "evaluations"
"""Folder, beside those of experiments, of evaluations of several runs."""


def evaluate_run(options: EvaluationOptions) -> int:
    """Evaluates checkpoints of runs, prints one table, and writes each run's rows into its folder.

    They become eval.json, eval.png if there are several, and a part of report.html. What each row of the grid came to
    is also added to the run's metrics, unless settings were overridden, for a metric means the same in every row, or
    actions were random, which are of no checkpoint. Of an export only eval.json is kept, below runs/exports, and of an
    experiment in <experiment>/random. All rows of several runs are kept in <directory>/evaluations/<time>.

    Returns:
      The exit status, 0.

    Raises:
      RlsysError: no such run or checkpoint, a damaged one, options that the algorithm does not have, or an environment
        in which every game crashed.
    """
    prepare()
    use_threads(1)  # small batches gain nothing from more
    check(options)
    search = find_or_experiment if options.agent == "random" else find
    sources = dict.fromkeys((options.run, *options.others))
    found = [search(source, options.directory, trust=options.trust) for source in sources]
    check_outputs(
        {"--gif": options.gif, "--video": options.video, "--plot": options.plot, "--latents": options.latents},
        {"--save-mcts": options.save_mcts, "--film-folder": options.film_folder, "--record": options.record},
    )
    seed = found[0].loaded.experiment.run.seed if options.seed is None else options.seed
    evaluation = _Evaluation([Subject(trained, options, seed) for trained in found], options, seed)
    evaluation.play()
    evaluation.keep()
    if options.plot is not None:
        evaluation.plot(options.plot)
    for text in evaluation.remarks():
        sys.stdout.write(f"{text}\n")
    return 0


class _Evaluation:
    """What is played, with which settings, and what came of it."""

    def __init__(self, subjects: Sequence[Subject], options: EvaluationOptions, seed: int) -> None:
        """Settles what is played; raises RlsysError where that cannot be."""
        self._subjects, self._options, self._seed = subjects, options, seed
        num_rows = sum(subject.num_rows for subject in subjects)
        if not 0 <= options.watch_row < num_rows:
            raise ConfigError(
                f"watch_row = {options.watch_row} of {num_rows} rows; it must be one of these, from 0. Lower it."
            )
        for subject in subjects:
            subject.check_weights()  # before hours of play, rather than after some
        self._rows: dict[Subject, list[dict[str, Any]]] = {subject: [] for subject in subjects}
        self._late_rows: dict[Subject, list[LateRow]] = {subject: [] for subject in subjects}
        self._traces: list[Sequence[Trace]] = []
        self._values: list[ValueSpec] = []
        self._num_played = 0
        self._troubles: list[str] = []
        self._shortened: list[str] = []
        self._crashed: list[str] = []

    def play(self) -> None:
        """Plays every row; raises EnvError if nothing can be played."""
        with contextlib.ExitStack() as stack:
            players = stack.enter_context(Players(self._options.parallel))
            title = f"rlsys eval {self._options.run}"
            rendering = stack.enter_context(Rendering(title, self._options.sleep)) if self._options.render else None
            for subject in self._subjects:
                for opened in subject.opened():
                    metrics: dict[str, float] = {}
                    for variant in subject.variants:
                        for cell in variant.cells:
                            metrics |= self._play(players, rendering, subject, opened, variant, cell)
                    self._late_rows[subject].append(LateRow(opened.learner_step, opened.env_steps, metrics))
        if not self._traces:
            raise EnvError(f"no game came to its end; {self._crashed[0]}. Correct the environment.")

    def keep(self) -> None:
        """Prints the table, and writes it and what follows from it into the folders of runs."""
        several = len(self._subjects) > 1
        report.print_evaluation(self._title(), self._results(*self._subjects))
        if several:
            folder = Path(self._options.directory).absolute() / COMPARISONS / time.strftime("%Y-%m-%d_%H-%M-%S")
            report.keep_evaluation(folder, self._results(*self._subjects))
            sys.stdout.write(f"All rows: {folder / report.EVALUATION_FILE}\n")
        for output in dict.fromkeys(subject.output for subject, rows in self._rows.items() if rows):
            self._keep([subject for subject in self._subjects if subject.output == output])

    def plot(self, path: Path) -> None:
        """Draws what was played."""
        options = self._options
        rows = [row for rows in self._rows.values() for row in rows]
        labels = [row["label"] for row in rows]
        if not options.detailed_labels:
            labels = short_labels([row["settings"] for row in rows])
        try:
            figure = plots.plot_episodes(
                dict(zip(labels, self._traces, strict=True)),
                values=dict(zip(labels, self._values, strict=True)),
                actions=action_names(env_spec(self._subjects[0].variants[0].experiment.env)),
                bounds=options.bounds,
                smooth=options.smooth,
                distributions=options.policy,
            )
            plots.save(figure, path)
        except Exception as error:  # noqa: BLE001 - the results are there; a picture of them is only a picture
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            self._troubles.append(f"the plot {path} is left out: {reason}")

    def remarks(self) -> list[str]:
        """Returns a line about each thing that is missing: rows, games, and what could not be shown, or not whole."""
        left_out = Counter(str(error) for subject in self._subjects for error in subject.left_out)
        return [
            *(f"{count:,} combinations are left out: {reason}" for reason, count in left_out.items()),
            *(f"{text}. It does not count." for text in self._crashed),
            *(f"{text}." for text in dict.fromkeys(self._troubles)),
            *(f"{text}. Raise --video-frames or --video-seconds to see more." for text in self._shortened),
        ]

    def _play(
        self,
        players: Players,
        rendering: Rendering | None,
        subject: Subject,
        opened: Opened,
        variant: Variant,
        cell: Cell,
    ) -> dict[str, float]:
        """Plays one row; returns what it came to, by the names of metrics."""
        settings = self._settings(subject, opened, variant, cell)
        label = label_of(settings)
        job = subject.job(opened, variant, cell, several_runs=len(self._subjects) > 1)
        statistics = players.play(job, self._watched(rendering))
        self._num_played += 1
        self._troubles += [*statistics.troubles, *([rendering.trouble] if rendering and rendering.trouble else [])]
        self._shortened += [f"{label}: {text}" for text in statistics.shortened]
        self._crashed += [f"{label}: {text}" for text in statistics.crashed]
        if not len(statistics.returns):
            return {}
        self._traces.append(statistics.traces)
        values = variant.values
        if self._options.agent == "planner":
            values = replace(values, discount=(self._options.planning or Planning()).discount)
        self._values.append(values)
        metrics = cell.metrics(statistics.mean, statistics.mean_clipped)
        self._rows[subject].append(
            {
                **result_row(label, cell.env, statistics, variant.values),
                "settings": settings,
                "run": subject.name,
                "checkpoint": opened.learner_step,
                "max_noops": cell.max_noops,
                "metrics": metrics,
            }
        )
        return metrics

    def _settings(self, subject: Subject, opened: Opened, variant: Variant, cell: Cell) -> dict[str, Any]:
        """Returns what the row is, by columns."""
        options = self._options
        several_runs = len(self._subjects) > 1
        says: dict[str, tuple[bool, Any]] = {
            "run": (several_runs, subject.name),
            "checkpoint": (several_runs or subject.num_checkpoints > 1 or options.all_checkpoints, opened.learner_step),
            "agent": (options.agent != "policy", options.agent),
            "temperature": (options.agent != "random", cell.temperature),
            "noops": (bool(options.noops), cell.max_noops),
            "max_steps": (bool(options.max_steps), options.max_steps),
            "task": (bool(cell.task), cell.task),
        }
        return {name: value for name, (is_said, value) in says.items() if is_said} | dict(variant.changes)

    def _watched(self, rendering: Rendering | None) -> Watched:
        options = self._options
        episode = options.watch_episode
        if self._num_played != options.watch_row:
            return Watched(episode, show=rendering)
        films = [path for path in (options.gif, options.video) if path is not None]
        collected = (options.latents, options.record)
        return Watched(episode, films, rendering, options.save_mcts, options.save_mcts_after_step, *collected)

    def _title(self) -> str:
        outputs = dict.fromkeys(subject.output for subject in self._subjects)
        return ", ".join(f"{output.parent.name}/{output.name}" for output in outputs)

    def _results(self, *subjects: Subject) -> dict[str, Any]:
        """Returns the content of eval.json."""
        rows = [row for subject in subjects for row in self._rows[subject]]
        variants = [variant for subject in subjects for variant in subject.variants]
        common = [
            item for item in variants[0].changes.items() if all(item in other.changes.items() for other in variants)
        ]
        return {
            "environment": ", ".join(dict.fromkeys(variant.experiment.env.id for variant in variants)),
            "checkpoint": None if self._options.agent == "random" else rows[-1]["checkpoint"],
            "seed": self._seed,
            "overrides": dict(common),
            "results": rows,
        }

    def _keep(self, subjects: Sequence[Subject]) -> None:
        """Keeps the rows of one run, of which there may be several subjects: RUN and RUN#1000."""
        first = subjects[0]
        report.keep_evaluation(first.output, self._results(*subjects))
        if not first.is_run:
            return
        if self._options.agent != "random" and not self._options.overrides:
            append_rows(first.output, first.loaded, [row for subject in subjects for row in self._late_rows[subject]])
        report.write_report(first.output)
