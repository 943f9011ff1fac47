"""Nested dictionaries of settings: read from YAML, parsed from KEY=VALUE, merged; errors name the file or the key."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from rlsys.errors import ConfigError

Tree = dict[str, Any]
"""Nested sections; what is not a dict is a leaf."""


def read_yaml(path: Path) -> Tree:
    """Reads a YAML mapping.

    Raises:
      ConfigError: the file cannot be read, is not YAML, or not a mapping.
    """
    try:
        tree = _parse(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}. Correct the file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Check the path and its permissions.") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold a mapping of sections, not {type(tree).__name__}. Correct the file.")
    return tree


def parse_overrides(overrides: Iterable[str]) -> Tree:
    """Turns `section.field=value` strings into nested sections; a later one wins.

    Raises:
      ConfigError: a string is not of that form, or its value is not YAML.
    """
    tree: Tree = {}
    for text in overrides:
        tree = merge(tree, _parse_override(text))
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
    """Returns YAML that `read_yaml` reads back unchanged, keys in their order."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False)


_Resolvers = dict[str, list[tuple[str, re.Pattern[str]]]]


def _resolvers() -> _Resolvers:
    """Returns what tells scalars apart by their first character, as YAML 1.2 does.

    PyYAML follows YAML 1.1, where 1e-3 is text, off is false and 12:30 is 750.
    """
    resolvers: _Resolvers = {first: [] for first in "tTfFnN~-+.0123456789"}
    for kind, pattern in {
        "bool": r"true|True|TRUE|false|False|FALSE",
        "int": r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+",
        "float": r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
        "null": r"null|Null|NULL|~",
    }.items():
        for entries in resolvers.values():
            entries.append((f"tag:yaml.org,2002:{kind}", re.compile(rf"^(?:{pattern})$")))
    resolvers[""] = [("tag:yaml.org,2002:null", re.compile("^$"))]
    return resolvers


class _Dumper(yaml.SafeDumper):
    """Quotes text that would be read as something else."""


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Dumper.yaml_implicit_resolvers = _resolvers()
_Loader.yaml_implicit_resolvers = _resolvers()


def _parse(text: str) -> Any:
    return yaml.load(text, _Loader)


def _parse_override(text: str) -> Tree:
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"override '{text}' is not KEY=VALUE. Write for example run.seed=1.")
    try:
        tree = _parse(value)
    except yaml.YAMLError:
        raise ConfigError(
            f"override '{text}': '{value}' is not a YAML value. Quote it, or write a number or a list."
        ) from None
    for section in reversed(key.split(".")):
        tree = {section: tree}
    return dict(tree)
