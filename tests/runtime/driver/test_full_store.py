"""Ray's object store and the disk behind it are full: a run says so in one line, and in words that help."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.command_line import RLSYS

pytestmark = pytest.mark.xdist_group("ray")

LAUNCH = [*RLSYS, "launch", "impala-pong"]
SETTINGS = [
    "runtime.rollout_workers=2",
    "runtime.environments_per_worker=8",  # a few long unrolls of large frames fill it sooner than many small ones
    "env.frame_size=[210,160]",
    "impala.unroll_length=80",
    "run.wandb=disabled",
]
SMALL = {
    "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": str(80 * 2**20),
    "RAY_local_fs_capacity_threshold": "0.0001",  # so that the disk counts as full
}


def test_a_full_object_store_is_named_with_what_to_do(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*LAUNCH, *SETTINGS],
        cwd=tmp_path,
        env={**os.environ, **SMALL},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        try:
            lines = []
            for line in run.stdout:
                lines.append(line)
                if "object store" in line:
                    break
        finally:
            os.killpg(run.pid, signal.SIGKILL)
    assert "is restarted: Ray's object store on its machine is full, and so is the disk" in lines[-1], "".join(lines)
    assert "lower runtime.batches_in_flight" in lines[-1]
    assert not any("Traceback" in line for line in lines), "".join(lines)
