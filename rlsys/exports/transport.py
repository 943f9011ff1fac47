"""Bytes from elsewhere: http(s):// through the standard library, s3:// and gs:// as checkpoints are read.

Nothing more is needed to stream a file, and both honour what the environment says: proxies, certificates, credentials.
"""

import base64
import contextlib
import http.client
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from rlsys import __version__
from rlsys.errors import CheckpointError, did_you_mean

_OBJECT_STORES = ("s3", "gs", "gcs")
_SCHEMES = ("http", "https", *_OBJECT_STORES)
MOST_BYTES = 4 << 30
"""Of an export that comes from elsewhere, as it comes and unpacked."""
_ANSWER_S = 60.0
_SILENCE_S = 30.0
_SLOWEST_BYTES_PER_S = 1_000
"""In the mean, after the first minute: who sends less would keep us for days."""
_BLOCK_BYTES = 1 << 20
_SHOWN = 300

T = TypeVar("T")
_Read = Callable[[int], bytes]


def blocks(uri: str) -> Iterator[bytes]:
    """Yields a file, block by block.

    Raises:
      CheckpointError: the scheme is unknown, there is no such file, it came to an early end, or it does not come to
        one; it is named.
    """
    check_scheme(uri)
    try:
        with _opened(uri) as (read, size):
            if size is not None and size > MOST_BYTES:
                raise _too_large(uri, f"{size:,} bytes")
            received, started = 0, time.monotonic()
            while block := read(_BLOCK_BYTES):
                received += len(block)
                yield block
                if received > MOST_BYTES:
                    raise _too_large(uri, "no end")
                seconds = time.monotonic() - started
                if seconds > _ANSWER_S and received < seconds * _SLOWEST_BYTES_PER_S:
                    raise TimeoutError(f"only {received:,} bytes came in {seconds:.0f} s")
            if size is not None and received != size:
                raise CheckpointError(
                    f"{shown(uri)} was cut off after {received:,} of {size:,} bytes; nothing of it is used. Try again."
                )
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = " ".join(str(error).split())[:_SHOWN] or type(error).__name__
        raise CheckpointError(
            f"{shown(uri)} cannot be fetched: {reason}. Check the address, the network and your permission."
        ) from None


def check_scheme(uri: str) -> None:
    """Raises CheckpointError for what cannot be fetched from."""
    try:
        scheme = urlsplit(uri).scheme
    except ValueError as error:
        raise CheckpointError(f"'{uri.partition('://')[0]}://…' is no address: {error}. Correct it.") from None
    if scheme not in _SCHEMES:
        raise CheckpointError(
            f"'{scheme}://' in {shown(uri)} is none of {', '.join(f'{name}://' for name in _SCHEMES)}."
            f"{did_you_mean(scheme, _SCHEMES)} Use one of these, or a path."
        )


def shown(uri: str) -> str:
    """Returns a URI without what may be secret in it: a password, or a signature in the query."""
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _too_large(uri: str, size: str) -> CheckpointError:
    return CheckpointError(
        f"{shown(uri)} has {size}; what comes from elsewhere has {MOST_BYTES:,} bytes at most. If you trust it, fetch "
        "and unpack it yourself, and give the folder."
    )


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[tuple[_Read, int | None]]:
    """Opens a file: how it is read, and its size, where the other side tells."""
    if urlsplit(uri).scheme in _OBJECT_STORES:
        from rlsys.checkpoints.object_storage import connect

        filesystem, path = connect(uri)
        with filesystem.open_input_stream(path) as stream:
            yield stream.read, None
        return
    uri, login = _without_login(uri)
    request = urllib.request.Request(uri, headers={"User-Agent": f"rlsys/{__version__}"})
    if login:
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    with _within(_ANSWER_S, lambda: _opener().open(request, timeout=_SILENCE_S)) as response:
        length = response.headers.get("Content-Length")
        yield response.read1, None if length is None else _size(length)


def _size(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):
        raise ValueError(f"the answer says Content-Length: {text[:20]!r}")
    return int(text)


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Returns what a call returns; one that takes longer is left behind. Raises TimeoutError, and what it raises."""
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return answer.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"no answer within {seconds:.0f} s") from None


def _without_login(uri: str) -> tuple[str, str]:
    """Takes `user:password` out of a URI, which goes into a header."""
    parts = urlsplit(uri)
    login, at, host = parts.netloc.rpartition("@")
    return (urlunsplit(parts._replace(netloc=host)), unquote(login)) if at else (uri, "")


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
