"""Starts a run's processes on a cluster of four labelled raylets, and writes who came to lie where.

python tests/cluster/place_by_label.py FILE      # tests/runtime/cluster/test_placement.py reads it
"""

import json
import sys
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from rlsys import config, registry
from rlsys.runs.resolve import resolve
from rlsys.runtime.cluster import cluster as joined
from rlsys.runtime.cluster.machine_types import ROLE
from rlsys.runtime.driver.program import Program

_MACHINES = (("head", 0), ("learner", 0), ("learner", 0), ("rollout", 4))
"""Role and CPU cores."""
_OBJECT_STORE_BYTES = 100_000_000
_SETTINGS = (
    "debug=true",
    "runtime.rollout_workers=3",
    "runtime.rollout_cpus=1",
    "runtime.replay_shards=2",
    "runtime.learners=2",
)
_PATIENCE_S = 120.0


def main(out: Path) -> None:
    """Writes worker -> the roles of the machines on which its processes are, and how many machines learn."""
    machines = Cluster()
    for role, cores in _MACHINES:
        machines.add_node(
            num_cpus=cores, labels={ROLE: role}, object_store_memory=_OBJECT_STORE_BYTES, include_dashboard=False
        )
    machines.wait_for_nodes()
    loaded = config.load("muzero-cartpole", "laptop", [*_SETTINGS, f"runtime.address={machines.address}"])
    num_cpus, num_gpus = joined.connect(loaded.experiment.runtime)
    program = Program(resolve(loaded, registry.get_algorithm("muzero", "here"), num_cpus=num_cpus, num_gpus=num_gpus))
    for index in range(3):
        program.start_rollout(index, 0)
    program.start_evaluator()
    ray.get(program.start_learners(None), timeout=_PATIENCE_S)
    roles = {node["NodeID"]: node["Labels"][ROLE] for node in ray.nodes()}

    def node_of(handle: Any) -> str:
        here = handle.__ray_call__.remote(lambda worker: ray.get_runtime_context().get_node_id())
        return ray.get(here, timeout=_PATIENCE_S)

    processes = {
        "rollout": list(program.rollouts.values()),
        "evaluator": [program.evaluator],
        "learner": program.learners,
        "shard": program.shards,
        "server": [program.server],
    }
    found = {worker: [roles[node_of(handle)] for handle in handles] for worker, handles in processes.items()}
    found["machines that learn"] = len({node_of(handle) for handle in program.learners})
    out.write_text(json.dumps(found), encoding="utf-8")
    program.close()
    ray.shutdown()
    machines.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
