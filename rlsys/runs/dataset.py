"""Episodes of a data set, with which replay begins: a folder of ours, or one of Minari's, https://minari.farama.org.

    folder/episode_000001_….npz     as `rlsys eval --record` adds them, and as runs keep them in media/episodes/train

Nothing is known of their rows but what happened: extras are zero until `Policy.refresh` finds them out.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from rlsys.api import Segments, TableSpec
from rlsys.errors import ConfigError
from rlsys.replay.writer import SegmentWriter
from rlsys.runs.spec import RunSpec
from rlsys.types import Array, EnvSpec, EpisodeRecord, Segment
from rlsys.viewer.episodes import read_episode

_MINARI = "minari:"


def episodes_of(source: str) -> Iterator[EpisodeRecord]:
    """Yields the episodes of a folder, in the order of their names, or of a data set of Minari's.

    Raises:
      ConfigError: there is no such data set, it cannot be read, or minari is not installed.
    """
    name = source.removeprefix(_MINARI)
    try:
        yield from (_folder(Path(source)) if name == source else _minari(name))
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        remedy = "Write it anew" if name == source else f"'minari download {name}' fetches one that is published"
        raise ConfigError(f"run.dataset = {source} cannot be read: {reason}. {remedy}.") from None


def check_dataset(spec: RunSpec) -> None:
    """Refuses a data set that replay or the environment cannot take.

    Raises:
      ConfigError: it is not there, or of other spaces, too large, or too small; the line says which.
    """
    source, store, num_rows = spec.run.dataset, spec.store, 0
    if source is None:
        return
    if not isinstance(store, TableSpec) or store.refreshing is None:
        raise ConfigError(
            f"run.dataset = {source} with {spec.algorithm.name}, of which nothing finds out targets for its rows; "
            "only algorithms that refresh rows learn from one. "
            + (
                f"Set {spec.algorithm.name}.{spec.algorithm.refreshes}."
                if spec.algorithm.refreshes
                else "Leave it out."
            )
        )
    for episode in episodes_of(source):
        _check_spaces(source, episode, spec.env_spec)
        num_rows += len(episode.reward)
    least = store.min_size_to_sample if store.refreshing.share == 1.0 else 1
    if not least <= num_rows <= store.max_size:
        raise ConfigError(
            f"run.dataset = {source} has {num_rows:,} decisions; the table keeps {store.max_size:,}, and waits for "
            f"{least:,} before the first update. Change what {spec.algorithm.name} keeps or waits for."
        )


def segments_of(spec: RunSpec, shard: int = 0) -> Iterator[Segment]:
    """Yields a shard's share of the run's data set, if it has one: whole episodes, cut as a rollout worker does."""
    if spec.run.dataset is None:
        return
    assert isinstance(spec.cut, Segments), "only tables begin with a data set"
    writer = SegmentWriter(spec.cut, spec.stored_env, -1 - shard, 0, 1)
    nothing = {name: np.zeros((1, *extra.shape), extra.dtype) for name, extra in spec.cut.extras.items()}
    for found in itertools.islice(episodes_of(spec.run.dataset), shard, None, spec.runtime.replay_shards):
        episode = _learned(found, spec.env_spec)
        last = len(episode.reward) - 1
        for t, is_over in enumerate(episode.terminated.tolist()):
            yield from writer.append_batch(
                observation=episode.observation[t : t + 1],
                action=episode.action[t : t + 1],
                reward=episode.reward[t : t + 1],
                terminated=episode.terminated[t : t + 1],
                truncated=np.array([t == last and not is_over]),
                extras=nothing,
                priority=None,
                weights_version=-1,
                next_observation=episode.observation[t + 1 : t + 2],
                state={},
                bootstrap_extras=nothing,
            )


def _learned(episode: EpisodeRecord, env: EnvSpec) -> EpisodeRecord:
    """Returns an episode as it is learned from."""
    reward = np.sign(episode.reward) if env.clips_rewards else episode.reward
    return replace(
        episode,
        observation=episode.observation.astype(env.observation.dtype),
        action=episode.action.astype(env.action.dtype),
        reward=reward.astype(np.float32),
        terminated=episode.terminated.astype(np.bool_),
    )


def _check_spaces(source: str, episode: EpisodeRecord, env: EnvSpec) -> None:
    shown, done = episode.observation, episode.action
    num_actions = int(done.max()) + 1 if env.num_actions and done.size else 0
    fits = (
        shown.shape[1:] == env.observation.shape
        and np.can_cast(shown.dtype, env.observation.dtype, "same_kind")
        and done.shape[1:] == env.action.shape
        and np.can_cast(done.dtype, env.action.dtype, "same_kind")
        and num_actions <= env.num_actions
    )
    if fits:
        return
    theirs = f"{num_actions} actions" if num_actions else f"actions {_shape(done)}"
    ours = f"{env.num_actions} actions" if env.num_actions else f"actions of {env.action.dtype} {env.action.shape}"
    raise ConfigError(
        f"run.dataset = {source} has observations {_shape(shown)} and {theirs}; '{env.id}' has observations of "
        f"{env.observation.dtype} {env.observation.shape} and {ours}. Name the environment that it is of."
    )


def _shape(array: Array) -> str:
    return f"of {array.dtype} {array.shape[1:]}"


def _folder(folder: Path) -> Iterator[EpisodeRecord]:
    paths = sorted(path for path in folder.glob("*.npz") if not path.name.startswith("best_"))  # which is one of them
    if not paths:
        raise ConfigError(
            f"run.dataset = {folder} holds no episodes (*.npz). 'rlsys eval RUN --record FOLDER' writes some."
        )
    return map(read_episode, paths)


def _minari(name: str) -> Iterator[EpisodeRecord]:
    try:
        import minari
    except ModuleNotFoundError:
        raise ConfigError(
            f"run.dataset = {_MINARI}{name} needs minari, which is not installed. Install rlsys[minari]."
        ) from None
    for episode in minari.load_dataset(name).iterate_episodes():
        yield EpisodeRecord(
            np.asarray(episode.observations), np.asarray(episode.actions), episode.rewards, episode.terminations
        )
