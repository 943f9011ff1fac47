"""Bytes from elsewhere: http(s):// through the standard library, s3:// and gs:// as checkpoints are read.

Nothing more is needed to stream a file, and both honour what the environment says: proxies, certificates, credentials.
"""

import contextlib
import http.client
import urllib.request
from collections.abc import Iterator
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from rlsys import __version__
from rlsys.errors import CheckpointError, did_you_mean

_OBJECT_STORES = ("s3", "gs", "gcs")
_SCHEMES = ("http", "https", *_OBJECT_STORES)
_TIMEOUT_S = 60.0
_BLOCK_BYTES = 1 << 20


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def blocks(uri: str) -> Iterator[bytes]:
    """Yields a file, block by block.

    Raises:
      CheckpointError: the scheme is unknown, there is no such file, or it came to an early end; it is named.
    """
    check_scheme(uri)
    try:
        with _opened(uri) as (stream, size):
            received = 0
            while block := stream.read(_BLOCK_BYTES):
                received += len(block)
                yield block
            if size is not None and received != size:
                raise CheckpointError(
                    f"{shown(uri)} was cut off after {received:,} of {size:,} bytes; nothing of it is used. Try again."
                )
    except (OSError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(
            f"{shown(uri)} cannot be fetched: {reason}. Check the address, the network and your permission."
        ) from None


def check_scheme(uri: str) -> None:
    """Raises CheckpointError for what cannot be fetched from."""
    scheme = urlsplit(uri).scheme
    if scheme not in _SCHEMES:
        raise CheckpointError(
            f"'{scheme}://' in {shown(uri)} is none of {', '.join(f'{name}://' for name in _SCHEMES)}."
            f"{did_you_mean(scheme, _SCHEMES)} Use one of these, or a path."
        )


def shown(uri: str) -> str:
    """Returns a URI without what may be secret in it: a password, or a signature in the query."""
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[tuple[_Stream, int | None]]:
    """Opens a file; its size, where the other side tells."""
    if urlsplit(uri).scheme in _OBJECT_STORES:
        from rlsys.runtime.checkpoints.object_storage import connect

        filesystem, path = connect(uri)
        with filesystem.open_input_stream(path) as stream:
            yield stream, None
        return
    request = urllib.request.Request(uri, headers={"User-Agent": f"rlsys/{__version__}"})
    with _opener().open(request, timeout=_TIMEOUT_S) as response:
        length = response.headers.get("Content-Length")
        yield response, None if length is None else int(length)


def _opener() -> urllib.request.OpenerDirector:
    """Returns what follows http and https only: a redirection must not lead to a file of this machine."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener
