"""How what a rollout worker completes reaches the shards: bounded, again where it was lost, stored once.

Every call has a bound on how many of its kind are on the way, and every wait ends: at a deadline, with the reason.
"""

import time
from collections.abc import Sequence

import ray
from ray.exceptions import RayError

from rlsys.api import QueueSpec
from rlsys.runs.spec import RunSpec
from rlsys.runtime.cluster.placement import Handle
from rlsys.runtime.workers.rollout import Outlet
from rlsys.types import Item

_INSERT_PATIENCE_S = 0.5
_RETRY_S = 0.2
_TELL_AGAIN_S = 1.0


def make_outlet(spec: RunSpec, worker: int, shards: Sequence[Handle]) -> Outlet:
    """Returns the outlet of a worker: to all shards of a table, or to one, of a queue or where episodes are kept."""
    own = shards[worker % len(shards)]
    if isinstance(spec.store, QueueSpec):
        return QueueOutlet(own, spec.environments_per_worker)
    return TableOutlet([own] if spec.store.keeps_episodes else shards, spec.runtime.segments_in_flight)


class TableOutlet:
    """Ships segments to its shards in turn, a bounded number of calls at a time.

    A call that a shard could not take in time, or that was lost with the shard, is sent again: shards recognise what
    they already hold, so nothing is stored twice.
    """

    def __init__(self, shards: Sequence[Handle], in_flight: int) -> None:
        self._shards = shards
        self._bound = in_flight
        self._turn = 0
        self._calls: dict[ray.ObjectRef, tuple[Handle, list[Item]]] = {}
        self._reason = ""
        self._told: tuple[int, float] = (-1, 0.0)
        """The turn that the shards were told to be over, and when they are told again."""

    def ready(self, timeout_s: float) -> bool:
        """Waits until fewer calls than the bound are on the way."""
        deadline = time.monotonic() + timeout_s
        while len(self._calls) >= self._bound:
            left = deadline - time.monotonic()
            done, _ = ray.wait(list(self._calls), num_returns=1, timeout=max(0.0, left))
            for reference in done:
                self._settle(reference)
            if left <= 0 and len(self._calls) >= self._bound:
                return False
        return True

    def offer(self, items: Sequence[Item]) -> None:
        """Sends segments, or blocks of unrolls, to the next shard."""
        self._send(self._shards[self._turn % len(self._shards)], list(items))
        self._turn += 1

    def flush(self) -> None:
        """Sends again what was lost; all else is on its way."""
        for reference in ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)[0] if self._calls else ():
            self._settle(reference)

    def end_turn(self, worker: int, turn: int) -> None:
        """Tells a shard, now and then, for it may be started again meanwhile."""
        told, again_at = self._told
        if self._calls or (told == turn and time.monotonic() < again_at):
            return
        self._shards[worker % len(self._shards)].end_turn.remote(worker, turn)
        self._told = turn, time.monotonic() + _TELL_AGAIN_S

    def waits_for(self) -> str:
        """Says why the last insert was not taken."""
        return f"replay: {self._reason or 'a shard to take segments'}"

    def _send(self, shard: Handle, items: list[Item]) -> None:
        self._calls[shard.insert.remote(items, _INSERT_PATIENCE_S)] = (shard, items)

    def _settle(self, reference: ray.ObjectRef) -> None:
        shard, items = self._calls.pop(reference)
        try:
            self._reason = ray.get(reference)
        except ray.exceptions.RayTaskError:
            raise
        except RayError:
            self._reason = "a replay shard to come back"
            time.sleep(_RETRY_S)
        if self._reason:
            self._send(shard, items)


class QueueOutlet:
    """Ships unrolls to one shard; implements `rollout.Outlet`.

    The unrolls of an environment must arrive in order, so there is one call at a time, and the worker goes on
    meanwhile. Where episodes have put its environments out of step, each step completes a few unrolls: they wait until
    they are worth a call. What a shard could not take in time, or lost, is sent again; shards recognise what they hold.
    """

    def __init__(self, shard: Handle, num_environments: int) -> None:
        """Lets a worker run ahead by one unroll of each of its environments, besides those on their way."""
        self._shard = shard
        self._bound = num_environments
        self._worth_a_call = -(-num_environments // 4)
        self._waiting: list[Item] = []
        self._num_waiting = 0
        self._sent: list[Item] = []
        self._call: ray.ObjectRef | None = None
        self._reason = ""

    def ready(self, timeout_s: float) -> bool:
        """Waits until there are fewer unrolls to be sent than the bound."""
        deadline = time.monotonic() + timeout_s
        while self._num_waiting >= self._bound:
            self._settle(max(0.0, deadline - time.monotonic()))
            if self._num_waiting >= self._bound and time.monotonic() >= deadline:
                return False
        return True

    def offer(self, items: Sequence[Item]) -> None:
        """Sends blocks of unrolls once they are worth a call and those before them have arrived."""
        self._waiting += items
        self._num_waiting += sum(item.num_items for item in items)
        if self._num_waiting >= self._worth_a_call:
            self._settle(0.0)

    def flush(self) -> None:
        """Sends what waits to be worth a call, once those before it have arrived; again what was lost."""
        if self._waiting or self._call is not None:
            self._settle(0.0)

    def end_turn(self, worker: int, turn: int) -> None:
        """Does nothing: a turn's unrolls are counted by who takes them."""

    def waits_for(self) -> str:
        """Says why the last insert was not taken."""
        return f"replay: {self._reason or 'a shard to take unrolls'}"

    def _settle(self, timeout_s: float) -> None:
        """Ends the call, if that happens in time, and makes the next: again, or with all that waits."""
        if self._call is not None:
            if not ray.wait([self._call], timeout=timeout_s)[0]:
                return
            try:
                self._reason = ray.get(self._call)
            except ray.exceptions.RayTaskError:
                raise
            except RayError:
                self._reason = "a replay shard to come back"
                time.sleep(_RETRY_S)
        if not self._reason:
            self._sent, self._waiting, self._num_waiting = self._waiting, [], 0
        self._call = self._shard.insert.remote(self._sent, _INSERT_PATIENCE_S) if self._sent else None
