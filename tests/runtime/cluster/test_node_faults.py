"""Machines that die, come and are taken away, in a process with a cluster of its own.

python tests/runtime/cluster/test_node_faults.py [-k NAME] [-s]      # runs all, which takes minutes; pytest's options
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE_S = 600.0
SHORT = "dies_go_on_elsewhere or notice"
TESTS = str(Path(__file__).parent / "node_faults.py")
COMMAND = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", TESTS]
ENVIRONMENT = {
    # A raylet that is gone is noticed within seconds, one that is slow is left in peace.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "10000",
    # A busy machine takes long to start a raylet, and to do what is tested while the head is away.
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
}
"""What Ray must find when it is imported."""


@pytest.mark.xdist_group("ray")
def test_a_run_survives_what_happens_to_machines() -> None:
    command, variables = [*COMMAND, "-k", SHORT], os.environ | ENVIRONMENT
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


if __name__ == "__main__":
    os.execve(sys.executable, [*COMMAND, *sys.argv[1:]], os.environ | ENVIRONMENT)
