"""Writes a table to checkpoints while it serves, each of its rows once.

replay-0.json, replay-0.safetensors      everything but the rows: priorities, counters, the limiter …
replay-0/000000007.json, ….safetensors   a chunk of rows; one that is closed is taken over from checkpoint to checkpoint
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from rlsys.api import Saved
from rlsys.checkpoints.checkpoint import Opened
from rlsys.checkpoints.locations import place_at
from rlsys.checkpoints.part import write_part
from rlsys.checkpoints.storage import FileRecord
from rlsys.replay.snapshot import Snapshot
from rlsys.replay.table import Table


@dataclass(frozen=True)
class _Files:
    """The files of chunks in a checkpoint: its step, and chunk number -> files."""

    step: int | None = None
    records: Mapping[int, list[FileRecord]] = field(default_factory=dict)


class TableWriter:
    """Takes snapshots of one table and remembers which of its chunks lie in the newest checkpoint.

    What takes time, writing, runs in a thread; the event loop is held for the copy of one chunk at a time.
    """

    def __init__(self, name: str, timed: Callable[[], AbstractContextManager[object]]) -> None:
        """Writes a part of this name, and parts below it; the event loop is held within a `timed()` each time."""
        self._name = name
        self._timed = timed
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._committed = _Files()
        self._drafted = _Files()

    async def write(self, table: Table, state: Saved, place: str, step: int, committed: int | None) -> list[FileRecord]:
        """Writes a table as it is now.

        Args:
          table: inserts and draws may go on.
          state: what is saved with it; nothing may change it.
          place: of the draft.
          step: of the draft.
          committed: of the newest checkpoint, None if there is none.

        Returns:
          The files of this part.

        Raises:
          CheckpointError: something cannot be written.
        """
        if self._drafted.step == committed:
            self._committed = self._drafted
        known = self._committed.records if self._committed.step == committed else {}
        loop = asyncio.get_running_loop()
        with self._timed():
            snapshot = table.snapshot()
        with contextlib.closing(snapshot):
            while self._settle(snapshot):
                await asyncio.sleep(0)
            needed = {number: known[number] for number in snapshot.lasting & known.keys()}
            files = await loop.run_in_executor(self._thread, _take_over, place, committed, needed)
            snapshot.skip(files)
            while (chunk := self._take(snapshot)) is not None:
                name = self._name_of(chunk["number"])
                files[chunk["number"]] = await loop.run_in_executor(self._thread, write_part, place, name, chunk)
            saved = {**state, "table": snapshot.head, "chunks": snapshot.chunks}
            records = await loop.run_in_executor(self._thread, write_part, place, self._name, saved)
        self._drafted = _Files(step, {number: files[number] for number in snapshot.lasting})
        return records + [record for written in files.values() for record in written]

    def load(self, saved: Saved, opened: Opened, table: Table) -> None:
        """Fills a new table from a checkpoint, of which `saved` is this writer's part.

        Raises:
          CheckpointError: it is of another table.
        """
        files: dict[int, list[FileRecord]] = {}

        def chunks() -> Iterator[Saved]:
            for number in saved["chunks"]:
                name = self._name_of(number)
                chunk = opened.read(name)
                if chunk["is_closed"]:
                    files[number] = [record for record in opened.records if record.path.startswith(f"{name}.")]
                yield chunk

        table.load({**saved["table"], "chunks": chunks()})
        self._committed = _Files(opened.learner_step, files)

    def _settle(self, snapshot: Snapshot) -> bool:
        with self._timed():
            return snapshot.settle()

    def _take(self, snapshot: Snapshot) -> Saved | None:
        with self._timed():
            return snapshot.take()

    def _name_of(self, number: int) -> str:
        return f"{self._name}/{number:09d}"


def _take_over(place: str, step: int | None, known: Mapping[int, list[FileRecord]]) -> dict[int, list[FileRecord]]:
    """Takes chunks of a checkpoint into a draft; returns those for which that worked."""
    if step is None or not known:
        return {}
    target = place_at(place)
    taken = {number: [target.reuse(record, step) for record in records] for number, records in known.items()}
    return {number: list(filter(None, records)) for number, records in taken.items() if all(records)}
