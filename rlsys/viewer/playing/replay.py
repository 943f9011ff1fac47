"""Looking through the episodes that a run has kept, frame by frame."""

from pathlib import Path

from rlsys.errors import ConfigError
from rlsys.types import Array, EnvSpec
from rlsys.viewer.columns import Column, compose, picture_of
from rlsys.viewer.episodes import KINDS, folder_of, kept_in, read_episode
from rlsys.viewer.playing.keys import Keys
from rlsys.viewer.screen import KeyEvent, Legend

_BAR = (90, 150, 230)
_MOVES = {"left": -1, "right": 1, "pgdn": -10, "pgup": 10}
"""Key -> steps, as long as it is held."""
_EPISODES = {"down": -1, "up": 1}
_KINDS = {"t": "train", "y": "test", "i": "imagination"}
_LEGEND: Legend = (
    ("LEFT RIGHT", "a step back, a step on"),
    ("PGDN PGUP", "ten steps"),
    ("SPACE", "to the beginning"),
    ("DOWN UP", "the episode before, the next"),
    ("T Y I", "train, test, imagination"),
)


class Replay:
    """Shows one frame of one episode; see `Show`."""

    def __init__(self, run: Path, env: EnvSpec, keys: Keys, *, zoom: float = 4.0) -> None:
        """Begins with the newest episode of the first kind that there is.

        Args:
          run: the run's folder.
          env: of the same.
          keys: name its actions.
          zoom: how much frames are enlarged.

        Raises:
          ConfigError: the run has kept no episodes.
        """
        self._run, self._env, self._keys, self._zoom = run, env, keys, zoom
        self._held: set[str] = set()
        self._tapped: set[str] = set()
        kinds = [kind for kind in KINDS if kept_in(folder_of(run, kind))]
        if not kinds:
            raise ConfigError(
                f"{run} holds no episodes in media/episodes; a run keeps them with run.kept_episodes above 0. "
                "Train one that does."
            )
        self._open(kinds[0])

    @property
    def legend(self) -> Legend:
        """All keys and what they do."""
        return list(_LEGEND)

    @property
    def picture(self) -> Array:
        """`[H, W, 3]` uint8."""
        return self._picture

    @property
    def status(self) -> str:
        """One line about where it is."""
        place = f"{self._kind} {self._index + 1} of {len(self._paths)}"
        return f"{place} | {self._paths[self._index].stem} | step {self._step} of {len(self._episode.reward)}"

    def key(self, event: KeyEvent) -> None:
        """Takes a key: other episodes come at once, steps with the next tick."""
        if not event.is_down:
            self._held.discard(event.key)
        elif event.key not in self._held:
            self._held.add(event.key)
            self._tapped.add(event.key)
            if event.key in _KINDS:
                self._open(_KINDS[event.key])
            elif event.key in _EPISODES:
                self._load(self._index + _EPISODES[event.key])
            elif event.key == "space":
                self._move_to(0)

    def tick(self) -> None:
        """Goes on by the keys that are held."""
        held, self._tapped = self._held | self._tapped, set()
        steps = sum(_MOVES[key] for key in held if key in _MOVES)
        if steps:
            self._move_to(self._step + steps)

    def close(self) -> None:
        """See `Show`; nothing is left to do."""

    def _open(self, kind: str) -> None:
        """Shows the newest episode of a kind; where there is none, all stays as it is."""
        paths = kept_in(folder_of(self._run, kind))
        if paths:
            self._kind, self._paths = kind, paths
            newest = [index for index, path in enumerate(paths) if not path.stem.startswith("best_")]
            self._load(newest[-1] if newest else 0)

    def _load(self, index: int) -> None:
        """Shows the beginning of an episode; after the last comes the first."""
        self._index = index % len(self._paths)
        self._episode = read_episode(self._paths[self._index])
        self._move_to(0)

    def _move_to(self, step: int) -> None:
        """Shows a frame, what has led there, and what was done then."""
        episode, last = self._episode, len(self._episode.reward)
        self._step = step = min(max(step, 0), last)
        reward, over = (float(episode.reward[step - 1]), episode.terminated[step - 1]) if step else (0.0, False)
        following = "the end" if step == last else f"action {self._keys.name(episode.action[step])}"
        title = f"{self._kind} {self._index + 1} of {len(self._paths)}"
        lines = (
            f"step {step}   return {float(episode.reward[:step].sum()):g}",
            f"reward {reward:g}   {'over' if over else following}",
        )
        title += ", the best" if self._paths[self._index].stem.startswith("best_") else ""
        frame = picture_of(self._env, episode.observation[step])
        self._picture = compose([Column(title, lines, frame)], self._zoom, _BAR)
