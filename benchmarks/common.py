"""What benchmarks have in common: the option --json, and the rows that it keeps."""

import argparse
import json
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def json_option(parser: argparse.ArgumentParser) -> None:
    """Adds --json FILE."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="append rows to this file, one JSON object a line")


def append_rows(path: Path | None, rows: Iterable[Mapping[str, Any]], **origin: Any) -> None:
    """Appends rows to a file, if there is one, each with what else is known of its origin, the machine and Python."""
    if path is None:
        return
    origin = {**origin, "machine": machine(), "python": platform.python_version()}
    with path.open("a") as file:
        file.writelines(json.dumps({**row, **origin}, ensure_ascii=False) + "\n" for row in rows)


def machine() -> str:
    """Returns how many cores of which processor this is."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} × {models[0] if models else platform.machine()}"
