"""Before and after in one run: one benchmark of two checkouts, in turns, and how many times as fast the newer one is.

    python benchmarks/compare.py OLD_CHECKOUT NAME [--turns N] [--prepare CODE] [--json FILE] [-- ARGUMENT …]

Runs benchmarks/NAME.py of the older checkout (A) and of this one (B) in the order A B B A A B …, N times each, every
time in a process of its own that imports the checkout's own rlsys. Of each figure that is a rate or a time the medians
of both sides are compared: a ratio above 1 is a gain. What else the machine does meets both sides alike, and `spread`
says how far the turns of one side lie apart: a ratio within it says nothing. Many short turns say more than few long
ones.

Scripts of older checkouts are as they are. --prepare is Python that runs in each process between the script's import,
as a module of its name, and its main(): what shortens it, or leaves out what is not to be compared.

    git worktree add --detach /tmp/old COMMIT
    OMP_NUM_THREADS=1 python benchmarks/compare.py /tmp/old rollouts --json FILE -- --seconds 4
"""

import argparse
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rows import ORIGIN, Implausible, commit, json_option, positive, publish, read

_HERE = Path(__file__).parents[1]
_RATES = re.compile(r"value|(.*_)?per_s")
_TIMES = re.compile(r"(.*_)?(ms|us)")
_SIZES = ("num_roots", "num_actions", "workers", "environments", "shards")
"""Numbers that belong to what was measured, and are no figures."""
_ASIDE = (*ORIGIN, "python", "torch", "unit", "peer", "peers", "note", "run", "binding")
"""Words that do not say what was measured."""

Figures = dict[tuple[str, str], float]
"""(What was measured, name of the figure) -> the figure."""


def turns(number: int) -> Iterator[bool]:
    """Yields whether it is the older checkout's turn, so many times each, both in the middle of the same time."""
    for turn in range(number):
        yield turn % 2 == 0
        yield turn % 2 == 1


def measure(checkout: Path, name: str, arguments: Sequence[str], prepare: str = "") -> Figures:
    """Runs a checkout's benchmark once.

    Args:
      checkout: its folder.
      name: of the script.
      arguments: of the script.
      prepare: Python that runs before the script's main().

    Raises:
      Implausible: it failed, or kept no figure that can be compared.
    """
    path = os.pathsep.join([str(checkout), str(checkout / "benchmarks"), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "rows.jsonl"
        program = f"import {name}\n{prepare}\n{name}.main()"
        command = [sys.executable, "-c", program, *arguments, "--json", str(kept)]
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            lines = (done.stdout + done.stderr).splitlines() or [""]
            raise Implausible(f"{name} of {checkout} ended with status {done.returncode}: {lines[-1]}")
        found = figures(read(kept))
    if not found:
        raise Implausible(f"{name} of {checkout} kept no rate and no time; nothing can be compared.")
    return found


def measure_or_repeat(checkout: Path, name: str, arguments: Sequence[str], prepare: str = "") -> Figures:
    """Runs a checkout's benchmark once, and once more where that failed: a busy machine may not even start Ray.

    Raises:
      Implausible: it failed twice.
    """
    try:
        return measure(checkout, name, arguments, prepare)
    except Implausible as error:
        print(f"{error} Once more …", file=sys.stderr, flush=True)
        return measure(checkout, name, arguments, prepare)


def figures(rows: Sequence[Mapping[str, Any]]) -> Figures:
    """Returns the rates and times of rows, each with what it is of."""
    found: Figures = {}
    for row in rows:
        words = [value for name, value in row.items() if isinstance(value, str) and value and name not in _ASIDE]
        what = ", ".join([*words, *(f"{name}={row[name]}" for name in _SIZES if name in row)])
        for name, value in row.items():
            if isinstance(value, int | float) and (_RATES.fullmatch(name) or _TIMES.fullmatch(name)):
                found[what, name] = float(value)
    return found


def compare(name: str, old: Sequence[Figures], new: Sequence[Figures]) -> list[dict[str, Any]]:
    """Returns a row for each figure that both sides have in all their turns.

    Raises:
      Implausible: there is none, or one says that nothing was done.
    """
    both = [key for key in new[0] if all(key in turn for turn in (*old, *new))]
    if not both:
        raise Implausible(f"{name}: none of {len(old[0])} figures before has its like among {len(new[0])} after.")
    rows = []
    for what, figure in both:
        sides = [[turn[what, figure] for turn in side] for side in (old, new)]
        if min(map(min, sides)) <= 0.0:
            raise Implausible(f"{name}: {what}: {figure} is not above 0 in each turn; nothing is kept. Measure again.")
        before, after = (statistics.median(side) for side in sides)
        rows.append(
            {
                "benchmark": name,
                "what": what,
                "figure": figure,
                "old": before,
                "new": after,
                "ratio": round(before / after if _TIMES.fullmatch(figure) else after / before, 3),
                "spread": round(max(max(side) / min(side) for side in sides) - 1.0, 3) if len(old) > 1 else None,
                "old_turns": sides[0],
                "new_turns": sides[1],
            }
        )
    return rows


def split(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Returns a command line's words before and after its first --."""
    end = words.index("--") if "--" in words else len(words)
    return words[:end], words[end + 1 :]


def check_checkout(checkout: Path, name: str) -> None:
    """Sees whether a benchmark is there and would import the checkout's own package.

    Raises:
      Implausible: it is not, or would not.
    """
    for path in (checkout / "benchmarks" / f"{name}.py", checkout / "rlsys" / "__init__.py"):
        if not path.is_file():
            raise Implausible(f"{path} is not there; give the folder of a checkout and a script's name without .py.")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="folder of the older checkout")
    parser.add_argument("name", help="of the script, without .py")
    parser.add_argument("--prepare", default="", metavar="CODE", help="Python that runs before the script's main()")
    parser.add_argument("--turns", type=positive(int), default=2, help="of each side (default: 2)")
    json_option(parser)
    own, arguments = split(sys.argv[1:])
    options = parser.parse_args(own)
    old, new = options.old.resolve(), _HERE.resolve()
    for checkout in (old, new):
        check_checkout(checkout, options.name)
    before: list[Figures] = []
    after: list[Figures] = []
    for is_old in turns(options.turns):
        checkout = old if is_old else new
        print(f"{options.name} of {commit(checkout)} …", file=sys.stderr, flush=True)
        (before if is_old else after).append(measure_or_repeat(checkout, options.name, arguments, options.prepare))
    threads = f"OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']} " if "OMP_NUM_THREADS" in os.environ else ""
    words = ["OLD_CHECKOUT", options.name, "--turns", str(options.turns)]
    words += ["--prepare", options.prepare] if options.prepare else []
    words += ["--", *arguments] if arguments else []
    rows = compare(options.name, before, after)
    command = f"{threads}python benchmarks/compare.py {shlex.join(words)}"
    publish(options.json, rows, _line, header=_HEADER, command=command, old_commit=commit(old))


_HEADER = f"{'':80} {'before':>14} {'after':>14} {'ratio':>7} {'spread':>7}"


def _line(row: Mapping[str, Any]) -> str:
    what = f"{row['what']}: {row['figure']}"
    spread = "" if row["spread"] is None else f"{row['spread']:7.1%}"
    return f"{what:80} {row['old']:14,.2f} {row['new']:14,.2f} {row['ratio']:7.3f} {spread}"


if __name__ == "__main__":
    main()
