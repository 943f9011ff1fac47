"""How long `rlsys eval` takes, from the first import to the last line.

    python benchmarks/evaluation.py RUN [--episodes 100] [--parallel 2] [--json FILE] [KEY=VALUE …]

Whole games of a trained run: of CartPole, with a policy that has learned, 500 decisions each. On a machine that others
use, the seconds of the processors say more than those of the clock.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rows import json_option, positive, publish

from rlsys.exports.export import export_run


@dataclass(frozen=True)
class Row:
    """What an evaluation took."""

    what: str
    episodes: int
    decisions: int
    elapsed_s: float
    cpu_s: float
    decisions_per_s: float


def measure(run: str, episodes: int, parallel: int, overrides: Sequence[str]) -> Row:
    """Evaluates an export of the run, which leaves the run as it is."""
    with tempfile.TemporaryDirectory() as folder:
        export_run(run, Path(folder) / "export")
        program = ["-c", "from rlsys.cli.app import main; main()", "eval", f"{folder}/export", "--directory", folder]
        options = ["--episodes", str(episodes), "--parallel", str(parallel), "--seed", "0", *overrides]
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, *program, *options], check=True, stdout=subprocess.DEVNULL)
        elapsed_s, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        found = json.loads((Path(folder) / "exports" / "export" / "eval.json").read_text(encoding="utf-8"))
    (played,) = found["results"]
    decisions = sum(played["lengths"])
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    what = f"{played['episodes']} games of {found['environment']} in {parallel} processes"
    return Row(what, played["episodes"], decisions, round(elapsed_s, 2), round(cpu_s, 2), round(decisions / elapsed_s))


def main() -> None:
    """Prints the row; `--json FILE` appends it as a JSON line, too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run or an export, as for rlsys eval")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--episodes", type=positive(int), default=100, help="(default: 100)")
    parser.add_argument("--parallel", type=positive(int), default=2, help="processes (default: 2)")
    json_option(parser)
    options = parser.parse_intermixed_args()
    row = measure(options.run, options.episodes, options.parallel, options.overrides)
    name = Path(options.run).name
    words = [f"python benchmarks/evaluation.py {name} --episodes {options.episodes} --parallel {options.parallel}"]
    publish(
        options.json,
        [row],
        lambda row: f"{row.what}: {row.elapsed_s} s, {row.cpu_s} s of processors",
        command=" ".join([*words, *options.overrides]),
    )


if __name__ == "__main__":
    main()
