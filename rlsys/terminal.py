"""The terminal: tables, drawn for people and plain and untruncated for pipes; and going on when it is gone."""

import errno
import io
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

Cells = Sequence[str]


def outlast_terminal() -> None:
    """Lets nothing fail that is written to standard output or error: what trains goes on without a reader.

    A terminal may be closed, a pipe's reader end, the disk below a log be full.
    """
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)


def print_table(title: str, columns: Cells, rows: Sequence[Cells]) -> None:
    """Prints rows under a title: a drawn table on a terminal, one line per row with aligned columns elsewhere."""
    if sys.stdout.isatty():
        _print_drawn(title, columns, rows)
    else:
        sys.stdout.write(f"{plain_table(title, columns, rows)}\n\n")


def plain_table(title: str, columns: Cells, rows: Sequence[Cells]) -> str:
    """Returns the table with columns two spaces apart, as wide as their widest cell; the last is not padded."""
    lines = [columns, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns) - 1)]
    text = ["  ".join([*map(str.ljust, line, widths), line[-1]]).rstrip() for line in lines]
    return "\n".join([f"# {title}", *text])


def as_text(value: Any) -> str:
    """Returns a setting as YAML writes it inline."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _print_drawn(title: str, columns: Cells, rows: Sequence[Cells]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console().print(table)


_STYLES = {
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
    "default": "dim",
    "override": "cyan",
    "experiment": "green",
}
"""Words that a table paints."""


class _Lasting(io.FileIO):
    """A descriptor that takes whatever is written; for good nowhere, once nobody is there to read it."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.EIO):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.fileno())
                os.close(nowhere)
            return memoryview(data).nbytes


def _lasting(stream: TextIO) -> TextIO:
    if type(stream) is not io.TextIOWrapper:  # a test's
        return stream
    stream.flush()
    raw = _Lasting(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=raw.isatty() or stream.line_buffering
    )
