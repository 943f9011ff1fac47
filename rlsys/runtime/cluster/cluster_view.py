"""What the head of the cluster knows: who has a machine, and which machines are about to be taken away.

It is asked in a thread of its own, because a head that is being restarted answers nothing while training goes on.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray._private import state
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]
from ray.exceptions import RayError

from rlsys.runtime.cluster.placement import Handle

_LOOK_S = 2.0
_ANOTHER = "WrongClusterID"


@dataclass(frozen=True)
class Machine:
    """One machine of the cluster.

    Attributes:
      name: its host name and address.
      labels: its Ray labels.
      leaves_at: Unix time at which it is taken away; 0 if it is, but nobody knows when; None while it stays.
    """

    name: str
    labels: Mapping[str, str]
    leaves_at: float | None = None


@dataclass(frozen=True)
class ClusterView:
    """How the cluster looked at one moment.

    Attributes:
      machines: node id -> machine, of those that are alive.
      homes: actor id -> node id; the empty string while no machine has taken the actor.
    """

    machines: Mapping[str, Machine] = field(default_factory=dict)
    homes: Mapping[str, str] = field(default_factory=dict)


class ClusterWatch:
    """The newest view of the cluster, until it is closed.

    Attributes:
      view: as it looked two seconds ago, or when the head answered last.
      head_is_another: whether the head was restarted without its state, and so knows nothing of this cluster.
    """

    def __init__(self) -> None:
        self.view = ClusterView()
        self.head_is_another = False
        self._head = GcsClient(address=ray.get_runtime_context().gcs_address)
        self._job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
        self._answered = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="machines", daemon=True)
        self._thread.start()

    @property
    def silent_s(self) -> float:
        """Seconds for which the head has not answered, beyond the usual pause between two questions."""
        return max(0.0, time.monotonic() - self._answered - _LOOK_S)

    def home(self, handle: Handle) -> str | None:
        """Returns the node on which a worker is, the empty string if it waits for one, None if that is not known."""
        return self.view.homes.get(handle._actor_id.hex())

    def close(self) -> None:
        """Asks no more."""
        self._closed.set()
        self._thread.join(timeout=_LOOK_S)

    def _look_on(self) -> None:
        while not self._closed.wait(_LOOK_S):
            try:
                self.view = self._look()
            except RayError as error:  # the head is away
                self.head_is_another = _ANOTHER in str(error)
            else:
                self._answered = time.monotonic()

    def _look(self) -> ClusterView:
        """Asks first what fails in good order, and within seconds, where the head is away or another."""
        leaving: dict[str, int] = self._head.get_draining_nodes(timeout=_LOOK_S)
        nodes = self._head.get_all_node_info(timeout=_LOOK_S, state_filter=GcsNodeInfo.ALIVE)
        machines = {
            node.hex(): Machine(
                name=f"{info.node_manager_hostname} ({info.node_manager_address})",
                labels=dict(info.labels),
                leaves_at=leaving[node.hex()] / 1000 if node.hex() in leaving else None,
            )
            for node, info in nodes.items()
        }
        actors: dict[str, dict[str, Any]] = state.actors(job_id=self._job)
        homes = {
            actor: row["Address"]["NodeID"] if row["Address"]["IPAddress"] else ""
            for actor, row in actors.items()
            if row["State"] != "DEAD"
        }
        return ClusterView(machines, homes)
