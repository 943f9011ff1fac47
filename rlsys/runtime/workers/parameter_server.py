"""The parameter server: remembers where the newest weights are, never touches them.

The learner puts each version into shared memory once; the server keeps the reference and hands it to every worker that
asks for something newer. Workers fetch the object themselves, so the server stays small and fast at any fan-out. Only
weights of a few kilobytes travel with the answer.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from rlsys.metrics.process_stats import ProcessMeter, ProcessStats


@dataclass(frozen=True)
class Publication:
    """One published version.

    Attributes:
      version: grows by one with each publication of a run.
      learner_step: updates done by then.
      weights: an object reference to a `weights.Packed`, in a list so that Ray passes it on unresolved; or the object
        itself.
    """

    version: int
    learner_step: int
    weights: list[Any]


@dataclass(frozen=True)
class ServerReport:
    """The version that the server has, -1 while there is none, and what its process costs."""

    version: int
    process_stats: ProcessStats


class ParameterServer:
    """Holds the last publication. After a restart it holds none until the learner publishes again."""

    def __init__(self) -> None:
        self._newest: Publication | None = None
        self._news = asyncio.Event()
        self._meter = ProcessMeter()

    async def publish(self, publication: Publication) -> None:
        """Takes over a publication unless a newer one is known (a restarted learner continues the count)."""
        if self._newest is None or publication.version >= self._newest.version:
            self._newest = publication
            self._news.set()
            self._news = asyncio.Event()

    async def pull(self, have_version: int, listening_s: float = 0.0) -> Publication | None:
        """Returns the newest publication as soon as it is newer than `have_version`; None after `listening_s`."""
        if listening_s and await self.version() <= have_version:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), listening_s)
        newest = self._newest
        return newest if newest is not None and newest.version > have_version else None

    async def version(self) -> int:
        """Returns the version of the newest publication; -1 while there is none."""
        return -1 if self._newest is None else self._newest.version

    async def report(self) -> ServerReport:
        """Returns how it is."""
        return ServerReport(await self.version(), self._meter.take())
