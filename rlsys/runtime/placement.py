"""On which machines of a cluster the processes of a run go.

The files in cluster/ label their machines by role, `rlsys.io/role` = head, learner or rollout. Who acts goes where many
cores are cheap and a lost machine costs nothing; who holds what cannot be recomputed goes beside the learners. Where no
machine has a role, as on one machine, Ray decides.
"""

from typing import Any, Literal

import ray

ROLE = "rlsys.io/role"
"""The label."""

Worker = Literal["rollout", "evaluator", "learner", "inference", "shard", "server"]

_ROLE_OF: dict[Worker, str] = {
    "rollout": "rollout",
    "evaluator": "rollout",
    "learner": "learner",
    "inference": "learner",
    "shard": "learner",
    "server": "learner",
}
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

    def options(self, worker: Worker, *, table_bytes: int = 0) -> dict[str, Any]:
        """Returns what to add to a worker's Ray options.

        Args:
          worker: its kind.
          table_bytes: of a shard: its table's budget, 0 for none; so much memory is reserved for it.
        """
        role = _ROLE_OF[worker]
        if role not in self._roles:
            return {}
        options: dict[str, Any] = {"label_selector": {ROLE: role}}
        if table_bytes:
            options["memory"] = int(table_bytes * _MORE_THAN_ROWS)
        return options
