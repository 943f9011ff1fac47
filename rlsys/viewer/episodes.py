"""Episodes that a run has kept, as arrays: the newest of each kind, and the best.

media/episodes/train/episode_000012_step_000004000.npz     as collected; test: of evaluations; imagination: imagined
media/episodes/train/best_episode_000007_step_000002000.npz
"""

import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import numpy as np

from rlsys.types import EpisodeRecord

KINDS = ("train", "test", "imagination")
"""Folders of episodes."""

_NAME = re.compile(r"(best_)?episode_(\d+)_step_(\d+)")


def folder_of(run: Path, kind: str) -> Path:
    """Returns where a run keeps its episodes of a kind."""
    return run / "media" / "episodes" / kind


def kept_in(folder: Path) -> list[Path]:
    """Returns the episodes of a folder in the order in which they came; the best is once more the last."""
    named = [(match, path) for path in folder.glob("*.npz") if (match := _NAME.fullmatch(path.stem))]
    return [path for _, path in sorted(named, key=lambda pair: (bool(pair[0][1]), int(pair[0][2])))]


def read_episode(path: Path) -> EpisodeRecord:
    """Reads what `keep` wrote."""
    with np.load(path) as arrays:
        return EpisodeRecord(**{field.name: arrays[field.name] for field in fields(EpisodeRecord)})


def write_episodes(folder: Path, episodes: Iterable[EpisodeRecord]) -> None:
    """Writes episodes as a data set, after those that are there: `run.dataset` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    there = len(kept_in(folder))
    for number, episode in enumerate(episodes, there + 1):
        _write(folder / f"episode_{number:06d}_step_{0:09d}.npz", episode)


def keep(folder: Path, episodes: Iterable[EpisodeRecord], learner_step: int, newest: int) -> None:
    """Writes episodes in place of the oldest and, in place of the best of all, one that is better.

    Args:
      folder: of one kind.
      episodes: in the order in which they ended.
      learner_step: when that was.
      newest: how many are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for episode in episodes:
        there = {path: _NAME.fullmatch(path.stem) for path in kept_in(folder)}
        numbers = [int(match[2]) for match in there.values() if match]
        name = f"episode_{max(numbers, default=0) + 1:06d}_step_{learner_step:09d}.npz"
        best = [path for path, match in there.items() if match and match[1]]
        _write(folder / name, episode)
        for path in [path for path in there if path not in best][: max(0, len(there) - len(best) + 1 - newest)]:
            path.unlink(missing_ok=True)
        if not best or episode.episode_return > read_episode(best[-1]).episode_return:
            _write(folder / f"best_{name}", episode)
            for path in best:
                path.unlink(missing_ok=True)


def _write(path: Path, episode: EpisodeRecord) -> None:
    """Writes a file that is whole as soon as it has its name."""
    draft = path.with_name(f".{path.name}")
    np.savez_compressed(draft, **vars(episode))
    draft.replace(path)
