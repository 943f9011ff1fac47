"""Nested dictionaries of settings: read from YAML, merged, written; errors name the file or the key."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from rlsys.errors import ConfigError
from rlsys.files.content import read_content

Tree = dict[str, Any]
"""Nested sections; what is not a dict is a leaf."""


class Plain(str):
    """A scalar that was written without quotes; what it means depends on what it is for."""

    __slots__ = ()


def read_yaml(path: Path) -> Tree:
    """Reads a YAML mapping whose scalars mean what they look like.

    Raises:
      ConfigError: as `read_written`.
    """
    tree: Tree = _plain_values(read_written(path))
    return tree


def read_written(path: Path) -> Tree:
    """Reads a YAML mapping whose scalars without quotes are `Plain`.

    Raises:
      ConfigError: the file cannot be read, is not YAML, or not a mapping.
    """
    try:
        tree = parse_yaml(read_content(path, _MOST_BYTES).decode())
    except ConfigError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}. Correct the file.") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Check the path and its permissions.") from None
    if isinstance(tree, Plain) and not tree:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold a mapping of sections, not {_kind(tree)}. Correct the file.")
    return tree


def parse_yaml(text: str) -> Any:
    """Parses YAML into dicts, lists and texts, `Plain` where they have no quotes.

    Raises:
      ConfigError: it is not YAML, or not plain data.
    """
    try:
        node = yaml.compose(text, _Loader)
        return Plain() if node is None else _Reader().value(node)
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split()) if isinstance(error, yaml.YAMLError) else "it is nested too deeply"
        raise ConfigError(reason) from None


def scalar(text: str) -> Any:
    """Returns what a scalar without quotes means by itself, as in YAML 1.2."""
    for kind, pattern in _SCALARS.items():
        if pattern.fullmatch(text):
            return _CONSTRUCT[kind](text)
    return str(text)


def split_override(text: str) -> tuple[str, str]:
    """Returns the key, dotted, and the value of KEY=VALUE.

    Raises:
      ConfigError: it is not of that form.
    """
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"override {text[:80]!r} is not KEY=VALUE. Write for example run.seed=1.")
    if key.count(".") > _MOST_SECTIONS:
        raise ConfigError(f"override {text[:80]!r} has more than {_MOST_SECTIONS} dots in its key. Correct it.")
    return key, value


def nested(path: str, value: Any) -> Tree:
    """Returns nested sections with one value, at a dotted path."""
    for section in reversed(path.split(".")):
        value = {section: value}
    tree: Tree = value
    return tree


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """Returns `base` with the leaves of `over` on top; neither is changed."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yields the dotted path of every leaf."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def at(tree: Any, path: str) -> Any:
    """Returns what lies at a dotted path, None if nothing does."""
    for part in path.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def format_yaml(tree: Tree) -> str:
    """Returns YAML in ASCII that `read_yaml` reads back unchanged, keys in their order."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, width=math.inf)


def format_value(value: Any) -> str:
    """Returns a value as it can stand after KEY= on a command line."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=math.inf, default_flow_style=True)
        return text.strip()
    return "null" if value is None else json.dumps(value)


_SCALARS = {
    kind: re.compile(pattern)
    for kind, pattern in {
        "null": r"null|Null|NULL|~|",
        "bool": r"true|True|TRUE|false|False|FALSE",
        "int": r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+",
        "float": r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
    }.items()
}
"""What tells scalars apart in YAML 1.2. PyYAML follows 1.1, where 1e-3 is text, off is false and 12:30 is 750."""
_MOST_DIGITS = 400
"""More are infinite as a number, and slow to read."""


def _int(text: str) -> int | float:
    digits = text.replace("_", "")
    return math.inf if len(digits) > _MOST_DIGITS else int(digits, 16 if digits.startswith("0x") else 10)


_CONSTRUCT: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": _int,
    "float": lambda text: float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan")),
}
_MOST_BYTES = 1 << 18
_MOST_VALUES = 100_000
_MOST_SECTIONS = 10
_KINDS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("str", "null", "bool", "int", "float", "seq", "map"))


class _Loader(yaml.SafeLoader):
    """Only composes nodes."""


class _Dumper(yaml.SafeDumper):
    """Quotes every text that is not one plain word, and escapes in it what is not ASCII."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_WORD = re.compile(r"[A-Za-z_][\w./+-]*", re.ASCII)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    is_word = _WORD.fullmatch(text) and scalar(text) == text
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_word else '"')


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(Plain, lambda dumper, text: _represent_text(dumper, str(text)))
_Dumper.yaml_implicit_resolvers = {
    None: [(f"tag:yaml.org,2002:{kind}", re.compile(rf"^(?:{pattern.pattern})$")) for kind, pattern in _SCALARS.items()]
}
_Loader.yaml_implicit_resolvers = {}


class _Reader:
    """Turns nodes into data; counts them, since aliases can make much of little."""

    def __init__(self) -> None:
        self._num_values = 0

    def value(self, node: yaml.Node) -> Any:
        """Returns the data of a node."""
        self._num_values += 1
        if self._num_values > _MOST_VALUES:
            raise ConfigError(f"it has more than {_MOST_VALUES:,} values")
        if node.tag not in _KINDS:
            raise ConfigError(f"{node.tag.removeprefix('tag:yaml.org,2002:')}{_place(node)} is not plain data")
        if isinstance(node, yaml.ScalarNode):
            return str(node.value) if node.style else Plain(node.value)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item) for item in node.value]
        tree: Tree = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"a key{_place(key)} is not a text")
            if key.value in tree:
                raise ConfigError(f"key '{key.value}' is given twice{_place(key)}")
            tree[str(key.value)] = self.value(item)
        return tree


def _place(node: yaml.Node) -> str:
    return f" in line {node.start_mark.line + 1}"


def _plain_values(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _plain_values(item) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_plain_values(item) for item in tree]
    return scalar(tree) if isinstance(tree, Plain) else tree


def _kind(tree: Any) -> str:
    return "a list" if isinstance(tree, list) else f"'{tree[:40]}'"
