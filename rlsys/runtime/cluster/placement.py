"""On which machines of a cluster the processes of a run go.

The files in cluster/ label their machines by role, `rlsys.io/role` = head, learner or rollout. Who acts goes where many
cores are cheap and a lost machine costs nothing; who holds what cannot be recomputed goes beside the learners. Where no
machine has a role, as on one machine, Ray decides. Several learners, who average gradients at every step, share a
placement group: they go to one machine if one has room for all.
"""

from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rlsys.runs.workers import WorkerKind
from rlsys.runtime.cluster.machine_types import ROLE

Handle = Any
"""A Ray actor handle."""
_SOME_MEMORY = 2**20
"""A bundle must reserve something, and machines for learners may offer no cores."""
_MORE_THAN_ROWS = 1.3
"""What a shard's process takes for each byte of its table's budget, batches on their way included."""


class Placement:
    """Ray options per kind of worker."""

    def __init__(self, roles: frozenset[str]) -> None:
        """Takes the roles that machines of the cluster have."""
        self._roles = roles

    @classmethod
    def of_cluster(cls) -> "Placement":
        """Asks the cluster that this process has joined."""
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        return cls(frozenset(node["Labels"][ROLE] for node in nodes if node["Alive"] and ROLE in node["Labels"]))

    def options(self, kind: WorkerKind, *, table_bytes: int = 0) -> dict[str, Any]:
        """Returns what to add to a worker's Ray options.

        Args:
          kind: the worker's.
          table_bytes: of a shard: its table's budget, 0 for none; so much memory is reserved for it.
        """
        role = kind.role
        if role not in self._roles:
            return {}
        options: dict[str, Any] = {"label_selector": {ROLE: role}}
        if table_bytes:
            options["memory"] = int(table_bytes * _MORE_THAN_ROWS)
        return options

    def group_learners(self, num_learners: int, num_gpus: float) -> PlacementGroup:
        """Reserves room for all learners, on as few machines as can be; whoever uses it waits until it is there.

        Args:
          num_learners: how many.
          num_gpus: GPUs of each, 0 on CPUs.
        """
        bundle: dict[str, float] = {"memory": _SOME_MEMORY} | ({"GPU": num_gpus} if num_gpus else {})
        bundles, selector = [bundle] * num_learners, self.options(WorkerKind.LEARNER).get("label_selector")
        group: PlacementGroup = placement_group(
            bundles, strategy="PACK", bundle_label_selector=selector and [selector] * num_learners
        )
        return group

    def describe(self, kind: WorkerKind, *, cpus: float, gpus: float) -> str:
        """Says which machines take a worker that reserves so many cores and GPUs: "a machine with …"."""
        wanted = [f"{key}={value}" for key, value in self.options(kind).get("label_selector", {}).items()]
        wanted += [f"{count:g} free {what}" for count, what in ((cpus, "CPU"), (gpus, "GPU")) if count]
        return f"a machine with {' and '.join(wanted)}" if wanted else "a machine"


def in_group(group: PlacementGroup, index: int, num_gpus: float) -> dict[str, Any]:
    """Returns the Ray options of the learner that takes a place in the group."""
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
    return {"scheduling_strategy": strategy, "num_cpus": 0, "num_gpus": num_gpus}
