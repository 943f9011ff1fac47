"""Which machines a run gets: this one, those of a cluster, or those that a file in cluster/ would start."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsys.errors import ConfigError
from rlsys.files.yaml_tree import read_yaml
from rlsys.runs.workers import WorkerKind

ROLE = "rlsys.io/role"
"""The label that says what a machine is for."""

_GIB = 2**30
_GIB_PER_CORE = {"c": 2, "m": 4, "r": 8, "g": 4, "highcpu": 1, "standard": 4, "highmem": 8}
"""By the first letter of AWS's instance families (compute, general, memory, GPU) and by the word in Google's types."""
_AWS_SIZES = {"large": 2, "xlarge": 4}
_CGROUP = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class MachineType:
    """Machines of one kind.

    Attributes:
      name: what they are called.
      role: what their label says that they are for; empty without one.
      count: how many there are at most.
      cores: CPU cores of each; 0 if that is not known.
      cpus: how many of them Ray may reserve for rollout workers.
      gpus: GPUs of each.
      memory_bytes: of each; 0 if that is not known.
    """

    name: str
    role: str
    count: int
    cores: int
    cpus: int
    gpus: int
    memory_bytes: int


def homes(machines: Sequence[MachineType], kind: WorkerKind) -> list[MachineType]:
    """Returns the machines to which workers of a kind go: those of their role, any where there are none."""
    return [found for found in machines if found.role == kind.role] or list(machines)


def this_machine() -> MachineType:
    """Looks at this machine, or at what a container has of it."""
    cores, gpus = os.cpu_count() or 1, len(list(Path("/dev").glob("nvidia[0-9]*")))
    return MachineType("this machine", "", 1, cores, cores, gpus, _memory_bytes())


def of_cluster() -> list[MachineType]:
    """Returns the machines of the cluster that this process has joined, alike ones together."""
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    alike = Counter(_of_node(node) for node in nodes if node["Alive"])
    return [MachineType(found.name, found.role, count, *_sizes(found)) for found, count in alike.items()]


def from_file(path: Path) -> list[MachineType]:
    """Reads a file for `ray up`: each node type, as many machines as it may have.

    Raises:
      ConfigError: there is no such file, it names no machines, or says too little about them.
    """
    if not path.is_file():
        raise ConfigError(f"no cluster file '{path}'. Give one for 'ray up', such as cluster/gpu.yaml.")
    tree = read_yaml(path)
    types = tree.get("available_node_types")
    if not isinstance(types, dict):
        raise ConfigError(
            f"{path} has no available_node_types, so it does not say how large its machines are. Start them with "
            "'ray up' and give --address instead."
        )
    head, most = tree.get("head_node_type"), int(tree.get("max_workers", 0))
    return [_of_type(path, name, node, most, is_head=name == head) for name, node in types.items()]


def _of_node(node: dict[str, Any]) -> MachineType:
    resources, role = node["Resources"], node["Labels"].get(ROLE, "")
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    # Ray divides what there is between objects and the heaps of workers.
    memory = int(resources.get("memory", 0) + resources.get("object_store_memory", 0))
    rounded = memory // _GIB * _GIB
    return MachineType(role or "machine", role, 1, cpus, cpus, gpus, rounded)


def _sizes(machines: MachineType) -> tuple[int, int, int, int]:
    return machines.cores, machines.cpus, machines.gpus, machines.memory_bytes


def _of_type(path: Path, name: str, node: dict[str, Any], most: int, *, is_head: bool) -> MachineType:
    resources, config = node.get("resources", {}), node.get("node_config", {})
    machine = str(config.get("InstanceType") or config.get("machineType") or "")
    known = _machine_sizes(machine)
    if known is None and not {"CPU", "memory"} <= resources.keys():
        raise ConfigError(
            f"{path}: nothing is known about the machines of '{name}' ({machine or 'no type'}). Write what they have, "
            "as resources: {CPU: 16, memory: 64000000000}."
        )
    cores, memory = known or (int(resources["CPU"]), int(resources["memory"]))
    count = 1 if is_head else min(most, int(node.get("max_workers", most)))
    cpus = int(resources.get("CPU", cores))
    gpus = int(resources.get("GPU", 0))
    role = node.get("labels", {}).get(ROLE, "")
    return MachineType(name, role, count, cores, cpus, gpus, memory)


def _machine_sizes(machine: str) -> tuple[int, int] | None:
    """Returns cores and bytes of memory of a cloud's machine type, which its name says; None for another name."""
    if aws := re.fullmatch(r"([a-z])\d[a-z-]*\.(\d*)(x?large)", machine):
        family, times, size = aws.groups()
        cores = int(times or 1) * _AWS_SIZES[size]
    elif google := re.fullmatch(r"[a-z]\d[a-z]?-([a-z]+)-(\d+)", machine):
        family, cores = google[1], int(google[2])
    else:
        return None
    return (cores, cores * _GIB_PER_CORE[family] * _GIB) if family in _GIB_PER_CORE else None


def _memory_bytes() -> int:
    """Returns the memory of this machine, or of the container that this process is in."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _CGROUP.read_text(encoding="utf-8").strip() if _CGROUP.is_file() else "max"
    return min(total, int(limit)) if limit.isdigit() else total
