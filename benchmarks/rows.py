"""Rows of figures: none that cannot be is printed or kept.

What a figure may be follows from its name. Names lead inward: of `{"cores_used": {"driver": 0.1}}` the innermost name
that says something counts, here `cores_used`. A figure without a value (None) was not measured.

    *_share, share*, roofline         0 to 1
    *per_s, *_per_update, *ratio, …   above 0: what did nothing was not measured
    samples, episodes, workers, …     above 0
    *_s, *_ms, *_us, *_minutes, …     not below 0
    all                               finite

Beside its figures a row says what repeats it and what lets a reader judge it:

    command      that made it
    commit       of the code; "-dirty" where code or settings differed from it
    date         when it was kept, in UTC
    machine      how many cores of which processor
    load         tasks that ran or wanted to on average of the last minute, the benchmark's own among them
    wall_s       seconds from the start of the benchmark until the row was kept
    seed         where chance decides

Rows older than these keys have commit and date of the commit that brought them, and null for what was not kept.
"""

import argparse
import json
import math
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil

RESULTS = Path(__file__).parent / "results"
ORIGIN = ("command", "commit", "date", "machine", "load", "wall_s")
"""Names that every row has beside its figures."""
Row = TypeVar("Row", bound=Any)
"""A mapping, or an instance of a dataclass."""


class Implausible(SystemExit):
    """Ends a benchmark with one line and status 1: what it measured cannot be, or was not there any more."""


class Rule(NamedTuple):
    """What figures of some names may be; `says` completes "a figure of this name is …"."""

    name: re.Pattern[str]
    allows: Callable[[float], bool]
    says: str


_ANY, _SHARES, _POSITIVE, _AMOUNTS = (
    r"mib_per_hour|rows_lost|env_steps_lost|learner_steps_lost",  # slopes and differences of counts under way
    r"(.*_)?share(_of_.*|_left)?|roofline|bits|sequences",
    r"(.*_)?per_(s|update|insert|us|tick)(_.*)?|(.*_)?ratio|samples_per_insert_.*|value|predicted|measured|network|bound"
    r"|samples|episodes|batches|updates|times|turns|cores|workers|environments|num_roots|num_actions|env_steps"
    r"|learner_steps|wall_minutes",
    r"(.*_)?(s|ms|us|seconds|minutes)(_.*)?|(.*_)?(mib|bytes|megabytes|cores|cores_used)(_.*)?"
    r"|not_recovered",
)
_RULES = (
    Rule(re.compile(_ANY), lambda x: True, "finite"),
    Rule(re.compile(r"share_of_(linear|ticks)"), lambda x: 0.0 < x <= 1.1, "above 0, and at most 1 within a tenth"),
    Rule(re.compile(_SHARES), lambda x: 0.0 <= x <= 1.0, "a share of 0 to 1"),
    Rule(re.compile(_POSITIVE), lambda x: x > 0.0, "above 0"),
    Rule(re.compile(_AMOUNTS), lambda x: x >= 0.0, "not below 0"),
)


def publish(
    path: Path | None, rows: Iterable[Row], line: Callable[[Row], str] | None = None, *, header: str = "", **origin: Any
) -> None:
    """Prints rows, and appends them to a file: all of them, or none if one has a figure that cannot be.

    Args:
      path: of the file; None only prints.
      rows: what was measured.
      line: what is printed of one; none prints it as JSON.
      header: printed before them.
      origin: what else is known of all of them, kept with what is found out here.

    Raises:
      Implausible: it names the figure; or there are no rows.
    """
    checked = list(rows)
    trees = [check(row) for row in checked]
    if not trees:
        raise Implausible("nothing was measured; nothing is kept. Measure again, and for longer.")
    if header:
        print(header)
    for row, tree in zip(checked, trees, strict=True):
        print(json.dumps(tree, indent=1, ensure_ascii=False) if line is None else line(row), flush=True)
    if path is None:
        return
    here = surroundings()
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({**tree, **{**here, **tree, **origin}}, ensure_ascii=False) + "\n" for tree in trees)


def read(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a file, in its order; none if there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def check(row: Any) -> dict[str, Any]:
    """Returns a row as a dict.

    Raises:
      Implausible: a figure cannot be, or there is none.
    """
    tree = asdict(row) if is_dataclass(row) and not isinstance(row, type) else dict(row)
    found = False
    for names, value in _figures((), tree):
        found = True
        path = ".".join(map(str, names))
        if not math.isfinite(value):
            raise Implausible(f"{_title(tree)}: {path} = {value}; a figure is finite. Nothing is kept: measure again.")
        rule = next((rule for name in reversed(names) for rule in _RULES if rule.name.fullmatch(str(name))), None)
        if rule is not None and not rule.allows(value):
            raise Implausible(
                f"{_title(tree)}: {path} = {value:g}; a figure of this name is {rule.says}. Nothing is kept: look "
                "whether what was measured was there all the time, and measure again."
            )
    if not found:
        raise Implausible(f"{_title(tree)}: there is no figure in it. Nothing is kept: measure again.")
    used, cores = tree.get("cores_used"), tree.get("cores")
    if isinstance(used, Mapping) and isinstance(cores, int) and sum(used.values()) > 1.05 * cores:
        raise Implausible(
            f"{_title(tree)}: {sum(used.values()):g} cores used, of {cores}. Nothing is kept: measure again."
        )
    return tree


def positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    """Returns what reads a number on the command line, and refuses those in which nothing can be measured."""

    def read(text: str) -> float:
        value = kind(text)
        if not 0.0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return read


def json_option(parser: argparse.ArgumentParser) -> None:
    """Adds --json FILE."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="append rows to this file, one JSON object a line")


def surroundings() -> dict[str, Any]:
    """Returns which code runs when, where and beside what, for a row that is kept now."""
    return {
        "commit": commit(Path(__file__).parents[1]),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "machine": machine(),
        "load": round(os.getloadavg()[0], 2),
        "wall_s": round(time.time() - psutil.Process().create_time(), 1),
        "python": platform.python_version(),
    }


def commit(checkout: Path) -> str:
    """Returns a checkout's commit, "-dirty" if code or settings differ from it; "unknown" where there is no git."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=checkout, capture_output=True, text=True, encoding="utf-8", check=True
        )
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "*.py", "*.yaml")
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine() -> str:
    """Returns how many cores of which processor this is."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} × {models[0] if models else platform.machine()}"


def _figures(names: tuple[str | int, ...], value: Any) -> Iterator[tuple[tuple[str | int, ...], float]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _figures((*names, name), inner)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _figures((*names, index), inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield names, float(value)


def _title(tree: Mapping[str, Any]) -> str:
    words = (tree.get(name) for name in ("what", "method", "task", "system", "run", "fault"))
    return ", ".join(str(word) for word in words if word) or "a row"
