"""`rlsys top`: the processes of a run that trains: where they are, what they cost, do and wait for."""

import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from rlsys.commands.follow import find_run
from rlsys.metrics.formatting import duration, join, number, percent, rate
from rlsys.metrics.timing import by_kind
from rlsys.metrics.worker_table import time_rows
from rlsys.runs.heartbeat import Sighting, look, workers
from rlsys.runs.workers import WorkerKind, WorkerRow
from rlsys.terminal import print_table

_LOOK_S = 1.0
_FRAME_LINES = 16
"""Lines of the live view besides the processes: title, header, sum, parts of time, advice."""
_COLUMNS = ("worker", "node", "pid", "CPU", "memory", "resident", "does", "rate", "weights", "restarts", "seen")
_NUMBERS = ("pid", "CPU", "memory", "resident", "restarts", "seen")


def show_top(run: str, directory: Path, *, once: bool) -> None:
    """Shows a run's processes until it ends, or once; also once where the output is no terminal.

    Raises:
      CheckpointError: there is no such run.
      ConfigError: nobody has trained it yet.
    """
    sighting = find_run(run, directory)
    if once or not sys.stdout.isatty():
        _print_once(sighting)
        return
    console = Console(highlight=False)
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, vertical_overflow="crop") as live:
        while sighting.is_alive:
            live.update(_view(sighting, workers(sighting.folder), max(4, console.height - _FRAME_LINES)))
            time.sleep(_LOOK_S)
            sighting = look(sighting.folder) or sighting
    console.print(Text(_title(sighting)), soft_wrap=True)


def worker_cells(row: WorkerRow, now: float) -> tuple[str, ...]:
    """Returns one process as the cells of a table, as of `now` (Unix time)."""
    lag = "" if row.lag is None else f"{row.lag:,} behind"
    return (
        f"{row.kind} {row.index}",
        row.node,
        str(row.pid),
        percent(row.cores_used),
        _mebibytes(row.pss_bytes),
        _mebibytes(row.rss_bytes),
        row.does,
        ", ".join(f"{name} {rate(value)}" for name, value in row.rates.items()),
        "" if row.version is None else ", ".join(filter(None, (f"version {row.version:,}", lag))),
        f"{row.restarts:,}" if row.restarts else "",
        duration(max(0.0, now - row.seen)),
    )


def sum_cells(rows: Sequence[WorkerRow]) -> tuple[str, ...]:
    """Returns what all processes take together; resident memory would count shared pages more than once."""
    cells = dict.fromkeys(_COLUMNS, "")
    cells["worker"] = f"all {len(rows):,}"
    cells["CPU"] = percent(sum(row.cores_used for row in rows))
    cells["memory"] = _mebibytes(sum(row.pss_bytes for row in rows))
    return tuple(cells.values())


def _print_once(sighting: Sighting) -> None:
    rows = workers(sighting.folder)
    cells = [worker_cells(row, sighting.seen) for row in rows]
    print_table(_title(sighting), _COLUMNS, [*cells, sum_cells(rows)])
    if sighting.status is not None:
        print_table("where time goes", ("worker", "part", "share"), time_rows(sighting.status.shares))
        print_table("advice", ("what binds, and what to do",), [(sighting.status.advice or "not clear yet",)])


def _view(sighting: Sighting, rows: Sequence[WorkerRow], most_rows: int) -> Group:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in _COLUMNS:
        table.add_column(column, justify="right" if column in _NUMBERS else "left", overflow="fold")
    for row in rows[:most_rows]:
        table.add_row(*(Text(cell) for cell in worker_cells(row, sighting.seen)))
    if len(rows) > most_rows:
        table.add_row(f"and {len(rows) - most_rows:,} more")
    table.add_row(*sum_cells(rows), style="bold")
    advice = "" if sighting.status is None else sighting.status.advice
    return Group(Text(_title(sighting), style="bold"), table, "", _trees(sighting), "", Text(advice, style="green"))


def _trees(sighting: Sighting) -> Table:
    """Draws one tree per kind of worker, side by side; what begins alike, such as waiting, is one branch."""
    shares = {} if sighting.status is None else by_kind(sighting.status.shares)
    grid = Table.grid(padding=(0, 4, 0, 0))
    grid.add_row(*(_tree(kind, shares[kind]) for kind in WorkerKind if kind in shares))
    return grid


def _tree(kind: str, shares: dict[str, float]) -> Tree:
    tree = Tree(Text(kind, style="bold"))
    branches: dict[str, list[str]] = {}
    for part in shares:
        branches.setdefault(part.partition("_")[0], []).append(part)
    for name, parts in branches.items():
        branch = tree.add(f"{name} {percent(sum(shares[part] for part in parts))}")
        for part in parts:
            if part != name:
                branch.add(f"{part.removeprefix(f'{name}_')} {percent(shares[part])}")
    return tree


def _title(sighting: Sighting) -> str:
    status = sighting.status
    figures = ""
    if status is not None:
        figures = join(
            duration(status.elapsed_s),
            f"{status.env_steps:,} env steps {rate(status.env_steps_per_s)}",
            f"{status.learner_steps:,} updates {rate(status.updates_per_s)}",
            number(status.samples_per_insert, "samples per insert"),
        )
    reason = f": {sighting.reason}" if sighting.reason else ""
    return join(f"{sighting.name} is {sighting.state}{reason}", figures)


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB" if count else ""
