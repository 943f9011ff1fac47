"""Checkpoints in an object store, by URI: s3://bucket/path or gs://bucket/path.

    <uri>/
      000002000.manifest.json            written last, and removed first: it makes the checkpoint
      000002000.score.json               mean evaluation return, once it is known
      parts/000002000-5f3a91c2/<part>…   what was written for one draft

Nothing can be renamed there, so a manifest says where each file lies, and a file that has not changed is named by
several manifests. What no manifest names is removed when the next checkpoint has been committed. Credentials come from
the environment of each process, as its provider's own tools find them.
"""

import errno
import re
import secrets
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from pyarrow import ArrowException, fs

from rlsys.checkpoints.manifest import Manifest
from rlsys.checkpoints.storage import (
    STEP_NAME,
    Blocks,
    Fetched,
    FileRecord,
    Place,
    Storage,
    join,
    with_source,
    write_hashed,
)
from rlsys.errors import CheckpointError
from rlsys.files.json_tree import MOST_BYTES

_PARTS = "parts"
_MANIFEST_NAME = re.compile(rf"({STEP_NAME.pattern})\.manifest\.json")
_BLOCK_BYTES = 8 << 20
_RETRIES = "retry_limit_seconds"
_PATIENCE_S = 60
_SHOWN = 300
_ADVICE = (
    "Check that the bucket exists, that its endpoint answers, and that the credentials in the environment may write "
    "there; or set run.checkpoints to something else."
)


class ObjectPlace(Place):
    """The objects of one draft."""

    advice = _ADVICE

    def __init__(self, uri: str) -> None:
        self._filesystem, path = connect(uri)
        self._root, *below = path.rsplit("/", 2)
        self._below = "/".join(below)

    def write(self, path: str, blocks: Blocks) -> FileRecord:
        """Uploads an object."""
        source = f"{self._below}/{path}"
        with self._filesystem.open_output_stream(f"{self._root}/{source}") as stream:
            record = write_hashed(path, blocks, stream.write)
        return with_source(record, source)

    def reuse(self, record: FileRecord, step: int) -> FileRecord | None:
        """Names the object where it lies."""
        return record


class ObjectStorage(Storage):
    """A prefix of a bucket with a manifest per checkpoint."""

    advice = _ADVICE

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._filesystem, self._root = connect(uri)

    def begin(self, step: int) -> str:
        """Only names a place: there are no folders."""
        return join(self._uri, _PARTS, f"{step:09d}-{secrets.token_hex(4)}")

    def discard(self, place: str) -> None:
        """Leaves it to the next commit, which removes all that no manifest names."""

    def commit(self, place: str, step: int, manifest: str, records: Sequence[FileRecord]) -> None:
        """See `Storage`."""
        for record, size in zip(records, self.sizes(step, records), strict=True):
            if size != record.size:
                raise CheckpointError(f"{record.path} was written but is not at {place}. Do all workers use one store?")
        self.note(step, "manifest.json", manifest)

    def remove(self, steps: Iterable[int]) -> None:
        """See `Storage`; also removes what was left of drafts."""
        for step in steps:
            for name in ("manifest.json", "score.json"):
                self._delete(self._note(step, name))
        self._sweep()

    def steps(self) -> tuple[int, ...]:
        """See `Storage`."""
        selector = fs.FileSelector(self._root, allow_not_found=True)
        names = (_MANIFEST_NAME.fullmatch(found.base_name) for found in self._filesystem.get_file_info(selector))
        return tuple(sorted(int(name[1]) for name in names if name))

    def read(self, step: int, name: str) -> bytes:
        """See `Storage`."""
        with self._filesystem.open_input_stream(self._note(step, name)) as stream:
            content = bytes(stream.read(MOST_BYTES + 1))
        if len(content) > MOST_BYTES:
            raise OSError(errno.EFBIG, f"{name} of step {step} has more than {MOST_BYTES:,} bytes")
        return content

    def note(self, step: int, name: str, text: str) -> None:
        """See `Storage`."""
        self._write(self._note(step, name), text)

    def sizes(self, step: int, records: Sequence[FileRecord]) -> list[int | None]:
        """See `Storage`."""
        found = self._objects()
        return [found.get(record.source) for record in records]

    def fetch(self, step: int, records: Sequence[FileRecord]) -> Fetched:
        """Downloads them to a private folder."""
        owner = tempfile.TemporaryDirectory(prefix="rlsys-checkpoint-")
        folder = Path(owner.name)
        for record in records:
            target = folder / record.path
            target.parent.mkdir(mode=0o700, exist_ok=True)
            key = f"{self._root}/{record.source}"
            with self._filesystem.open_input_stream(key) as stream, target.open("wb") as file:
                while block := stream.read(_BLOCK_BYTES):
                    file.write(block)
        return Fetched(folder, owner)

    def probe(self) -> None:
        """See `Storage`."""
        name = f"{self._root}/{_PARTS}/probe-{secrets.token_hex(4)}"
        self._write(name, "0")
        self._delete(name)

    def _note(self, step: int, name: str) -> str:
        return f"{self._root}/{step:09d}.{name}"

    def _write(self, path: str, text: str) -> None:
        with self._filesystem.open_output_stream(path) as stream:
            stream.write(text.encode())

    def _delete(self, path: str) -> None:
        try:
            self._filesystem.delete_file(path)
        except FileNotFoundError:
            return

    def _objects(self) -> dict[str, int]:
        """Returns the size of everything below parts/, by its key from the checkpoints' root on."""
        selector = fs.FileSelector(f"{self._root}/{_PARTS}", allow_not_found=True, recursive=True)
        files = (found for found in self._filesystem.get_file_info(selector) if found.type == fs.FileType.File)
        return {found.path.removeprefix(f"{self._root}/"): found.size for found in files}

    def _sweep(self) -> None:
        """Removes what no manifest names; nothing, if it cannot be known what a damaged one did name."""
        try:
            manifests = [Manifest.parse(self.read(step, "manifest.json"), step) for step in self.steps()]
        except CheckpointError:
            return
        named = {record.source for manifest in manifests for record in manifest.files}
        unnamed = self._objects().keys() - named
        in_use = {_draft_of(source) for source in named}
        for draft in {_draft_of(source) for source in unnamed} - in_use:
            self._filesystem.delete_dir(f"{self._root}/{draft}")
        for source in unnamed:
            if _draft_of(source) in in_use:
                self._delete(f"{self._root}/{source}")


def _draft_of(source: str) -> str:
    return "/".join(source.split("/")[:2])


def connect(uri: str) -> tuple[fs.FileSystem, str]:
    """Returns the object store of a URI, and the path there.

    Raises:
      CheckpointError: the URI cannot be understood, or nobody answers there.
    """
    bounded = uri
    if uri.startswith(("gs://", "gcs://")) and _RETRIES not in uri:  # else it tries for a quarter of an hour
        bounded += f"{'&' if '?' in uri else '?'}{_RETRIES}={_PATIENCE_S}"
    try:
        filesystem, path = fs.FileSystem.from_uri(bounded)
    except (ArrowException, ValueError) as error:
        raise CheckpointError(
            f"{uri}: {' '.join(str(error).split())}. Write s3://bucket/path or gs://bucket/path."
        ) from None
    except OSError as error:  # it looks for the bucket's region
        raise CheckpointError(f"cannot reach {uri}: {' '.join(str(error).split())[:_SHOWN]}. {_ADVICE}") from None
    return filesystem, path
