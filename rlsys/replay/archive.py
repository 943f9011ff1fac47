"""Everything that was collected, for learners that go through it in phases: by epoch, with a part held out.

    epoch          0                    1
    rows    |--train--|held|     |--train--|held|      one epoch's rows in a line, environment by environment
    window      [o o o o o]                            L consecutive rows of one episode, within one part

Rows are those of `rlsys.types.UnrollBlock`. A bootstrap row is its episode's last frame; nothing was done in it, and no
window goes on after it. Frames are kept compressed one by one. Shape legend: B windows, T rows of an unroll, L rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lz4.block
import numpy as np

from rlsys.api import Saved
from rlsys.errors import ReplayError
from rlsys.types import Array, ArraySpec, Batch

_PARTS = 11
"""The last of so many equal parts of an epoch is held out."""


@dataclass(frozen=True)
class Windows:
    """B windows of L rows.

    Attributes:
      frame: `[B, L, *frame]`.
      action: `[B, L, *action]`.
      reward: `[B, L]` float32, caused by the action.
    """

    frame: Array
    action: Array
    reward: Array


class EpisodeArchive:
    """Holds all rows of a run; not thread-safe."""

    def __init__(self, frame: ArraySpec, action: ArraySpec) -> None:
        self._spec = frame
        self._action_spec = action
        self._frames: list[bytes] = []
        self._action = np.zeros((0, *action.shape), action.dtype)
        self._reward = np.zeros(0, np.float32)
        self._episode = np.zeros(0, np.int64)  # consecutive rows with one number are of one episode
        self._epoch = np.zeros(0, np.int64)
        self._held_out = np.zeros(0, bool)
        self._pending: list[_Track] = []
        self._starts: dict[tuple[int, bool, int | None], Array] = {}

    def __len__(self) -> int:
        """Returns the number of rows, without those of an epoch that is still open."""
        return len(self._reward)

    @property
    def newest_epoch(self) -> int:
        """Number of the last epoch that was closed; -1 before the first."""
        return int(self._epoch[-1]) if len(self) else -1

    @property
    def num_bytes(self) -> int:
        """Bytes that the compressed frames take."""
        return sum(map(len, self._frames))

    def add(self, batch: Batch) -> None:
        """Takes in unrolls of the open epoch: `[B, T + 1, (K,) *frame]` observations and T rows of all else."""
        is_stacked = batch.observation.ndim == 3 + len(self._spec.shape)
        frames = batch.observation[:, :, -1] if is_stacked else batch.observation
        for index in np.lexsort((batch.position, batch.environment)).tolist():
            last = batch.truncated[index, -1] and not batch.terminated[index, -1]
            num_frames = len(batch.reward[index]) + int(
                last
            )  # what comes after a time limit belongs to no other unroll
            compressed = [lz4.block.compress(frame.tobytes(), store_size=False) for frame in frames[index, :num_frames]]
            self._pending.append(
                _Track(
                    environment=int(batch.environment[index]),
                    position=int(batch.position[index]),
                    frames=compressed,
                    action=batch.action[index].astype(self._action_spec.dtype),
                    reward=batch.reward[index].astype(np.float32),
                    terminated=batch.terminated[index].copy(),
                    truncated=batch.truncated[index].copy(),
                )
            )

    def close_epoch(self) -> None:
        """Ends the open epoch: its last part is held out, and windows are drawn from it from now on.

        Raises:
          ReplayError: nothing was collected in it.
        """
        if not self._pending:
            raise ReplayError(
                "an epoch ended without a row; nothing can be learned from it. Collect at least one unroll."
            )
        tracks = sorted(self._pending, key=lambda track: track.environment)  # stable: in the order of their positions
        self._pending = []
        epoch, next_episode = self.newest_epoch + 1, int(self._episode[-1]) + 1 if len(self) else 0
        episodes, expected = [], (tracks[0].environment, tracks[0].position)
        for track in tracks:
            next_episode += (track.environment, track.position) != expected  # another one, or begun again
            expected = track.environment, track.position + 1
            rows, next_episode = track.episodes(next_episode)
            episodes.append(rows)
        episode = np.concatenate(episodes)
        held_out = np.zeros(len(episode), bool)
        held_out[len(episode) * (_PARTS - 1) // _PARTS :] = True
        self._frames += [frame for track in tracks for frame in track.frames]
        self._action = np.concatenate([self._action, *(track.padded(track.action) for track in tracks)])
        self._reward = np.concatenate([self._reward, *(track.padded(track.reward) for track in tracks)])
        self._episode = np.concatenate([self._episode, episode])
        self._epoch = np.concatenate([self._epoch, np.full(len(episode), epoch)])
        self._held_out = np.concatenate([self._held_out, held_out])
        self._starts = {}

    def starts(self, length: int, *, held_out: bool = False, epoch: int | None = None) -> Array:
        """Returns the rows at which windows of so many rows begin.

        Args:
          length: L.
          held_out: of the part that is held out, or of the other one.
          epoch: of this epoch only; None for all.
        """
        key = length, held_out, epoch
        if key not in self._starts:
            first, last = slice(0, max(0, len(self) - length + 1)), slice(length - 1, len(self))
            fits = (self._episode[first] == self._episode[last]) & (self._epoch[first] == self._epoch[last])
            fits &= (self._held_out[first] == held_out) & (self._held_out[last] == held_out)
            if epoch is not None:
                fits &= self._epoch[first] == epoch
            self._starts[key] = np.flatnonzero(fits)
        return self._starts[key]

    def draw(
        self,
        rng: np.random.Generator,
        batch_size: int,
        length: int,
        *,
        by_episode: bool = False,
        held_out: bool = False,
        epoch: int | None = None,
    ) -> Windows:
        """Draws windows, uniformly over where they can begin, or first over episodes, however long these are.

        Raises:
          ReplayError: no episode is long enough.
        """
        starts = self._known_starts(length, held_out, epoch)
        if not by_episode:
            return self.gather(starts[rng.integers(len(starts), size=batch_size)], length)
        first = np.flatnonzero(np.diff(self._episode[starts], prepend=-1))  # of each episode's starts
        num = np.diff(first, append=len(starts))
        episode = rng.integers(len(first), size=batch_size)
        return self.gather(starts[first[episode] + rng.integers(num[episode])], length)

    def first(self, length: int, *, epoch: int) -> Windows:
        """Returns the first window of an epoch, `[1, L, …]`.

        Raises:
          ReplayError: no episode is long enough.
        """
        return self.gather(self._known_starts(length, False, epoch)[:1], length)

    def gather(self, rows_B: Array, length: int) -> Windows:
        """Copies the windows out that begin at these rows."""
        rows_BL = rows_B[:, None] + np.arange(length)
        frame = np.empty((len(rows_B), length, self._spec.num_bytes), np.uint8)
        for row, target in zip(rows_BL.flat, frame.reshape(-1, self._spec.num_bytes), strict=True):
            data = lz4.block.decompress(self._frames[row], uncompressed_size=self._spec.num_bytes)
            target[:] = np.frombuffer(data, np.uint8)
        shaped = frame.view(self._spec.dtype).reshape(*rows_BL.shape, *self._spec.shape)
        return Windows(shaped, self._action[rows_BL], self._reward[rows_BL])

    def save(self) -> Saved:
        """Returns everything, frames compressed."""
        return {
            "frames": _joined(self._frames),
            "action": self._action,
            "reward": self._reward,
            "episode": self._episode,
            "epoch": self._epoch,
            "held_out": self._held_out,
            "pending": [track.save() for track in self._pending],
        }

    def load(self, saved: Saved) -> None:
        """Takes over what `save` returned."""
        self._frames = _split(saved["frames"])
        self._action, self._reward = saved["action"], saved["reward"]
        self._episode, self._epoch, self._held_out = saved["episode"], saved["epoch"], saved["held_out"]
        self._pending = [_Track.of(track) for track in saved["pending"]]
        self._starts = {}

    def _known_starts(self, length: int, held_out: bool, epoch: int | None) -> Array:
        starts = self.starts(length, held_out=held_out, epoch=epoch)
        if not len(starts):
            which = f"epoch {epoch}" if epoch is not None else "all epochs"
            part = "the part that is held out" if held_out else "what is learned from"
            raise ReplayError(
                f"no episode in {part} of {which} has {length} rows in a row ({len(self):,} rows in all). Collect "
                "more, or ask for shorter windows."
            )
        return starts


@dataclass
class _Track:
    """One unroll, frames compressed; a frame more than rows where a time limit ended it."""

    environment: int
    position: int
    frames: list[bytes]
    action: Array
    reward: Array
    terminated: Array
    truncated: Array

    def episodes(self, first: int) -> tuple[Array, int]:
        """Numbers the episode of each frame from `first` on; returns the number of what comes next, too."""
        is_limit = self.truncated & ~self.terminated
        numbers, number = np.empty(len(self.frames), np.int64), first
        for row in range(len(self.frames)):
            numbers[row] = number
            after_limit = row >= 1 and is_limit[row - 1]  # this was the bootstrap row
            number += bool(after_limit or (row < len(self.reward) and self.terminated[row]))
        return numbers, number

    def padded(self, column: Array) -> Array:
        """Returns a column with a row for each frame."""
        return np.concatenate([column, np.zeros((len(self.frames) - len(column), *column.shape[1:]), column.dtype)])

    def save(self) -> Saved:
        """Returns everything."""
        columns = {name: getattr(self, name) for name in ("action", "reward", "terminated", "truncated")}
        return {"environment": self.environment, "position": self.position, "frames": _joined(self.frames), **columns}

    @classmethod
    def of(cls, saved: Mapping[str, object]) -> "_Track":
        """Makes it of what `save` returned."""
        return cls(**{**saved, "frames": _split(saved["frames"])})  # type: ignore[arg-type]


def _joined(frames: Sequence[bytes]) -> Saved:
    sizes = np.array([len(frame) for frame in frames], np.int64)
    return {"sizes": sizes, "bytes": np.frombuffer(b"".join(frames), np.uint8)}


def _split(saved: Mapping[str, Array]) -> list[bytes]:
    ends = np.cumsum(saved["sizes"])
    data = saved["bytes"].tobytes()
    return [data[end - size : end] for end, size in zip(ends.tolist(), saved["sizes"].tolist(), strict=True)]
