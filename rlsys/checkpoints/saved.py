"""A `Saved` as two things that files can hold: standard JSON, and named arrays.

An array leaves {"$array": name} behind, where the name is its place as a JSON pointer (RFC 6901); a float that JSON
cannot hold becomes {"$float": "nan"}; "cast" beside "$array" names the dtype it gets back, where it is stored in fewer
bits; a "dtype" and a "shape" say what bytes are: text, times, or fields, each as [name, dtype, shape]; a key that
begins with "$" gets a second one.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from rlsys.errors import CheckpointError
from rlsys.types import Array

PLAIN_DTYPES = {
    "|b1": "BOOL",
    "|i1": "I8",
    "|u1": "U8",
    "<i2": "I16",
    "<u2": "U16",
    "<f2": "F16",
    "<i4": "I32",
    "<u4": "U32",
    "<f4": "F32",
    "<i8": "I64",
    "<u8": "U64",
    "<f8": "F64",
}
"""What a safetensors file holds as it is, and its name there; arrays of another dtype are stored as bytes."""
_DTYPE = re.compile(r"[<>|=][biufcSUmM][0-9]{1,9}(?:\[[a-zA-Z0-9]{1,8}\])?")
"""`dtype.str` of numbers, times and text, and of the fields of a structured dtype; nothing that holds objects."""
_SHOWN = 100


def encode(value: Any, arrays: dict[str, Array], path: str = "", *, half: bool = False) -> Any:
    """Returns `value` as a tree that is standard JSON, and adds its arrays to `arrays`.

    Tuples become lists and numpy scalars Python's; all else is given back exactly by `decode`. With `half`, arrays of
    float32 are stored as float16 where all of their numbers are within its range, and are given back rounded.

    Raises:
      TypeError: a leaf is no array, number, text or None, or a key is no string.
    """
    if isinstance(value, np.ndarray):
        return _encode_half(value, arrays, path) if half else _encode_array(value, arrays, path)
    if isinstance(value, np.bool_ | np.integer | np.float16 | np.float32 | np.float64):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [encode(item, arrays, f"{path}/{index}", half=half) for index, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {
            f"${key}" if key.startswith("$") else key: encode(item, arrays, f"{path}/{_pointer_token(key)}", half=half)
            for key, item in value.items()
        }
    raise TypeError(
        f"'{path}' is {type(value).__name__}; only numpy arrays, numbers, text, None, lists and dicts with string keys "
        "can be saved. Convert it in save()."
    )


def decode(tree: Any, arrays: Mapping[str, Array]) -> Any:
    """Returns what `encode` made `tree` and `arrays` of; the arrays are not copied.

    Raises:
      CheckpointError: `encode` makes nothing like this: the bare fact.
    """
    if isinstance(tree, list):
        return [decode(item, arrays) for item in tree]
    if isinstance(tree, dict):
        tags = [key for key in tree if key.startswith("$") and not key.startswith("$$")]
        return _decode_tagged(tree, arrays) if tags else _decode_mapping(tree, arrays)
    if isinstance(tree, float) and not math.isfinite(tree):
        raise CheckpointError(f"holds a bare {tree}")
    return tree


def _decode_mapping(tree: dict[str, Any], arrays: Mapping[str, Array]) -> dict[str, Any]:
    return {key.removeprefix("$"): decode(item, arrays) for key, item in tree.items()}


def _decode_tagged(tree: dict[str, Any], arrays: Mapping[str, Array]) -> Any:
    match tree:
        case {"$float": "nan" | "inf" | "-inf" as text, **others} if not others:
            return float(text)
        case {"$array": str(name), **others} if name in arrays:
            return _decode_array(arrays[name], others)
    raise CheckpointError(f"holds a value that no version writes: {str(tree)[:_SHOWN]}")


def _decode_array(array: Array, others: dict[str, Any]) -> Array:
    match others:
        case {"cast": "<f4", **more} if not more and array.dtype == np.float16:
            return array.astype(np.float32)
        case {"dtype": written, "shape": list(shape), **more} if not more and array.dtype == np.uint8:
            dtype = _dtype(written)
            sizes = _sizes(shape)
            if dtype is not None and sizes is not None and math.prod(sizes) * dtype.itemsize == array.size:
                return np.ndarray(sizes, dtype, array)
        case {}:
            if not others:
                return array
    raise CheckpointError(f"holds {array.size:,} numbers of {array.dtype} that cannot be {str(others)[:_SHOWN]}")


def _dtype(written: Any) -> np.dtype | None:
    """Returns the dtype of `dtype.str`, or of a list of fields; None for what `_encode_array` does not write."""
    if isinstance(written, str):
        return _plain_dtype(written)
    fields = []
    for field in written if isinstance(written, list) else []:
        match field:
            case [str(name), str(text), list(shape)]:
                plain, sizes = _plain_dtype(text), _sizes(shape)
                if name and plain is not None and sizes is not None and 0 not in sizes:
                    fields.append((name, plain, sizes))
    if not fields or len(fields) < len(written):
        return None
    try:
        return np.dtype(fields)
    except (TypeError, ValueError):  # a name that comes twice, or more bytes than a row can have
        return None


def _sizes(shape: list[Any]) -> tuple[int, ...] | None:
    sizes = tuple(size for size in shape if type(size) is int and size >= 0)
    return sizes if len(sizes) == len(shape) else None


def _plain_dtype(text: str) -> np.dtype | None:
    """Returns a dtype whose items are numbers, times or text of a fixed size; None for any other name."""
    if not _DTYPE.fullmatch(text):
        return None
    try:
        return np.dtype(text)
    except (TypeError, ValueError):
        return None


def _encode_array(array: Array, arrays: dict[str, Array], path: str) -> dict[str, Any]:
    fields = _fields(array.dtype)
    if array.dtype.hasobject or (fields and array.dtype != np.dtype(fields)):
        raise TypeError(
            f"'{path}' has dtype {array.dtype}; only numbers, text, and fields of these side by side can be saved. "
            "Convert it in save()."
        )
    contiguous = array if array.flags.c_contiguous else array.copy(order="C")
    if array.dtype.str in PLAIN_DTYPES:
        arrays[path] = contiguous
        return {"$array": path}
    arrays[path] = contiguous.reshape(-1).view(np.uint8)
    written = [[name, text, list(shape)] for name, text, shape in fields] or array.dtype.str
    return {"$array": path, "dtype": written, "shape": list(array.shape)}


def _fields(dtype: np.dtype) -> list[tuple[str, str, tuple[int, ...]]]:
    """Returns name, dtype and shape of each field of a structured dtype; nothing of any other."""
    inner = [(name, dtype[name]) for name in dtype.names or ()]
    return [(name, field.base.str, field.shape) for name, field in inner]


def _encode_half(array: Array, arrays: dict[str, Array], path: str) -> dict[str, Any]:
    if array.dtype != np.float32 or (np.abs(array) > np.finfo(np.float16).max).any():
        return _encode_array(array, arrays, path)
    return {**_encode_array(array.astype(np.float16), arrays, path), "cast": "<f4"}


def _pointer_token(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
