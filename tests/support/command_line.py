"""The real command in processes of its own, and waiting for what it does."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

RLSYS = [sys.executable, "-c", "from rlsys.cli import main; main()"]
"""`rlsys`, as this environment has it."""
PATIENCE_S = 150.0
Invoke = Callable[..., tuple[int, str, str]]
"""Runs the command line in this process: status, standard output and standard error."""


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts `rlsys …` in a folder; what it writes, and its errors, come by one pipe."""
    return subprocess.Popen(
        [*RLSYS, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def rlsys(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `rlsys …` in a folder to its end."""
    command = [*RLSYS, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {PATIENCE_S:.0f} s"
        time.sleep(0.2)
