"""Moves a run's workers from machines that are about to be taken away: Ray drains them, with a deadline.

    rollout worker         a successor is started elsewhere; the old one leaves when it is there, after its present tick
    evaluator              is started elsewhere
    server, inference      Ray restarts them elsewhere, under the same handle
    shards, learners       a checkpoint is begun at once, and inserts into these shards wait. Once it is committed, Ray
                           restarts the shards elsewhere, with its rows, and the learners go on from its step

So no row and no update is lost. Who has no other machine to go to stays until the end, and comes back from that
checkpoint when a machine is there.
"""

import time
from collections.abc import Callable

import ray

from rlsys.runtime.cluster.cluster_view import Machine
from rlsys.runtime.cluster.placement import WorkerKey
from rlsys.runtime.driver.liveness import name_of
from rlsys.runtime.driver.program import Program

_HELD = "its shard to come up on another machine"


class Preemption:
    """Heeds notices. The supervisor does what concerns its calls: checkpoints, and workers that it replaces itself."""

    def __init__(self, program: Program, say: Callable[[str], None]) -> None:
        """Takes the workers, and where to say that a machine leaves."""
        self._program = program
        self._say = say
        self._noticed: set[str] = set()
        self._heeded: set[tuple[WorkerKey, str]] = set()
        self._with_next: set[WorkerKey] = set()
        self._with_present: set[WorkerKey] = set()
        self.wants_checkpoint = False

    @property
    def holds_learners(self) -> bool:
        """Whether learners move with the checkpoint that is being written: an update after it would be lost."""
        return any(kind == "learner" for kind, _ in self._with_present)

    def look(self) -> list[WorkerKey]:
        """Heeds what is new; returns the workers that the supervisor is to start elsewhere now."""
        machines = self._program.machines
        leaving = {node: machine for node, machine in machines.view.machines.items() if machine.leaves_at is not None}
        if not leaving:
            return []
        tenants: dict[str, list[WorkerKey]] = {node: [] for node in leaving}
        for worker, handle in self._program.workers():
            if (node := machines.home(handle)) in tenants:
                tenants[node].append(worker)
        for node, workers in tenants.items():
            is_ours = bool(workers) or node == ray.get_runtime_context().get_node_id()
            if is_ours and node not in self._noticed:
                self._noticed.add(node)
                self._announce(leaving[node], workers)
                self.wants_checkpoint = True
        return [worker for node, workers in tenants.items() for worker in workers if self._moves(worker, node)]

    def checkpoint_begins(self) -> None:
        """Notes that whoever waits for a checkpoint moves with this one."""
        self.wants_checkpoint = False
        self._with_present, self._with_next = self._with_next, set()

    def checkpoint_ended(self, *, committed: bool) -> bool:
        """Moves the shards if the checkpoint is there, else leaves them; returns whether the learners are to move."""
        movers, self._with_present = self._with_present, set()
        if not committed:
            movers, self._with_next, self.wants_checkpoint = movers | self._with_next, set(), False
        for worker, shard in self._program.workers():
            if worker not in movers or worker[0] != "shard":
                continue
            if committed:
                ray.kill(shard, no_restart=False)
            else:
                shard.hold.remote("")
        return committed and any(kind == "learner" for kind, _ in movers)

    def _announce(self, machine: Machine, workers: list[WorkerKey]) -> None:
        assert machine.leaves_at is not None
        left = f", {max(0.0, machine.leaves_at - time.time()):.0f} s left" if machine.leaves_at else ""
        names = ", ".join(name_of(worker) for worker in workers) or "this process"
        self._say(
            f"machine {machine.name} is about to be taken away (preemption{left}): a checkpoint is written; what was "
            f"there goes where there is another machine: {names}"
        )

    def _moves(self, worker: WorkerKey, node: str) -> bool:
        """Lets a worker move, or notes with what it will, once; returns whether the supervisor is to start it again."""
        kind, index = worker
        if (worker, node) in self._heeded or not self._program.has_other_machine(kind):
            return False
        self._heeded.add((worker, node))
        if kind in ("rollout", "evaluator"):
            return True
        if kind in ("server", "inference"):
            ray.kill(self._program.inference[index] if kind == "inference" else self._program.server, no_restart=False)
            return False
        if kind == "shard":
            self._program.shards[index].hold.remote(_HELD)
        self._with_next.add(worker)
        self.wants_checkpoint = True
        return False
