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

from rlsys.runs.workers import Worker, WorkerKind
from rlsys.runtime.cluster.cluster_view import Machine
from rlsys.runtime.driver.program import Program

_HELD = "its shard to come up on another machine"


class Preemption:
    """Heeds notices. The supervisor does what concerns its calls: checkpoints, and workers that it replaces itself."""

    def __init__(self, program: Program, say: Callable[[str], None]) -> None:
        """Takes the workers, and where to say that a machine leaves."""
        self._program = program
        self._say = say
        self._noticed: set[str] = set()
        self._heeded: set[tuple[Worker, str]] = set()
        self._with_next: set[Worker] = set()
        self._with_present: set[Worker] = set()
        self.wants_checkpoint = False

    @property
    def holds_learners(self) -> bool:
        """Whether learners move with the checkpoint that is being written: an update after it would be lost."""
        return any(worker.kind is WorkerKind.LEARNER for worker in self._with_present)

    def look(self) -> list[Worker]:
        """Heeds what is new; returns the workers that the supervisor is to start elsewhere now."""
        machines = self._program.machines
        leaving = {node: machine for node, machine in machines.view.machines.items() if machine.leaves_at is not None}
        if not leaving:
            return []
        tenants: dict[str, list[Worker]] = {node: [] for node in leaving}
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
            if worker not in movers or worker.kind is not WorkerKind.SHARD:
                continue
            if committed:
                ray.kill(shard, no_restart=False)
            else:
                shard.hold.remote("")
        return committed and any(worker.kind is WorkerKind.LEARNER for worker in movers)

    def _announce(self, machine: Machine, workers: list[Worker]) -> None:
        assert machine.leaves_at is not None
        left = f", {max(0.0, machine.leaves_at - time.time()):.0f} s left" if machine.leaves_at else ""
        names = ", ".join(worker.title for worker in workers) or "this process"
        self._say(
            f"machine {machine.name} is about to be taken away (preemption{left}): a checkpoint is written; what was "
            f"there goes where there is another machine: {names}"
        )

    def _moves(self, worker: Worker, node: str) -> bool:
        """Lets a worker move, or notes with what it will, once; returns whether the supervisor is to start it again."""
        if (worker, node) in self._heeded or not self._program.has_other_machine(worker.kind):
            return False
        self._heeded.add((worker, node))
        match worker.kind:
            case WorkerKind.ROLLOUT | WorkerKind.EVALUATOR:
                return True
            case WorkerKind.SERVER | WorkerKind.INFERENCE | WorkerKind.REANALYSE:
                ray.kill(dict(self._program.workers())[worker], no_restart=False)
                return False
            case WorkerKind.SHARD:
                self._program.shards[worker.index].hold.remote(_HELD)
        self._with_next.add(worker)
        self.wants_checkpoint = True
        return False
