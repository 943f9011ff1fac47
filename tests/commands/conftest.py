"""An experiment that is trained in a moment."""

from pathlib import Path

import pytest

EXPERIMENT = """\
algorithm: counted:checking
env: {id: rlsys/Counting-v0}
runtime: {rollout_workers: 1, environments_per_worker: 4}
run:
  training_steps: 12
  checkpoint_every_learner_steps: 6
  evaluate_every_learner_steps: 0
  log_every_learner_steps: 4
  wandb: disabled
  tensorboard: false
"""
MODULE = """\
import rlsys.testing.environments
from rlsys.testing.algorithm import CHECKING
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the experiment 'counting.yaml'."""
    (tmp_path / "counting.yaml").write_text(EXPERIMENT)
    (tmp_path / "counted.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path
