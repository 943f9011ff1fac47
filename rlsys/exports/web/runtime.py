"""ONNX Runtime Web, which pages run graphs with: brought from npm once, and kept in the cache.

It is under the MIT License: https://github.com/microsoft/onnxruntime. Its 14 MB are not part of this package; what is
there is compared with what it must be each time, so that it does not matter who put it there.
"""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rlsys.errors import ConfigError
from rlsys.files import places

VERSION = "1.30.0"
SCRIPT, LOADER, BINARY = "ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"
_PACKAGE = f"onnxruntime-web-{VERSION}"
_DIGESTS = {
    SCRIPT: "faece07e84faa9001f5104bbe4e5c70861d06cb2376a0dea1fa0ad33a67adc81",
    LOADER: "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    BINARY: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
_PACK_S = 600.0
_SHOWN = 200


def read_runtime() -> Mapping[str, bytes]:
    """Returns the content of `SCRIPT`, `LOADER` and `BINARY`; npm brings them where they are not kept yet.

    Raises:
      ConfigError: there is no npm, or it cannot bring them.
    """
    folder = places.cache_folder(_PACKAGE)
    if _kept(folder) is None:
        _bring(folder)
    found = _kept(folder)
    if found is None:
        raise ConfigError(
            f"{_PACKAGE} as npm brought it is not the one that is known here: its files have other SHA-256 sums. "
            "Look at npm's registry setting; nothing was written."
        )
    return found


def _kept(folder: Path) -> Mapping[str, bytes] | None:
    """Returns the files of a folder, None unless all are what they must be."""
    files = {name: folder / name for name in _DIGESTS}
    if not all(path.is_file() for path in files.values()):
        return None
    contents = {name: path.read_bytes() for name, path in files.items()}
    is_whole = all(hashlib.sha256(contents[name]).hexdigest() == digest for name, digest in _DIGESTS.items())
    return contents if is_whole else None


def _bring(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigError(
            f"--format web needs {_PACKAGE}, which npm brings, and there is no npm. Install npm, or put "
            f"{', '.join(_DIGESTS)} of that package's dist into {folder}."
        )
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        command = [npm, "pack", "--silent", "--pack-destination", aside, _PACKAGE.replace("web-", "web@")]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_PACK_S,
                check=False,
                cwd=aside,
            )
        except subprocess.TimeoutExpired:
            raise _failed(f"no answer in {_PACK_S:.0f} s") from None
        packed = next(Path(aside).glob("*.tgz"), None)
        if done.returncode or packed is None:
            raise _failed(" ".join(done.stderr.split())[:_SHOWN] or f"exit {done.returncode}")
        with tarfile.open(packed) as archive:
            for name in _DIGESTS:
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None, name
                (Path(aside) / name).write_bytes(member.read())
        for name in _DIGESTS:
            (Path(aside) / name).replace(folder / name)


def _failed(reason: str) -> ConfigError:
    return ConfigError(f"npm cannot bring {_PACKAGE}: {reason}. Look at the network, and at npm's registry setting.")
