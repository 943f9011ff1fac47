"""Games of an evaluation as arrays, for those who look at them later."""

from collections.abc import Sequence

import numpy as np

from rlsys.api import Decision
from rlsys.envs.step import action_of
from rlsys.evaluation.episode import Episode
from rlsys.types import Array, EpisodeRecord
from rlsys.viewer.frames import MOST_KEPT, PackedFrames


class KeptGames:
    """Follows the first games of an evaluation; one of the `on_decision` of `play_episodes`."""

    def __init__(self, count: int, num_stack: int) -> None:
        """Keeps games of the first seeds, of `MOST_KEPT` decisions at most; of stacked frames, the newest of each."""
        self._count, self._num_stack = count, num_stack
        self._games: dict[int, _Game | None] = {}

    def __call__(self, running: Sequence[Episode], decision: Decision) -> None:
        """Takes what is seen, and what is done next."""
        for row, episode in enumerate(running):
            if episode.index < self._count:
                game = self._games.setdefault(episode.index, _Game(episode, self._num_stack))
                if game is not None and not game.decided(np.array(action_of(decision.action, row))):
                    self._games[episode.index] = None

    def take(self) -> list[EpisodeRecord]:
        """Returns the games, all of which are over, in the order of their seeds."""
        return [game.record() for _, game in sorted(self._games.items()) if game is not None]


class _Game:
    def __init__(self, episode: Episode, num_stack: int) -> None:
        self._episode, self._is_stacked = episode, num_stack > 1
        self._frames = PackedFrames()
        self._actions: list[Array] = []
        self._came: list[tuple[float, bool]] = []

    def decided(self, action: Array) -> bool:
        """Takes what is done where the game is; tells whether it may still be kept."""
        self._see()
        self._actions.append(action)
        return len(self._actions) <= MOST_KEPT

    def record(self) -> EpisodeRecord:
        self._see()
        reward, ended = zip(*self._came, strict=True)
        frames, action = self._frames.array(), np.stack(self._actions)
        return EpisodeRecord(frames, action, np.array(reward, np.float32), np.array(ended))

    def _see(self) -> None:
        """Takes where the game is, and what the last action brought."""
        if self._actions:
            self._came.append((self._episode.raw_reward, self._episode.terminated))
        seen = self._episode.observation
        self._frames.append(seen[-1] if self._is_stacked else seen)
