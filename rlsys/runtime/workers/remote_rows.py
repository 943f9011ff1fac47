"""A refresher's end of the shards of a table."""

import itertools
from collections import deque
from collections.abc import Sequence

import ray
from ray.exceptions import RayError

from rlsys.api import Refreshed, ReplayNotReady, StoredRows
from rlsys.runtime.cluster.placement import Handle

_AHEAD = 2
_MOST_SENT = 4
_PATIENCE_S = 60.0


class RemoteRows:
    """Rows of all shards in turn, asked for ahead, and what was found out about them; implements `collector.Stored`.

    What was on its way to or from a shard that is lost is lost: the rows keep the extras that they had.
    """

    def __init__(self, shards: Sequence[Handle], patience_s: float) -> None:
        """Takes all shards; each waits so long for rows that may be refreshed before it says that there are none."""
        self._turn = itertools.cycle(shards)
        self._patience_s = patience_s
        self._asked: deque[tuple[Handle, ray.ObjectRef]] = deque()
        self._shard: Handle = None
        self._sent: deque[ray.ObjectRef] = deque()

    def draw(self, count: int, timeout_s: float) -> StoredRows | None:
        """See `Stored`."""
        while len(self._asked) < _AHEAD:
            shard = next(self._turn)
            self._asked.append((shard, shard.draw.remote(count, self._patience_s)))
        self._shard, answer = self._asked[0]
        if not ray.wait([answer], timeout=timeout_s)[0]:
            return None
        self._asked.popleft()
        rows: StoredRows | str | None = _settled(answer)
        if isinstance(rows, str):
            raise ReplayNotReady(rows)
        return rows

    def write(self, rows: StoredRows, refreshed: Refreshed, weights_version: int) -> None:
        """See `Stored`; at most four calls are on the way."""
        self._sent.append(self._shard.refresh.remote(rows.key, refreshed, weights_version))
        if len(self._sent) > _MOST_SENT:
            _settled(self._sent.popleft())


def _settled(answer: ray.ObjectRef) -> StoredRows | str | None:
    """Returns an answer; None where the shard is being restarted."""
    try:
        return ray.get(answer, timeout=_PATIENCE_S)  # type: ignore[no-any-return]
    except ray.exceptions.RayTaskError:
        raise
    except RayError:
        return None
