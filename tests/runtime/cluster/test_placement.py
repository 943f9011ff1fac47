"""Who goes where on a cluster of several machines, which here are four raylets on one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rlsys.runs.workers import WorkerKind
from rlsys.runtime.cluster.machine_types import ROLE
from rlsys.runtime.cluster.placement import Placement

PATIENCE_S = 240.0
SCRIPT = Path(__file__).parents[2] / "cluster" / "place_by_label.py"


def test_where_no_machine_has_a_role_ray_decides() -> None:
    assert Placement(frozenset()).options(WorkerKind.LEARNER) == {}
    assert Placement(frozenset({"head"})).options(WorkerKind.SHARD, table_bytes=2**30) == {}


def test_memory_is_reserved_for_what_a_shard_may_hold() -> None:
    options = Placement(frozenset({"learner"})).options(WorkerKind.SHARD, table_bytes=10**9)
    assert options["label_selector"] == {ROLE: "learner"}
    assert 10**9 < options["memory"] < 2 * 10**9
    assert "memory" not in Placement(frozenset({"learner"})).options(WorkerKind.SHARD)


@pytest.mark.xdist_group("ray")
def test_on_a_labelled_cluster_everybody_goes_to_the_machines_of_their_role_and_learners_stay_together(
    tmp_path: Path,
) -> None:
    out = tmp_path / "found.json"
    command = [sys.executable, str(SCRIPT), str(out)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert json.loads(out.read_text()) == {
        "rollout": ["rollout"] * 3,
        "evaluator": ["rollout"],
        "learner": ["learner"] * 2,
        "shard": ["learner"] * 2,
        "server": ["learner"],
        "machines that learn": 1,
    }
