"""What a run shows of its world model and of its episodes: files in its folder's `media`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2

from rlsys.config import RunConfig
from rlsys.types import EpisodeRecord, ModelComparison, Reconstruction, Shown
from rlsys.viewer.comparison import film_of, picture_of_reconstructions
from rlsys.viewer.episodes import folder_of, keep
from rlsys.viewer.film import FilmLimits, write_film

_FPS = 10.0
"""Of films of a world model, as upstream's."""


def is_run(folder: Path) -> bool:
    """Tells whether a run's folder is still there: nothing is written into another one in its place."""
    return (folder / "config.yaml").is_file()


class Media:
    """Writes what there is to see; what goes wrong with a picture must not end what it is of."""

    def __init__(self, folder: Path, run: RunConfig, tell: Callable[[str], None]) -> None:
        """Takes the run's folder, and who is told of troubles.

        The folder may be moved meanwhile; another one in its place is left alone.
        """
        self._folder, self._run, self._tell = folder, run, tell

    def show(self, name: str, shown: Shown, learner_step: int) -> Path | None:
        """Writes what a learner shows under a name; returns the film, if it is one."""
        comparisons = [item for item in shown if isinstance(item, ModelComparison)]
        reconstructions = [item for item in shown if isinstance(item, Reconstruction)]
        self.keep("imagination", [item for item in shown if isinstance(item, EpisodeRecord)], learner_step)
        if not is_run(self._folder):
            return None
        stem = f"{name.replace('/', '-')}-{learner_step:09d}"
        try:
            if reconstructions:
                self._picture(self._folder / "media" / "reconstructions" / f"{stem}.png", reconstructions)
            return self._film(name, self._folder / "media" / f"{stem}.mp4", comparisons) if comparisons else None
        except Exception as error:  # noqa: BLE001 - training goes on without
            what = "film" if comparisons else "picture"
            self._tell(f"the {what} {name} is left out: {error or type(error).__name__}")
            return None

    def keep(self, kind: str, episodes: Sequence[EpisodeRecord], learner_step: int) -> None:
        """Keeps episodes of a kind, as many as the run says."""
        if not episodes or not self._run.kept_episodes or not is_run(self._folder):
            return
        try:
            keep(folder_of(self._folder, kind), episodes, learner_step, self._run.kept_episodes)
        except OSError as error:
            self._tell(f"{kind} episodes are not kept: {error.strerror or error}")

    def _film(self, name: str, path: Path, stretches: Sequence[ModelComparison]) -> Path:
        footage = write_film(
            path, film_of(stretches), _FPS, FilmLimits(self._run.video_frames, self._run.video_seconds)
        )
        if footage.cut_by:
            self._tell(f"the film {name} shows only the beginning, {footage.cut_by}")
        return path

    def _picture(self, path: Path, rows: Sequence[Reconstruction]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(path), picture_of_reconstructions(rows)[..., ::-1]):
            raise OSError(f"{path} cannot be written")
