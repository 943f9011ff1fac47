"""`rlsys export`: writes what play and evaluation need of a run into a folder or an archive."""

import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from rlsys import __version__
from rlsys.checkpoints.checkpoint import Checkpoints, Opened
from rlsys.checkpoints.part import Part
from rlsys.checkpoints.storage import FileRecord, digest_of
from rlsys.config import Loaded, dump
from rlsys.errors import CheckpointError
from rlsys.exports import manifest
from rlsys.exports.archive import ENDING
from rlsys.exports.find import find
from rlsys.exports.manifest import ExportManifest
from rlsys.exports.settings import without_places
from rlsys.files.outputs import make_writable

PARTS = ("weights", "world")
"""Of a checkpoint: what acting needs, and the world model of algorithms that have one."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Of all members of an archive, so that the same run always makes the same one."""


def export_run(
    run: str,
    to: Path,
    *,
    directory: str = "runs",
    checkpoint: str = "latest",
    half: bool = False,
    trust: bool = False,
) -> str:
    """Exports one checkpoint, without optimizer and replay.

    Args:
      run: as `find` takes it.
      to: a folder, or a .zip file, that does not exist yet.
      directory: of all runs.
      checkpoint: "latest", "best" or a learner step.
      trust: as for `find`.
      half: store weights in 16 bits: half the size, and rounded to eleven bits of precision.

    Returns:
      A sentence about what was written.

    Raises:
      RlsysError: no such run or checkpoint, or the place is taken or cannot be written.
    """
    source = find(run, directory, trust=trust)
    if os.path.lexists(to):
        raise CheckpointError(f"{to} exists already, and exports never overwrite. Remove it, or choose another name.")
    make_writable(to, "--to")
    opened = source.open(checkpoint, PARTS)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{to.name}-", dir=to.parent) as aside:
            folder = Path(aside) / "export"
            written = _write(folder, source.loaded, opened, half)
            if to.suffix == ENDING:
                _pack(folder, Path(aside) / to.name, written)
                folder = Path(aside) / to.name
            folder.replace(to)
    except OSError as error:
        raise CheckpointError(f"cannot write {to}: {error.strerror or error}. Choose another place.") from None
    size = to.stat().st_size if to.suffix == ENDING else written.num_bytes
    digest = manifest.digest(written.format())
    return (
        f"{source.name} at learner step {opened.learner_step:,} is now in {to}: {size / 1e3:,.0f} kB. "
        f"Pin it at the end of its URI with #sha256={digest}"
    )


def _write(folder: Path, loaded: Loaded, opened: Opened, half: bool) -> ExportManifest:
    folder.mkdir()
    (folder / "config.yaml").write_text(_config(loaded, opened.learner_step), encoding="utf-8")
    with Checkpoints(folder / "checkpoints", keep=1).begin(opened.learner_step) as draft:
        for name in PARTS:
            if name in opened.parts:
                draft.add(Part.of(name, opened.read(name), half=half).write(draft.place))
        draft.commit(opened.metrics)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        path.chmod(0o644)  # made to be given away, unlike a run
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        path.chmod(0o755)
    records = [FileRecord(path.relative_to(folder).as_posix(), path.stat().st_size, digest_of(path)) for path in files]
    experiment = loaded.experiment
    written = ExportManifest(
        loaded.name, experiment.algorithm, experiment.env.id, opened.learner_step, __version__, tuple(records)
    )
    (folder / manifest.NAME).write_bytes(written.format())
    return written


def _config(loaded: Loaded, learner_step: int) -> str:
    """Returns config.yaml without the places and names of whoever trained it."""
    return f"# Exported from {loaded.name} at learner step {learner_step}\n{dump(without_places(loaded.experiment))}"


def _pack(folder: Path, archive: Path, written: ExportManifest) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name in (manifest.NAME, *(record.path for record in written.files)):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            with (folder / name).open("rb") as source, opened.open(member, "w") as target:
                shutil.copyfileobj(source, target)
