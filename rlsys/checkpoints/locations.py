"""Where the checkpoints of a run lie, and the storage that is there: a folder, or an object store by URI."""

from pathlib import Path

from rlsys.checkpoints.local_storage import LocalPlace, LocalStorage
from rlsys.checkpoints.storage import Place, Storage, is_uri, join
from rlsys.config import RunConfig


def checkpoints_of(run: RunConfig, folder: Path) -> str:
    """Returns where the checkpoints of a run lie: a folder, or a URI.

    Args:
      run: its settings.
      folder: its folder, absolute.
    """
    if run.checkpoints is None:
        return str(folder / "checkpoints")
    return join(run.checkpoints, folder.parent.name, folder.name)


def storage_at(location: str | Path) -> Storage:
    """Returns the storage at a folder or URI.

    Raises:
      CheckpointError: the URI cannot be understood.
    """
    if not is_uri(location):
        return LocalStorage(Path(location))
    from rlsys.checkpoints.object_storage import ObjectStorage  # with pyarrow, which a folder does without

    return ObjectStorage(str(location))


def place_at(place: str | Path) -> Place:
    """Returns the place of a draft.

    Raises:
      CheckpointError: the URI cannot be understood.
    """
    if not is_uri(place):
        return LocalPlace(Path(place))
    from rlsys.checkpoints.object_storage import ObjectPlace

    return ObjectPlace(str(place))
