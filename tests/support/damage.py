"""Damage with good checksums: files of a checkpoint or an export whose content is replaced, and their lists with it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.numpy import save

DEEP = b"[" * 100_000
MALFORMED: Mapping[str, bytes] = {
    "empty": b"",
    "a pickle": b"cposix\nsystem\n(S'true'\ntR.",
    "a page": b"<html>moved</html>",
    "binary": bytes(range(256)) * 4,
    "deep": DEEP,
    "deep and closed": DEEP + b"]" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "bad UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "lone surrogate": b'{"a": "\\ud800"}',
    "long number": b"1" * 6_000,
    "cut off": b'{"a": [1, 2',
    "two values": b"{}{}",
    "null": b"null",
    "a list": b"[1, 2]",
    "a text": b'"text"',
    "a number": b"1e400",
    "NaN": b'{"a": NaN}',
    "unknown tag": b'{"$pickle": "x"}',
    "tag within": b'{"a": {"$float": "12"}}',
    "a float that is a list": b'{"a": {"$float": []}}',
    "an array that is not there": b'{"a": {"$array": "/nowhere"}}',
    "an array without name": b'{"a": {"$array": null}}',
    "another key beside a tag": b'{"a": {"$float": "nan", "b": 1}}',
}
"""What a file of JSON can hold instead of what belongs there."""


def tensors(header: Any, data: bytes = b"") -> bytes:
    """Returns a safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def _tensor(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


MALFORMED_TENSORS: Mapping[str, bytes] = {
    **MALFORMED,
    "no header": b"\x00" * 8,
    "huge header": (2**63).to_bytes(8, "little") + b"{}",
    "header beyond the end": (10**6).to_bytes(8, "little") + b"{}",
    "header that is no JSON": tensors(b"nope"),
    "deep header": tensors(DEEP),
    "header that is a list": tensors([1]),
    "bad UTF-8 in the header": tensors(b'{"\xff": 1}'),
    "cut off in the data": tensors({"a": _tensor()}, b"1234"),
    "bytes too many": tensors({"a": _tensor()}, b"1" * 12),
    "overlap": tensors({"a": _tensor(), "b": _tensor(offsets=(4, 12))}, b"1" * 12),
    "offsets beyond the end": tensors({"a": _tensor(offsets=(0, 2**40), shape=(2**38,))}, b"1" * 8),
    "offsets backwards": tensors({"a": _tensor(offsets=(8, 0))}, b"1" * 8),
    "negative offset": tensors({"a": _tensor(offsets=(-8, 0))}, b"1" * 8),
    "gap": tensors({"a": _tensor(offsets=(4, 12))}, b"1" * 12),
    "shape that is too large": tensors({"a": _tensor(shape=(2**62, 2**62))}, b"1" * 8),
    "negative shape": tensors({"a": _tensor(shape=(-2,))}, b"1" * 8),
    "shape of text": tensors({"a": _tensor(shape=("x",))}, b"1" * 8),
    "wrong product": tensors({"a": _tensor(shape=(3,))}, b"1" * 8),
    "unknown dtype": tensors({"a": _tensor("OBJECT")}, b"1" * 8),
    "a dtype that no part has": tensors({"a": _tensor("BF16", (4,))}, b"1" * 8),
    "missing key": tensors({"a": {"dtype": "F32", "shape": [2]}}, b"1" * 8),
    "null": tensors({"a": None}),
    "the same name twice": tensors(
        b'{"a":%s,"a":%s}' % ((json.dumps(_tensor()).encode(), json.dumps(_tensor(offsets=(8, 16))).encode())),
        b"1" * 16,
    ),
    "no arrays": save({}),
}
"""What a file of arrays can hold instead of what belongs there."""


def replace_file(checkpoint: Path, name: str, content: bytes) -> None:
    """Replaces a file of a checkpoint; all checksums fit again."""
    (checkpoint / name).write_bytes(content)
    change_manifest(checkpoint, lambda body: None)


def change_manifest(checkpoint: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes what a checkpoint's manifest says of its files as they are now, and sums it up again.

    `change` may change its argument, or return what takes its place.
    """
    path = checkpoint / "manifest.json"
    body = json.loads(path.read_text())
    body.pop("sha256")
    for entry in body["files"]:
        file = checkpoint / entry["path"]
        if file.is_file():
            entry |= {"size": file.stat().st_size, "sha256": _digest(file.read_bytes())}
    changed = change(body)
    body = body if changed is None else changed
    if isinstance(body, dict):
        body = {**body, "sha256": _digest(json.dumps(body, sort_keys=True).encode())}
    path.write_text(json.dumps(body))


def seal_export(folder: Path, change: Callable[[dict[str, Any]], Any] = lambda body: None) -> None:
    """Writes into export.json the sizes and checksums that its files have now; `change` as above."""
    path = folder / "export.json"
    body = json.loads(path.read_text())
    for entry in body["files"]:
        file = folder / entry["path"]
        if file.is_file():
            entry |= {"size": file.stat().st_size, "sha256": _digest(file.read_bytes())}
    changed = change(body)
    path.write_text(json.dumps(body if changed is None else changed))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
