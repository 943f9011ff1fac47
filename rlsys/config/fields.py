"""What pydantic models say about themselves: their fields with meanings, and one readable line per refused value."""

import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic
from pydantic import BaseModel

from rlsys import registry
from rlsys.config.sections import EnvConfig
from rlsys.errors import did_you_mean
from rlsys.files.yaml_tree import at, leaves
from rlsys.likeness import likeness, nearest

_MOST_LETTERS = 120
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _MOST_LETTERS
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 20


def described_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields dotted path and meaning of every field that is not itself a section."""
    for name, field in model.model_fields.items():
        if (submodel := _submodel(model, name)) is not None:
            yield from described_fields(submodel, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", " ".join((field.description or "").split())


def explain(
    error: pydantic.ValidationError,
    model: type[BaseModel],
    tree: Mapping[str, Any],
    where: str,
    places: Mapping[str, str],
) -> str:
    """Turns the first validation error into one line that names the key, the value, what is allowed and where it is.

    Args:
      error: what `model` made of `tree`.
      model: the refused experiment's type.
      tree: the refused data.
      where: phrase that says where `tree` comes from.
      places: the same for single fields: dotted path -> phrase.
    """
    errors = error.errors()
    first = errors[0]
    key = _field_path(model, first["loc"])
    place = next((phrase for path, phrase in places.items() if f"{path}.".startswith(f"{key}.")), where)
    if first["type"] == "extra_forbidden":
        return f"unknown key {key[:80]!r} {place}.{_nearest_key(model, key, at(tree, key))}"
    if first["type"] == "value_error":
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        return f"{key}: {message}." if key else f"{message}."
    value = at(tree, key)
    messages = [entry["msg"] for entry in errors if _field_path(model, entry["loc"]) == key]
    allowed = " or ".join(dict.fromkeys(_allowed(message) for message in messages)).replace(" or it must be ", " or ")
    return f"{key} = {shortened(value)}; {allowed}. Correct it {place}."


def shortened(value: Any) -> str:
    """Returns a value as it is shown in an error: on one line, and not all of what is very long."""
    text = _REPR.repr(value) if isinstance(value, (list, tuple, dict, str)) else _of_number(value)
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}…"


def _of_number(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # Python does not write integers of thousands of digits
        return f"{value:#x}"


def _submodel(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Returns the type of a field that is itself a section."""
    field = model.model_fields.get(name)
    annotation = field.annotation if field else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _field_path(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """Returns the dotted path of the field, without what pydantic appends for union members and list positions."""
    path: list[str] = []
    section: type[BaseModel] | None = model
    for part in location:
        if section is None:
            break
        path.append(str(part))
        section = _submodel(section, str(part))
    return ".".join(path)


def _allowed(message: str) -> str:
    """Rewrites pydantic's "Input should be a valid integer, unable to parse …" as "it must be a valid integer"."""
    message = message.partition(", unable to")[0].partition(", got a number")[0]
    if message.startswith("Input should be "):
        return f"it must be {message.removeprefix('Input should be ')}"
    return message[0].lower() + message[1:]


def _nearest_key(model: type[BaseModel], key: str, value: Any) -> str:
    """Suggests a key of the same section, else one of another section, else lists the section.

    In the env section that is also one that only other families have: who gives it learns next which these are.

    Args:
      model: the experiment's type.
      key: the unknown one, dotted.
      value: what it was given; of an unknown section, what is in it.
    """
    *sections, leaf = key.split(".")
    section = model
    for part in sections:
        section = _submodel(section, part) or section
    known = list(section.model_fields)
    paths = [path for path, _ in described_fields(model)]
    in_other_sections: dict[str, str] = {}
    for path in paths:
        in_other_sections.setdefault(path.rpartition(".")[2], path)
    same_name = in_other_sections.get(leaf)
    if same_name is None and isinstance(value, Mapping) and not sections:  # a section that there is not
        wanted = next((f"{key}.{path}" for path in leaves(value)), key)
        return did_you_mean(wanted, paths) or did_you_mean(key, known) or f" Known here: {', '.join(known)}."
    if same_name is not None:
        return f" Did you mean '{same_name}'?"
    of_families = _fields_of_families() if issubclass(section, EnvConfig) else []
    with_its_letters = [name for name in of_families if likeness(leaf, name)[0] == 1.0]
    if near := did_you_mean(leaf, with_its_letters or known) or did_you_mean(leaf, of_families):
        return near
    elsewhere = nearest(leaf, in_other_sections)
    if elsewhere:
        return f" Did you mean '{in_other_sections[elsewhere[0]]}'?"
    return f" Known here: {', '.join(known)}."


def _fields_of_families() -> list[str]:
    return [name for family in registry.families() for name in family.config_type.model_fields]
