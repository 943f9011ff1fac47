"""Machines that die, come and are taken away, in a process with a cluster of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE_S = 900.0
TESTS = Path(__file__).parent / "node_faults.py"


@pytest.mark.xdist_group("ray")
def test_a_run_survives_what_happens_to_machines() -> None:
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", str(TESTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
