"""Weights and world models as they lie in checkpoints: of the run itself, and of others that learners begin with."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from rlsys.api import Learner, Saved
from rlsys.checkpoints.checkpoint import Checkpoints, Opened
from rlsys.checkpoints.storage import is_uri
from rlsys.config import Loaded
from rlsys.config.location import Location, WeightFile, relocated
from rlsys.errors import CheckpointError, ConfigError, RlsysError
from rlsys.exports.find import find
from rlsys.files.json_tree import check_tree
from rlsys.types import Array, Weights

_MOST_NAMED = 3


class _Stored(BaseModel):
    """What the part "weights" holds."""

    version: int
    learner_step: int
    arrays: dict[str, Any]


def weights_in(opened: Opened) -> Weights:
    """Returns the weights in a checkpoint.

    Raises:
      CheckpointError: it has none, or what is there are no weights.
    """
    with opened.loading("weights") as saved:
        stored = check_tree(saved, _Stored)
        strange = [name for name, array in stored.arrays.items() if not isinstance(array, np.ndarray)]
        if strange:
            raise TypeError(f"'{strange[0]}' is no array")
    return Weights(stored.version, stored.learner_step, stored.arrays)


def read_weights(source: str) -> Mapping[str, Array]:
    """Returns the weights that a run's policy acts with: name -> array.

    Args:
      source: a run or an export as `rlsys eval` takes it (of a run its newest checkpoint, unless #… names another), or
        the folder of one checkpoint, wherever it lies.

    Raises:
      RlsysError: there is no such run or checkpoint, or it is damaged.
    """
    return weights_in(_open(source, "weights")).arrays


def read_world(source: str) -> Saved:
    """Returns what the learner of a run saved of its world model.

    Args:
      source: as for `read_weights`.

    Raises:
      RlsysError: there is no such run or checkpoint, it has no world model, or it is damaged.
    """
    return _open(source, "world").read("world")


def settle(loaded: Loaded) -> Loaded:
    """Returns a new run's experiment with each place that it begins from as any process finds it, now and later.

    A run becomes its folder and one of its checkpoints, a file its absolute path; what lies elsewhere stays as it is.
    Absolute paths of other systems' weights do, too: the learner's machine may have them alone.

    Raises:
      RlsysError: there is no such thing; the setting is named.
    """
    directory = loaded.experiment.run.directory

    def settled(setting: str, location: Location) -> Location:
        source = location.reveal(setting)
        if isinstance(location, WeightFile):
            return WeightFile(_settled_file(setting, source))
        try:
            return Location(_settled(source, directory))
        except RlsysError as error:
            raise type(error)(f"{setting} = {location}: {error}") from None

    return replace(loaded, experiment=relocated(loaded.experiment, settled))


def begin_from(learner: Learner, location: Location) -> None:
    """Gives a new learner the networks of another run, and its world model if it has one.

    Raises:
      RlsysError: they are not there, or of other names or shapes, which are named.
    """
    opened = _open(location.reveal("run.init_from"), "weights", "world")
    given, own = weights_in(opened).arrays, learner.weights()
    differing = [
        f"{name} is {_shape(given, name)} there and {_shape(own, name)} here"
        for name in sorted(given.keys() | own.keys())
        if _shape(given, name) != _shape(own, name)
    ]
    if differing:
        more = f" and {len(differing) - _MOST_NAMED} more" if len(differing) > _MOST_NAMED else ""
        raise CheckpointError(
            f"run.init_from = {location} has other networks: {'; '.join(differing[:_MOST_NAMED])}{more}. Give the "
            "algorithm, the environment and the network sizes that those weights were trained with."
        )
    if "world" not in opened.parts:
        learner.load_weights(given, None)
        return
    with opened.loading("world") as world:
        learner.load_weights(given, world)


def _shape(arrays: Mapping[str, Array], name: str) -> str:
    return str(tuple(np.shape(arrays[name]))) if name in arrays else "missing"


def _settled(source: str, directory: str) -> str:
    if is_uri(source):
        return source
    path = Path(source)
    if _is_checkpoint(path):
        return str(path.absolute())
    found = find(source, directory, weights_only=True)
    if found.is_run:
        return f"{found.output}#{found.open('latest', ()).learner_step}"
    return str(path.absolute()) if path.exists() else source  # or it ships with the package


def _settled_file(setting: str, source: str) -> str:
    path = Path(source)
    if is_uri(source) or not (path.exists() or path.is_absolute()):
        raise ConfigError(
            f"{setting} = {source}: there is no such file or folder here. Copy the weights to the learner's machine, "
            "and give their path."
        )
    return str(path.absolute())


def _open(source: str, *parts: str) -> Opened:
    path = Path(source)
    if _is_checkpoint(path):
        return Checkpoints(path.parent, keep=1).open(path.name, parts)
    return find(source, weights_only=True).open("latest", parts)


def _is_checkpoint(path: Path) -> bool:
    return (path / "manifest.json").is_file()
