"""JSON from files, checked while it is read: whatever is wrong with it becomes one line.

A file may be cut off, of other bytes, nested without end, or valid and yet not what belongs there. So nobody reads JSON
but through these two functions, which ask what it shall be: a type that pydantic knows, such as a dataclass.
"""

from pathlib import Path
from typing import Any, TypeVar

import pydantic

from rlsys.errors import CheckpointError
from rlsys.files.content import read_content

MOST_BYTES = 256 << 20
"""Of a file; the largest that is written holds the bookkeeping of a replay table."""
_SHOWN = 200

T = TypeVar("T")


def parse_json(text: bytes, kind: type[T]) -> T:
    """Returns what JSON says, as a `kind`; without conversions, and without keys that it does not know.

    Raises:
      CheckpointError: it is no JSON, or of another kind: the bare fact, to be put behind the file's name.
    """
    try:
        value: T = pydantic.TypeAdapter(kind).validate_json(text, strict=True, extra="forbid")
    except pydantic.ValidationError as error:
        raise CheckpointError(_fact(error)) from None
    return value


def check_tree(tree: Any, kind: type[T]) -> T:
    """Returns plain data as a `kind`, likewise; for what has been read already. Of records, `kind` is a model.

    Raises:
      TypeError: it is of another kind: the bare fact.
    """
    try:
        value: T = pydantic.TypeAdapter(kind).validate_python(tree, strict=True, extra="forbid")
    except pydantic.ValidationError as error:
        raise TypeError(_fact(error)) from None
    return value


def read_json(path: Path, kind: type[T]) -> T:
    """Returns what a file of JSON says, as a `kind`.

    Raises:
      CheckpointError: it cannot be read, is no JSON, or of another kind; the message names it.
    """
    try:
        return parse_json(read_content(path, MOST_BYTES), kind)
    except OSError as error:
        fact = f"cannot be read: {error.strerror or error}"
    except CheckpointError as error:
        fact = str(error)
    raise CheckpointError(f"{path} {fact}. Remove it, or put back what was there.")


def _fact(error: pydantic.ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    reason = first["msg"].removeprefix("Invalid JSON: ").replace("Input should", "it should")
    if first["type"] == "json_invalid":
        return f"is no valid JSON: {reason}"
    place = ".".join(map(str, first["loc"]))
    text = f"is not what belongs there: {place}: {reason}" if place else f"is not what belongs there: {reason}"
    return " ".join(text.split())[:_SHOWN]
