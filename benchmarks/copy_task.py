"""What real-time recurrent learning learns of the copy task that truncated backpropagation with its span cannot.

    OMP_NUM_THREADS=1 python benchmarks/copy_task.py [--methods NAME …] [--seeds SEED …] [--json FILE] [--plot FILE]

A core reads s random bits and then says them (`rlsys.testing.copy_task`). All methods run in the same loop, from the
same initial weights and over the same examples per seed, until all held-out sequences are right or the time is up. Time
is CPU time of the one thread, evaluations left out, so that other work on the machine does not count.

    rtrl-online      eLSTM, real-time recurrent learning, an update after every chunk of `--span` tokens
    rtrl-sequence    the same gradients, summed up over the sequence before the update
    truncated        eLSTM, backpropagation within chunks of `--span` tokens, an update after every chunk
    full             eLSTM, backpropagation through the whole sequence
    lstm             LSTM, backpropagation through the whole sequence

Examples never repeat. An accuracy of bits of one half is chance.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from rows import json_option, positive, publish, read

from rlsys.nets.elstm import ELSTMCore
from rlsys.nets.lstm import LSTMCore
from rlsys.testing.copy_learner import CopyLearner, CopyLearnerConfig
from rlsys.testing.copy_task import NUM_TOKENS, CopyExamples, copy_examples

_METHODS = ("rtrl-online", "rtrl-sequence", "truncated", "full", "lstm")
_HEADER = (
    f"{'method':14} {'span':>4} {'seed':>4} {'batches':>8} {'updates':>8} {'CPU s':>7} {'bits':>7} {'sequences':>9}"
)
_NUM_HELD_OUT, _HELD_OUT_SEED = 1000, 10**6


@dataclass(frozen=True)
class Task:
    """What is learned, and how long.

    Attributes:
      min_length: least number of bits.
      max_length: greatest number of bits.
      units: N.
      batch_size: examples per batch.
      learning_rate: Adam's.
      forget_bias: added to the eLSTM's initial bias.
      seconds: CPU time of learning.
      evaluations: held-out evaluations in that time.
    """

    min_length: int
    max_length: int
    units: int
    batch_size: int
    learning_rate: float
    forget_bias: float
    seconds: float
    evaluations: int


@dataclass(frozen=True)
class Row:
    """What one run came to.

    Attributes:
      method: see the module.
      span: tokens of a chunk.
      seed: of weights and examples.
      batches: batches learned from.
      updates: steps of the optimiser.
      cpu_s: CPU time of learning.
      bits: share of the held-out bits that were recalled.
      sequences: share of the held-out examples of which all bits were.
      curve: [batches, CPU time, bits, sequences] of each evaluation.
    """

    method: str
    span: int
    seed: int
    batches: int
    updates: int
    cpu_s: float
    bits: float
    sequences: float
    curve: list[list[float]]


def run(method: str, span: int, task: Task, seed: int) -> Row:
    """Learns with one method until all held-out sequences are right or the time is up."""
    learner = _learner(method, span, task, seed)
    rng = np.random.default_rng(seed)
    held_out = _examples(task, _NUM_HELD_OUT, _HELD_OUT_SEED)
    spent, batches, next_evaluation = 0.0, 0, 0.0
    curve: list[list[float]] = []
    while True:
        if spent >= next_evaluation:
            accuracy = learner.evaluate(held_out)
            curve.append([batches, round(spent, 2), round(accuracy.bits, 4), round(accuracy.sequences, 4)])
            next_evaluation += task.seconds / task.evaluations
            if accuracy.sequences == 1.0 or spent >= task.seconds:
                break
        start = time.process_time()
        learner.learn(_examples(task, task.batch_size, rng))
        spent += time.process_time() - start
        batches += 1
    reach = 2 * task.max_length if method in {"full", "lstm"} else span
    bits, sequences = curve[-1][2:]
    return Row(method, reach, seed, batches, learner.num_updates, round(spent, 2), bits, sequences, curve)


def _learner(method: str, span: int, task: Task, seed: int) -> CopyLearner:
    torch.manual_seed(seed)
    core = (
        LSTMCore(NUM_TOKENS, task.units)
        if method == "lstm"
        else ELSTMCore(NUM_TOKENS, task.units, forget_bias=task.forget_bias)
    )
    config = CopyLearnerConfig(
        gradient="rtrl" if method.startswith("rtrl") else "backpropagation",
        span=None if method in {"full", "lstm"} else span,
        update="sequence" if method == "rtrl-sequence" else "chunk",
        learning_rate=task.learning_rate,
    )
    return CopyLearner(core, config)


def _examples(task: Task, number: int, rng: np.random.Generator | int) -> CopyExamples:
    return copy_examples(number, task.max_length, min_length=task.min_length, rng=rng)


def plot(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draws all curves, one colour per method and span, by batches and by CPU time."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    by_batches, by_time = figure.subplots(1, 2, sharey=True)
    names = list(dict.fromkeys(_name(row) for row in rows))
    for axes, column in ((by_batches, 0), (by_time, 1)):
        labelled = set()
        for row in rows:
            name = _name(row)
            points = list(zip(*row["curve"], strict=True))
            label = None if name in labelled else name
            axes.plot(points[column], points[2], ".-", color=f"C{names.index(name)}", alpha=0.7, label=label)
            labelled.add(name)
        axes.axhline(0.5, color="grey", linestyle=":")
        axes.grid(alpha=0.3)
    lengths = {(row["min_length"], row["max_length"]) for row in rows}
    title = "copy task, " + ", ".join(
        f"{low} to {high} bits" if low < high else f"{high} bits" for low, high in lengths
    )
    by_batches.set(xlabel="batches", ylabel="held-out bits recalled", title=title, ylim=(0.4, 1.02))
    by_time.set(xlabel="seconds of CPU time")
    by_time.legend(fontsize="small")
    return figure


def _name(row: dict[str, Any]) -> str:
    return f"{row['method']}, span {row['span']}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=_METHODS, default=_METHODS)
    parser.add_argument("--span", type=int, default=5, help="tokens of a chunk")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="none: only draw what the JSON file holds")
    parser.add_argument("--max-length", type=int, default=10, help="L; sequences have 2·L tokens")
    parser.add_argument("--min-length", type=int, help="1 for lengths from U{1 … L}; L itself by default")
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    parser.add_argument("--forget-bias", type=float, default=0.0)
    parser.add_argument("--seconds", type=positive(float), default=45.0, help="CPU time per run")
    parser.add_argument("--evaluations", type=positive(int), default=15)
    json_option(parser)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the rows of the JSON file, or else of this run")
    return parser.parse_args()


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['method']:14} {row['span']:4} {row['seed']:4} {row['batches']:8} {row['updates']:8} {row['cpu_s']:7.1f} "
        f"{row['bits']:7.2%} {row['sequences']:9.2%}"
    )


def _command(options: argparse.Namespace, method: str, seed: int) -> str:
    """Returns what gives one row again."""
    settings = ("span", "max_length", "min_length", "units", "batch_size", "learning_rate", "forget_bias", "seconds")
    words = [f"--{name.replace('_', '-')} {getattr(options, name)}" for name in (*settings, "evaluations")]
    return f"OMP_NUM_THREADS=1 python benchmarks/copy_task.py --methods {method} --seeds {seed} {' '.join(words)}"


def main() -> None:
    """Prints a line per run; `--json FILE` appends it as a JSON line, too."""
    options = _arguments()
    if options.min_length is None:
        options.min_length = options.max_length
    torch.set_num_threads(1)
    task = Task(**{name: getattr(options, name) for name in Task.__dataclass_fields__})
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        for method in options.methods:
            start = time.monotonic()
            row = run(method, options.span, task, seed)
            rows.append(asdict(row) | asdict(task) | {"wall_s": round(time.monotonic() - start, 1)})
            origin = {"command": _command(options, method, seed), "torch": torch.__version__}
            publish(options.json, rows[-1:], _line, header="" if len(rows) > 1 else _HEADER, **origin)
    if options.plot is not None:
        if options.json is not None:
            rows = read(options.json)
        plot(rows).savefig(options.plot, dpi=100)


if __name__ == "__main__":
    main()
