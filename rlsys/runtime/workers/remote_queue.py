"""The learner's end of a queue of unrolls: whole batches, in order."""

import time
from collections.abc import Mapping, Sequence

import ray
from ray.exceptions import RayError

from rlsys.api import ReplayNotReady, Saved, SequenceQuery
from rlsys.errors import ReplayError
from rlsys.files.json_tree import check_tree
from rlsys.runtime.cluster.placement import Handle
from rlsys.runtime.workers.shard import ShardStatus, total_stats
from rlsys.types import Array, Batch, Sequences

_PATIENCE_S = 0.5
_RETRY_S = 0.2


class RemoteQueue:
    """Draws batches from this rank's shards; implements `rlsys.api.Replay` for queues.

    Each shard has one call on its way that waits there until it can give a batch, and the next one leaves before the
    learner works on the last: the shard prepares it meanwhile. All unrolls of an environment come from one shard, so
    they come in order. Waits for: unrolls; never past `deadline` (monotonic seconds).
    """

    def __init__(self, shards: Sequence[Handle]) -> None:
        self._shards = shards
        self._statuses = [ShardStatus(0, 0.0, 0, {})] * len(shards)
        self._calls: dict[ray.ObjectRef, int] = {}
        self._batch_size = 0
        self.sampled = 0
        """Unrolls received so far."""
        self.deadline = float("inf")
        self.turn = -1

    def save(self) -> Saved:
        """Returns how many unrolls were received; not what is on its way."""
        return {"sampled": self.sampled}

    def load(self, saved: Saved) -> None:
        """Goes on from `save`."""
        self.sampled = check_tree(saved["sampled"], int)

    def stats(self) -> dict[str, float]:
        """Returns the sums over the shards of their figures."""
        stats = total_stats(self._statuses)
        stats["inserted"] = float(sum(status.inserted_items for status in self._statuses))
        stats["sampled"] = float(self.sampled)
        stats["batches_in_flight"] = float(len(self._calls))
        return stats

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Returns the next batch of whole unrolls; see `rlsys.api.Replay.sample`.

        `length` is what the queue was made with, and `rows` has no meaning: unrolls are never cut.
        """
        assert self._batch_size in (0, batch_size), "one size of batch, for batches are asked for in advance"
        self._batch_size = batch_size
        while True:
            self._ask()
            left = max(0.0, min(60.0, self.deadline - time.monotonic()))
            ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=left)
            for reference in ready:
                batch = self._receive(reference)
                if batch is not None:
                    self._ask()
                    self.sampled += batch_size
                    return batch
            if time.monotonic() >= self.deadline:
                waiting = sum(status.num_items for status in self._statuses)
                raise ReplayNotReady(f"{waiting:,} of {batch_size:,} unrolls in the queue")

    def sequences(self, query: SequenceQuery) -> Sequences:
        """Refuses: a queue keeps nothing."""
        raise ReplayError("episodes were asked for, of a queue, which gives each unroll out once. Choose a table.")

    def collected(self, unrolls: int, length: int) -> Batch:
        """Refuses: what a turn brings are the queue's batches."""
        raise ReplayError("a turn was asked for, of a queue, whose batches are what a turn brings. Use sample().")

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Refuses: a queue has none."""
        raise ReplayError("priorities were sent to a queue; only 'prioritized' tables use them. Send none.")

    def _ask(self) -> None:
        """Makes sure that each shard has a call on its way."""
        asked = set(self._calls.values())
        for index, shard in enumerate(self._shards):
            if index not in asked:
                self._calls[shard.take.remote(self._batch_size, _PATIENCE_S)] = index

    def _receive(self, reference: ray.ObjectRef) -> Batch | None:
        """Returns the batch of a call that has ended; None if the shard had too little, or is being restarted."""
        index = self._calls.pop(reference)
        batch: Batch | None
        try:
            batch, self._statuses[index] = ray.get(reference)
        except ray.exceptions.RayTaskError:
            raise
        except RayError:
            time.sleep(_RETRY_S)
            return None
        return batch
