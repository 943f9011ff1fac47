"""Settings that say where something lies: a run, a checkpoint, an export, a URI of one; or a file that others made."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from rlsys.config.quantities import Text
from rlsys.errors import ConfigError
from rlsys.redaction import MARK, redact

S = TypeVar("S", bound=BaseModel)


class Location:
    """The value of such a setting. It carries a URI whole, and shows it without the secrets in it.

    Whatever is printed, logged, dumped or sent elsewhere of an experiment has the shown form; only a pickle, for the
    workers, has the whole one. A run that is resumed knows no more than what was written down.
    """

    __slots__ = ("_whole",)  # neither dataclass nor text: these are dumped, compared and joined by looking inside

    def __init__(self, whole: str) -> None:
        self._whole = whole

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Location) and other._whole == self._whole

    def __hash__(self) -> int:
        return hash(self._whole)

    def __str__(self) -> str:
        return redact(self._whole)

    def __repr__(self) -> str:
        return repr(str(self))

    @property
    def has_secret(self) -> bool:
        """Whether it shows less than it is."""
        return str(self) != self._whole

    def reveal(self, setting: str) -> str:
        """Returns all of it, for whoever is about to open it.

        Args:
          setting: its dotted path.

        Raises:
          ConfigError: the secret was not written down, and has to be given again.
        """
        if MARK in self._whole and "://" in self._whole:
            raise ConfigError(
                f"{setting} = {self} has lost its secret: none is ever written down. Give it again, whole: "
                f"'{setting}=URI' after the command."
            )
        return self._whole

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            lambda value, parse: value if isinstance(value, cls) else cls(expanded(parse(value))),
            core_schema.str_schema(min_length=1, max_length=4_096),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value, info: str(value) if info.mode == "json" else value, info_arg=True
            ),
        )


class WeightFile(Location):
    """A file or folder of weights that another system has written, on the learner's machine."""

    __slots__ = ()


def expanded(text: str) -> str:
    """Returns a path, or a URI, with the user's folder in the place of `~`.

    Raises:
      ValueError: it has characters that neither can have; they are not repeated.
    """
    if any(not character.isprintable() for character in text) or ("://" in text and " " in text):
        raise ValueError("it has a blank or a character that cannot be printed; write such a one as %20 in a URI")
    try:
        return str(Path(text).expanduser()) if text.startswith("~") else text
    except RuntimeError:
        raise ValueError(f"'{text.partition('/')[0]}' is nobody's folder here; write the path without it") from None


Folder = Annotated[Text, AfterValidator(expanded)]
"""A folder, or a URI of one."""
OF_A_MACHINE = "of a machine"
"""Marks a setting that says where something lies: what was trained elsewhere comes without it."""


def folder_name(text: str) -> str:
    """Returns the name of a folder, as a run's id is.

    Raises:
      ValueError: no folder can have it, or a command would not find it again.
    """
    if not text or text in (".", "..") or text.startswith(("-", "~")) or text != text.strip():
        raise ValueError(f"'{text}' names no folder; it must not be empty, . or .., nor begin with -, ~ or a blank")
    strange = next((letter for letter in text if letter in "/\\#*?[]" or not letter.isprintable()), None)
    if strange is not None:
        raise ValueError(
            f"{text!r} has {strange!r}; a folder is named without separators, patterns and control characters"
        )
    return text


def without_secret(uri: str) -> str:
    """Returns what was given.

    Raises:
      ValueError: there is a secret in it.
    """
    if redact(uri) != uri:
        raise ValueError("a URI with a password in it would be written down; leave it to the environment to hold it")
    return uri


def locations(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Location]]:
    """Yields dotted path and value of every such setting that is set, sections below included."""
    for name, value in section:
        if isinstance(value, Location):
            yield f"{prefix}{name}", value
        elif isinstance(value, BaseModel):
            yield from locations(value, f"{prefix}{name}.")


def relocated(section: S, change: Callable[[str, Location], Location], prefix: str = "") -> S:
    """Returns a section with other values of all such settings that are set.

    Args:
      section: not changed.
      change: dotted path and value -> the new value.
      prefix: of the dotted paths.
    """
    update: dict[str, object] = {}
    for name, value in section:
        if isinstance(value, Location):
            update[name] = change(f"{prefix}{name}", value)
        elif isinstance(value, BaseModel):
            update[name] = relocated(value, change, f"{prefix}{name}.")
    return section.model_copy(update=update)
