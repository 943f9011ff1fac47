"""What is made of an episode of an evaluation while it is played: films, pictures in a window, search trees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

from rlsys.api import Decision, Policy, PolicyContext
from rlsys.errors import ConfigError
from rlsys.evaluation.episode import Episode, OnStep
from rlsys.types import Array
from rlsys.viewer.film import Film
from rlsys.viewer.header import with_header
from rlsys.viewer.screen import WindowClosed
from rlsys.viewer.search_tree import SearchTree, draw_search_tree
from rlsys.viewer.window import Window

DEBUG_FPS = 10.0
"""Of films with a header: upstream's."""


@runtime_checkable
class Searching(Protocol):
    """A policy that can show the search behind its last decision."""

    def search_tree(self, row: int) -> Mapping[str, Array]:
        """Returns the tree of one row of the last batch: arrays named as in `rlsys.viewer.search_tree.SearchTree`."""


@dataclass(frozen=True)
class Watched:
    """What is made of one episode, or of all.

    Attributes:
      episode: its index.
      films: .gif or .mp4 files of it.
      show: is shown its pictures.
      trees: folder for a picture of each of its search trees.
      trees_after: decisions after which those begin.
      latents: .npz file of what the policy knows in all episodes.
      record: folder of all episodes as a data set.
    """

    episode: int = 0
    films: Sequence[Path] = ()
    show: OnStep | None = None
    trees: Path | None = None
    trees_after: int = 0
    latents: Path | None = None
    record: Path | None = None


class Rendering:
    """A window for one episode after the other; a context that closes it. Closed by the user, it stays closed.

    Attributes:
      trouble: one sentence about why nothing more is shown; empty while nothing has gone wrong.
    """

    def __init__(self, title: str, sleep: float) -> None:
        """Takes what stands above the window, and for how many seconds each picture stays at least."""
        self._window = Window(title, fps=1 / sleep if sleep else 0.0)
        self._is_open = True
        self.trouble = ""

    def __enter__(self) -> "Rendering":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def __call__(self, picture: Array, reward: float) -> None:
        """Shows a picture, and waits until the next is due.

        Raises:
          ConfigError: no window can be opened here.
        """
        if not self._is_open:
            return
        try:
            self._window.show(picture)
        except WindowClosed:
            self._close()
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - a display fails in any way, and the games go on
            self.trouble = f"nothing more is shown: {' '.join(str(error).split()).rstrip('.') or type(error).__name__}"
            self._close()

    def _close(self) -> None:
        self._is_open = False
        self._window.__exit__(None, None, None)


def plain(film: Film) -> OnStep:
    """Films an episode as it is."""
    return lambda picture, reward: film.append(picture)


def debugging(film: Film) -> OnStep:
    """Films an episode below what it has earned so far, what the last step earned, and the number of the frame."""
    total = 0.0

    def show(picture: Array, reward: float) -> None:
        nonlocal total
        total += reward
        film.append(with_header(picture, f"c:{total:g} r:{reward:g}", f"f:{film.num_frames}"))

    return show


def all_of(shows: Sequence[OnStep]) -> OnStep:
    """Shows an episode to several."""

    def show(picture: Array, reward: float) -> None:
        for one in shows:
            one(picture, reward)

    return show


class Trees:
    """Draws the search behind each decision of one episode, for as long as that works.

    The episode must be in the first row of each batch while it lasts: there, what a policy remembers of earlier
    searches stays in its place.

    Attributes:
      trouble: one sentence about why there are no more pictures; empty while nothing has gone wrong.
    """

    def __init__(self, policy: Policy, folder: Path, context: PolicyContext, episode: int = 0, after: int = 0) -> None:
        """Takes who searches, where pictures go, the episode's index, and after how many decisions they begin.

        Raises:
          ConfigError: the policy does not search.
        """
        if not isinstance(policy, Searching):
            raise ConfigError(
                f"save_mcts = {folder}, but {type(policy).__name__} does not search; only a search has trees. "
                "Leave it out."
            )
        self.trouble = ""
        self._policy = policy
        self._folder = folder
        self._actions = context.env.action_meanings
        self._episode, self._after = episode, after

    def __call__(self, episodes: Sequence[Episode], decision: Decision) -> None:
        """Draws the search of the episode's decision; one of the `on_decision` of `play_episodes`."""
        first = episodes[0]
        if self.trouble or first.index != self._episode or first.length < self._after:
            return
        path = self._folder / f"{first.length:06d}.png"
        try:
            tree = SearchTree.from_arrays(self._policy.search_tree(0))
            draw_search_tree(tree, path, actions=self._actions)
        except Exception as error:  # noqa: BLE001 - Graphviz and matplotlib fail in any way, and the game goes on
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            self.trouble = f"search trees are left out from {path} on: {reason}"
