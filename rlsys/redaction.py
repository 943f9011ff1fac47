"""What may be shown of a text in which a URI holds a secret: a password, a token, the signature of a link.

    https://***@host/exported.zip?X-Amz-Date=***&X-Amz-Signature=***#sha256=…

Who hands out a link may call its secret anything, so that of a query only what is known to be harmless stays.
"""

import re

MARK = "***"
"""Stands where something was left out."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/+\S+")
_LOGIN = re.compile(r"[^\s'\"/@:=]+:[^\s'\"/@]+@(?=[\w\[])")
"""`user:password@` in front of a host, where the scheme was forgotten."""
_AFTER = re.compile(r"['\"`)\]}>.,;:]*$")
"""What belongs to the sentence around a URI."""
_HARMLESS_NAMES = ("allow_bucket_creation", "endpoint_override", "region", "scheme", "versionId")
_HARMLESS_VALUE = re.compile(r"[\w.:/-]*")
_HARMLESS_FRAGMENT = re.compile(r"sha256=[0-9A-Fa-f]*…?|\d+|best|latest")
_PORT = re.compile(r"\[[^\]]*\](:\d*)?|[^:]*(:\d*)?")


def redact(text: str) -> str:
    """Returns a text whose URIs hold no secrets any more; what holds none stays as it is."""
    return _LOGIN.sub(f"{MARK}@", _URI.sub(_redact_match, text))


def _redact_match(match: re.Match[str]) -> str:
    after = _AFTER.search(match[0])
    assert after is not None
    return _redact_uri(match[0][: after.start()]) + after[0]


def _redact_uri(uri: str) -> str:
    """Takes a URI apart by hand: what is wrong with it must not decide about what is shown of it."""
    rest, hash_mark, fragment = uri.partition("#")
    rest, query_mark, query = rest.partition("?")
    scheme, slashes, rest = re.split("(:/+)", rest, maxsplit=1)
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        authority = f"{MARK}@{authority.rpartition('@')[2]}"
    elif not _PORT.fullmatch(authority):  # a password with a character that ends it before its @
        authority, path = MARK, path.rpartition("@")[2]
    query = "&".join(map(_redact_argument, query.split("&"))) if query else ""
    if fragment and not _HARMLESS_FRAGMENT.fullmatch(fragment):
        fragment = MARK
    return "".join([scheme, slashes, authority, slash, path, query_mark, query, hash_mark, fragment])


def _redact_argument(argument: str) -> str:
    name, equals, value = argument.partition("=")
    if not equals:
        return MARK
    return argument if name in _HARMLESS_NAMES and _HARMLESS_VALUE.fullmatch(value) else f"{name}={MARK}"
