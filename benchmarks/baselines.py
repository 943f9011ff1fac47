"""How many decisions per second this system and RLlib train on, by the same command line, measured in turns.

    python benchmarks/baselines.py [--ours NAME] [--seconds S] [--turns N] [--tasks TASK …] [--json FILE]

Each system trains each task for some seconds with the same environments and wrappers, as many workers and environments,
the same network and batches of the same number of rows; evaluations, films and checkpoints are left out. Decisions are
counted from metrics.jsonl, from the end of the first third of what it covers to its last row: what comes before is
starting. Of several turns the best counts: whatever else a machine does only takes time away.

*decisions* are what the environments did; *rows* what the learner took in. Ours learns from each decision once, and
acting waits for it. RLlib's IMPALA and APPO do not wait: what their learner cannot take is dropped, APPO takes
a batch more than once, and each unroll has one row more to bootstrap from. So of the two ratios the lower is the fair
one for IMPALA. PPO, ours and RLlib's, learns from each decision in three epochs, and both wait.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from live_run import check_limits, run_to_the_end
from rows import Implausible, json_option, positive, publish

from rlsys import config
from rlsys.metrics.rows import read_metrics

_WORKERS = 2
_ENVIRONMENTS = {"cartpole": 64, "pong": 16, "breakout": 16}
"""Task -> environments of each worker."""
_SYSTEMS = {"impala": ("impala", "rllib-impala", "rllib-appo"), "ppo": ("ppo", "rllib-ppo")}
"""Ours -> itself, and what it is compared to."""
_ALIKE = {
    "ppo-breakout": (
        "env.frame_size=[84,84]",
        "env.grayscale=true",
        "env.noop_max=30",
        "env.fire_reset=true",
        "env.episode_life=true",
        "ppo.policy_network=cnn_nature",
        "ppo.hidden_size=512",
        "ppo.epoch_length=64",
        "ppo.optimization_batch_size=8",
    )
}
"""What makes an experiment of ours one that its yardstick has, too: games, network, rows of a batch and minibatch."""
_SETTINGS = (
    f"runtime.rollout_workers={_WORKERS}",
    "run.evaluate_every_learner_steps=0",
    "run.checkpoint_every_learner_steps=0",
    "run.tensorboard=false",
    "run.wandb=disabled",
    "run.video=false",
    "run.run_tag=measured",
)
_LEAST_TRAINED = 0.5
"""Share of its seconds in which a run has to have acted; what is missing went into its start."""
_MOST_START_S = 300.0
"""Seconds that a run may take to start and to end."""


@dataclass(frozen=True)
class Speed:
    """What one run did per second, after its start."""

    decisions: float
    rows: float


@dataclass(frozen=True)
class Row:
    """A system on a task.

    Attributes:
      task, system: as in the experiment's name, <system>-<task>.
      workers, environments: processes that act, and environments of each.
      decisions_per_s: of the best turn.
      rows_per_s: that the learner took in, of the same turn.
      turns: decisions per second of all turns.
      decisions_ratio, rows_ratio: ours / this system's.
    """

    task: str
    system: str
    workers: int
    environments: int
    decisions_per_s: float
    rows_per_s: float
    turns: tuple[float, ...]
    decisions_ratio: float
    rows_ratio: float


def settings(system: str, task: str) -> list[str]:
    """Returns what differs from the experiment as it is shipped; PPO is told how many environments all workers have."""
    each = _ENVIRONMENTS[task]
    environments = f"runtime.environments_per_worker={each}"
    if system == "ppo":
        environments = f"ppo.num_environments={_WORKERS * each}"
    return [*_SETTINGS, environments, *_ALIKE.get(f"{system}-{task}", ())]


def train(system: str, task: str, seconds: float) -> Speed:
    """Runs the command line for so many seconds of training and reads its metrics.

    Raises:
      Implausible: the run failed, or ended before so many seconds.
    """
    name = f"{system}-{task}"
    with tempfile.TemporaryDirectory() as directory:
        times = [f"run.minutes={seconds / 60}", f"run.log_every_s={max(1.0, seconds / 30)}"]
        words = [*settings(system, task), *times, f"run.directory={directory}"]
        run_to_the_end(["launch", name, *words], seconds + _MOST_START_S)
        rows = read_metrics(Path(directory) / name / "measured")
    return speed(rows, _rows_per_update(name, task), seconds)


def speed(rows: list[dict[str, float]], rows_per_update: int, seconds: float) -> Speed:
    """Returns the speed after the first third of the time that the rows with decisions cover.

    Args:
      rows: of metrics.jsonl.
      rows_per_update: that an update takes in; 0 where the rows say what was taken in.
      seconds: that it was to train.

    Raises:
      Implausible: the rows cover too little of that, fewer than two lie behind the first third, or nothing was done.
    """
    rows = [row for row in rows if row["env_steps"] > 0]
    trained_s = rows[-1]["time_s"] - rows[0]["time_s"] if rows else 0.0
    if trained_s < _LEAST_TRAINED * seconds:
        raise Implausible(
            f"a run trained for {trained_s:.0f} of {seconds:.0f} s; nothing is kept. Give more --seconds."
        )
    rows = [row for row in rows if row["time_s"] >= rows[0]["time_s"] + trained_s / 3]
    if len(rows) < 2:
        raise Implausible("a run has too few rows of metrics to be measured; nothing is kept. Give more --seconds.")
    passed = rows[-1]["time_s"] - rows[0]["time_s"]
    decisions = (rows[-1]["env_steps"] - rows[0]["env_steps"]) / passed
    if decisions <= 0.0:
        raise Implausible("a run decided nothing after the first third of its time; nothing is kept. Measure again.")
    if rows_per_update:
        return Speed(decisions, (rows[-1]["learner_step"] - rows[0]["learner_step"]) * rows_per_update / passed)
    taken_in = [row["throughput/trained_rows_per_s"] for row in rows[1:]]
    return Speed(decisions, statistics.fmean(taken_in))


def measure(systems: tuple[str, ...], tasks: list[str], seconds: float, turns: int) -> list[Row]:
    """Measures all systems on all tasks, in turns."""
    results = []
    for task in tasks:
        speeds: dict[str, list[Speed]] = {system: [] for system in systems}
        for _ in range(turns):
            for system in systems:
                speeds[system].append(train(system, task, seconds))
                print(f"{system}-{task}: {speeds[system][-1].decisions:,.0f} decisions/s", file=sys.stderr)
        best = {system: max(found, key=lambda speed: speed.decisions) for system, found in speeds.items()}
        ours = best[systems[0]]
        results += [
            Row(
                task,
                system,
                _WORKERS,
                _ENVIRONMENTS[task],
                best[system].decisions,
                best[system].rows,
                tuple(speed.decisions for speed in speeds[system]),
                ours.decisions / best[system].decisions,
                ours.rows / max(best[system].rows, 1e-9),
            )
            for system in systems
        ]
    return results


def _rows_per_update(name: str, task: str) -> int:
    section = config.load(name, overrides=_ALIKE.get(name, ())).experiment.section
    if name.startswith("ppo"):
        return int(section.unrolls * section.epoch_length) * _WORKERS * _ENVIRONMENTS[task]
    return section.batch_size * section.unroll_length if hasattr(section, "unroll_length") else 0


def main() -> None:
    """Prints a line per row; `--json FILE` appends them as JSON lines, too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", choices=_SYSTEMS, default="impala", help="which of ours (default: impala)")
    parser.add_argument("--seconds", type=positive(float), default=90.0, help="of training in each run (default: 90)")
    parser.add_argument("--turns", type=positive(int), default=3, help="runs of each system on each task (default: 3)")
    parser.add_argument("--tasks", nargs="+", choices=_ENVIRONMENTS, default=list(_ENVIRONMENTS), help="default: all")
    json_option(parser)
    options = parser.parse_args()
    for system, task in itertools.product(_SYSTEMS[options.ours], options.tasks):
        check_limits(f"{system}-{task}", _ALIKE.get(f"{system}-{task}", ()), seconds=options.seconds)
    rows = measure(_SYSTEMS[options.ours], options.tasks, options.seconds, options.turns)
    header = f"{'':8} {'':12} {'workers':>9} {'decisions/s':>12} {'ratio':>6} {'rows/s':>9} {'ratio':>6}"
    command = f"python benchmarks/baselines.py --ours {options.ours} --seconds {options.seconds:g}"
    command += f" --turns {options.turns} --tasks {' '.join(options.tasks)}"
    publish(options.json, rows, _line, header=header, command=command)


def _line(row: Row) -> str:
    return (
        f"{row.task:8} {row.system:12} {row.workers:3} × {row.environments:3} {row.decisions_per_s:12,.0f} "
        f"{row.decisions_ratio:6.2f} {row.rows_per_s:9,.0f} {row.rows_ratio:6.2f}"
    )


if __name__ == "__main__":
    main()
