"""The product of what an evaluation varies: of each setting that is given several times, or as a list, every value."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from rlsys.config.values import takes_list, type_at
from rlsys.errors import ConfigError, RlsysError
from rlsys.files.yaml_tree import format_value, parse_yaml, split_override

T = TypeVar("T")


def axes_of(overrides: Sequence[str], model: type[BaseModel]) -> dict[str, tuple[str, ...]]:
    """Returns each key's values, as texts, in the order in which they were given.

    Args:
      overrides: KEY=VALUE. A list is several values, but for a field that is a text or holds a list itself: several
        values of those are given one by one.
      model: of the experiment: says what fields are.

    Raises:
      ConfigError: one is not of that form, or has no value.
    """
    axes: dict[str, tuple[str, ...]] = {}
    for text in overrides:
        key, value = split_override(text)
        axes[key] = tuple(dict.fromkeys((*axes.get(key, ()), *_values(key, value, model))))
    return axes


def product(
    axes: Mapping[str, Sequence[Any]], make: Callable[[Mapping[str, Any]], T]
) -> tuple[list[T], list[RlsysError]]:
    """Makes something of each combination of values, the last axis varying fastest.

    Values that contradict each other make nothing, as long as each of them makes something with others.

    Args:
      axes: name -> values.
      make: takes a value of each axis; raises RlsysError where they do not go together.

    Returns:
      What was made, and for each combination that was left out why.

    Raises:
      RlsysError: of `make`, for a value with which nothing could be made.
    """
    made: list[T] = []
    refused: dict[tuple[int, ...], RlsysError] = {}
    useful: set[tuple[int, int]] = set()
    for places in itertools.product(*(range(len(values)) for values in axes.values())):
        try:
            made.append(make(_chosen(axes, places)))
        except RlsysError as error:
            refused[places] = error
        else:
            useful.update(enumerate(places))
    for places, refusal in refused.items():
        if not useful.issuperset(enumerate(places)):
            raise refusal
    return made, list(refused.values())


def _values(key: str, text: str, model: type[BaseModel]) -> Sequence[str]:
    """Returns the values that stand after KEY=."""
    if not text.startswith("[") or takes_list(type_at(model, key)):
        return [text]
    try:
        values = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{key} = {text[:80]!r} is no list: {error}. Write {key}=[A,B].") from None
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{key} = {text[:80]!r} has no values. Write {key}=[A,B], or leave it out.")
    return [value if isinstance(value, str) else format_value(value) for value in values]


def _chosen(axes: Mapping[str, Sequence[Any]], places: Sequence[int]) -> dict[str, Any]:
    return {name: values[place] for (name, values), place in zip(axes.items(), places, strict=True)}
