"""What ProcGen brings along says nothing on the user's terminal."""

import subprocess
import sys

PLAY = """
import numpy as np
from rlsys.config import EnvConfig
from rlsys.envs.vector import BatchedEnv
batch = BatchedEnv(EnvConfig(id="procgen-coinrun"), (0, 1))
batch.step(np.zeros(2, np.int64))
batch.close()
print("played")
"""


def test_playing_writes_nothing_to_the_terminal() -> None:
    done = subprocess.run([sys.executable, "-c", PLAY], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("played\n", "")


def test_the_package_alone_does_write_there() -> None:
    done = subprocess.run([sys.executable, "-c", "import procgen"], capture_output=True, text=True, check=True)
    assert "Gym has been unmaintained" in done.stderr
