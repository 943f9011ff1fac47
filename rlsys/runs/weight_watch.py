"""Whether everybody acts with the weights that were published, and how far behind.

Each report of whoever acts echoes the version and the digest of the weights that it acts with. A version that was
published with another digest is an alarm: weights were mixed up, cut short or overwritten on the way.
"""

from collections import OrderedDict
from collections.abc import Mapping

from rlsys.runs.workers import Worker
from rlsys.weights import Echo

_REMEMBERED = 10_000
"""Versions whose digests are kept; echoes are at most some ticks old."""


class WeightWatch:
    """Remembers what was published and what is acted with."""

    def __init__(self, max_lag: int | None) -> None:
        """Takes the bound on the lag, in versions; None for no bound."""
        self._max_lag = max_lag
        self._digests: OrderedDict[int, int] = OrderedDict()
        self._echoes: dict[Worker, Echo] = {}
        self._unjudged: set[Worker] = set()
        self._most_at_once = 0

    @property
    def newest(self) -> int:
        """Newest version that is known to be published; -1 before the first."""
        return next(reversed(self._digests), -1)

    @property
    def newest_possible(self) -> int:
        """A version above all that a learner may have published without having told."""
        return self.newest + 2 * self._most_at_once

    @property
    def lag(self) -> int:
        """Versions by which the slowest is behind; 0 before anybody acts."""
        slowest = self.slowest()
        return 0 if slowest is None else max(0, self.newest - self._echoes[slowest].version)

    def published(self, digests: Mapping[int, int]) -> None:
        """Takes in version -> digest."""
        self._digests.update(digests)
        self._most_at_once = max(self._most_at_once, len(digests))
        while len(self._digests) > _REMEMBERED:
            self._digests.popitem(last=False)

    def acts(self, worker: Worker, echo: Echo) -> None:
        """Takes in with what a worker acts."""
        if echo.version >= 0:
            self._echoes[worker] = echo
            self._unjudged.add(worker)

    def knows(self, worker: Worker) -> bool:
        """Returns whether a worker has said with what it acts, since it was last started."""
        return worker in self._echoes

    def forget(self, worker: Worker) -> None:
        """Forgets a worker that is gone: nobody waits for it."""
        self._echoes.pop(worker, None)
        self._unjudged.discard(worker)

    def wrong(self) -> dict[Worker, str]:
        """Returns worker -> what is wrong, of echoes since the last call; those of unknown versions wait."""
        found = {}
        for worker in sorted(self._unjudged):
            echo = self._echoes[worker]
            known = self._digests.get(echo.version)
            if known is None and echo.version > self.newest:
                continue
            self._unjudged.discard(worker)
            if known is not None and echo.digest is not None and echo.digest != known:
                found[worker] = (
                    f"acts with wrong weights: version {echo.version} was published with digest {known:08x}, it has "
                    f"{echo.digest:08x}"
                )
        return found

    def slowest(self) -> Worker | None:
        """Returns who acts with the oldest weights; None before anybody acts."""
        return min(self._echoes, key=lambda worker: self._echoes[worker].version, default=None)

    def last_version(self) -> int | None:
        """Returns the version up to which may be published without anybody's lag passing the bound; None: any."""
        slowest = self.slowest()
        if self._max_lag is None or slowest is None:
            return None
        return self._echoes[slowest].version + self._max_lag
