"""A cluster of several machines on this one, which can be killed and announced to go."""

import collections
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster as Raylets
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

_ROLE = "rlsys.io/role"
_OBJECT_STORE_BYTES = 300_000_000


class Cluster:
    """Raylets with roles, and the processes on them."""

    def __init__(self, folder: Path) -> None:
        os.environ |= {
            "RAY_AUTH_MODE": "disabled",
            "RAY_worker_niceness": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
        }
        self._redis: subprocess.Popen[bytes] | None = None
        if shutil.which("redis-server") is not None:
            port = _free_port()
            command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
            self._redis = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)
            os.environ["RAY_REDIS_ADDRESS"] = f"127.0.0.1:{port}"
        else:
            os.environ |= {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(folder / "gcs")}
        self.state = "RocksDB" if self._redis is None else "Redis"
        self.raylets = Raylets()
        self.nodes: dict[str, list[Any]] = collections.defaultdict(list)
        for role, cores in (("head", 0), ("learner", 2), ("rollout", 3), ("rollout", 3)):
            self.add(role, cores)

    @property
    def address(self) -> str:
        """Where drivers join."""
        return str(self.raylets.address)

    def add(self, role: str, cores: int) -> None:
        """Starts a machine."""
        labels = {_ROLE: role}
        node = self.raylets.add_node(num_cpus=cores, labels=labels, object_store_memory=_OBJECT_STORE_BYTES)
        self.nodes[role].append(node)

    def kill(self, role: str, rng: random.Random) -> None:
        """Kills the raylet of a machine; its workers die of it."""
        node = self.nodes[role].pop(rng.randrange(len(self.nodes[role])))
        os.kill(raylet_pid(node), signal.SIGKILL)

    def announce(self, role: str, seconds: float) -> Any:
        """Says that a machine will be taken away; returns it."""
        node = self.nodes[role].pop(0)
        reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        head = GcsClient(address=self.address)
        head.drain_node(node.node_id, reason, "chaos", int((time.time() + seconds) * 1000))
        return node

    def pids(self, host: str) -> list[int]:
        """Returns the processes of workers of a class, such as RolloutProcess."""
        found = []
        for node in [node for nodes in self.nodes.values() for node in nodes]:
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in psutil.Process(raylet_pid(node)).children():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        if " ".join(process.cmdline()).startswith(f"ray::{host}"):
                            found.append(process.pid)
        return found

    def close(self) -> None:
        """Ends everything."""
        self.raylets.shutdown()
        if self._redis is not None:
            self._redis.kill()
            self._redis.wait()


def raylet_pid(node: Any) -> int:
    """Returns the process of a machine's raylet."""
    return int(node.all_processes["raylet"][0].process.pid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
