"""Values as users write them, in YAML and after KEY=, read by the type of the field that they are for.

Only the field knows what `1e3`, `true` or `null` is: a number, a flag, nothing, or a run's tag. So scalars stay as
they are written (`Plain`) until they meet it.
"""

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError, ValidationInfo

from rlsys.config.location import Location
from rlsys.errors import did_you_mean
from rlsys.files.yaml_tree import Plain, parse_yaml, scalar

_NOTHING_WRITTEN = ("null", "Null", "NULL", "~", "")
_NOTHING_GIVEN = ("null", "")


@dataclass(frozen=True)
class PartOf:
    """Says of a field that is a mapping that it holds some fields of another section; checks each of them.

    Attributes:
      section: name of the other section.
      model: its type where the experiment around it is not known. The context of a validation knows better: there,
        section -> function from the mapping to that type.
    """

    section: str
    model: type[BaseModel]

    def check(self, value: Mapping[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Returns the fields as their types make them."""
        find = (info.context or {}).get(self.section)
        model = self.model if find is None else find(value)
        return {key: self._check(model, key, item) for key, item in value.items()}

    @staticmethod
    def _check(model: type[BaseModel], key: str, value: Any) -> Any:
        annotation = field_type(model, key)
        if annotation is None:
            known = model.model_fields
            raise ValueError(f"unknown key '{key}'.{did_you_mean(key, known)} Only fields of that section can differ")
        try:
            checked = TypeAdapter(annotation).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{key} = {value!r}: {error.errors()[0]['msg']}") from None
        return list(checked) if isinstance(checked, tuple) else checked


def field_type(model: type[BaseModel], name: str) -> Any:
    """Returns what a field is declared as, None if there is none of that name."""
    field = model.model_fields.get(name)
    if field is None:
        return None
    annotation: Any = field.annotation
    for part in field.metadata:
        annotation = Annotated[annotation, part]
    return annotation


def type_at(model: type[BaseModel], path: str) -> Any:
    """Returns the type of the field at a dotted path, `Any` where nothing is known of it."""
    annotation: Any = model
    for name in path.split("."):
        section = _section(annotation, model)
        annotation = field_type(section, name) if section is not None else None
        if annotation is None:
            return Any
    return annotation


def takes_list(annotation: Any) -> bool:
    """Returns whether a list that stands after KEY= is one value of such a field: a list, or a text, or who knows."""
    members = _members(annotation)
    return any(
        member in (Any, str, list, tuple, dict) or get_origin(member) in (list, tuple, dict, Mapping)
        for member in members
    )


def given(annotation: Any, text: str) -> Any:
    """Reads what stands after KEY= on a command line: verbatim for a text, as YAML for all else.

    Raises:
      ConfigError: it is not YAML, where that is wanted.
    """
    members = _members(annotation)
    if str in members:
        return None if types.NoneType in members and text in _NOTHING_GIVEN else text
    return text if text in members else read_as(annotation, parse_yaml(text))


def read_as(annotation: Any, value: Any) -> Any:
    """Returns what was read from YAML with every scalar as the type wants it; anything else is left as it is."""
    return _read(annotation, value, annotation)


def _read(annotation: Any, value: Any, whole: Any) -> Any:
    """Reads a part of what `whole` is the type of."""
    if isinstance(value, Plain):
        return _read_scalar(_members(annotation), value)
    if isinstance(value, dict):
        section = _section(annotation, whole)
        return {key: _read(section and field_type(section, key), item, whole) for key, item in value.items()}
    if isinstance(value, list):
        return [_read(_element(annotation, index), item, whole) for index, item in enumerate(value)]
    return value


def _read_scalar(members: list[Any], text: Plain) -> Any:
    if types.NoneType in members and text in _NOTHING_WRITTEN:
        return None
    if str in members or text in members:
        return str(text)
    return scalar(text)


def _members(annotation: Any) -> list[Any]:
    """Returns the types, and the texts of literals, that a value may be."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [member for part in get_args(annotation) for member in _members(part)]
    if isinstance(annotation, type) and issubclass(annotation, Location):
        return [str]
    return list(get_args(annotation)) if origin is Literal else [annotation]


def _section(annotation: Any, whole: Any) -> type[BaseModel] | None:
    """Returns the model of a section, or of a mapping with some of its fields, as the type around it all has it."""
    if get_origin(annotation) is Annotated:
        bare, *metadata = get_args(annotation)
        part = next((part for part in metadata if isinstance(part, PartOf)), None)
        if part is None:
            return _section(bare, whole)
        has_it = isinstance(whole, type) and issubclass(whole, BaseModel) and part.section in whole.model_fields
        return whole.model_fields[part.section].annotation if has_it else part.model
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _element(annotation: Any, index: int) -> Any:
    """Returns the type of one element of a sequence."""
    for member in _members(annotation):
        elements = get_args(member)
        if get_origin(member) in (tuple, list) and elements:
            return elements[0] if elements[-1] is Ellipsis else elements[min(index, len(elements) - 1)]
    return None
