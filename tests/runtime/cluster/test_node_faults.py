"""Machines that die, come and are taken away, in a process with a cluster of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE_S = 600.0
SHORT = "dies_go_on_elsewhere or notice"
"""The others take minutes: python tests/runtime/cluster/node_faults.py runs all."""
TESTS = Path(__file__).parent / "node_faults.py"


@pytest.mark.xdist_group("ray")
def test_a_run_survives_what_happens_to_machines() -> None:
    done = subprocess.run(
        [sys.executable, str(TESTS), "-k", SHORT], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
