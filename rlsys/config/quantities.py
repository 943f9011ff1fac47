"""What a setting can be: every number has bounds, and every text can be a file's or a process's.

A number without an upper bound is a wish for more memory or time than there is; those here are far above what anybody
has used, and far below what overflows. Fields narrow them with `Field(ge=…)`.
"""

from numbers import Integral, Real
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, Strict
from pydantic_core import PydanticCustomError


def _integer(value: Any) -> int:
    """Takes integers, and other numbers that are one exactly, such as 2e5; true is none."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise PydanticCustomError("integer", "Input should be a valid integer")


def _number(value: Any) -> float:
    """Takes numbers; true is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise PydanticCustomError("number", "Input should be a valid number")
    try:
        return float(value)
    except OverflowError:
        raise PydanticCustomError("number", "Input should be a finite number") from None


def _text(value: Any) -> Any:
    """Refuses what no file, process or terminal can be given: NUL, and bytes that were not UTF-8."""
    if isinstance(value, str) and "\0" in value:
        raise PydanticCustomError("text", "Input should be a text without NUL characters")
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise PydanticCustomError("text", "Input should be valid UTF-8")
    return value


def _not_all(value: int) -> int:
    """Refuses to hold out every episode."""
    if value == 1:
        raise ValueError("it must be 0 or at least 2: something has to be learned from")
    return value


def _vector(value: Any) -> Any:
    """Takes a number for a vector of one."""
    if isinstance(value, Real) and not isinstance(value, bool):
        return (value,)
    if isinstance(value, list | tuple):
        return value
    raise PydanticCustomError("numbers", "Input should be a number or a list of numbers")


Flag = Annotated[bool, Strict()]
"""true or false, and nothing that may count as one of them."""
Text = Annotated[str, Field(max_length=4_096), BeforeValidator(_text)]
"""A name, a tag, a path or a URI, verbatim; Linux has no longer paths."""

_Integer = Annotated[int, BeforeValidator(_integer)]
_Number = Annotated[float, BeforeValidator(_number)]

Seed = Annotated[_Integer, Field(ge=0, le=2**31 - 1)]
"""Seeds of simulators are 31 bits wide."""
Level = Annotated[_Integer, Field(ge=0, le=2**31 - 1)]
"""Levels are seeds, too."""
Count = Annotated[_Integer, Field(ge=1, le=1_000_000)]
"""Things of which there are several at once, or one after the other: games, unrolls, batches, steps of a search."""
Workers = Annotated[_Integer, Field(ge=1, le=100_000)]
"""Processes, or environments of one of them; docs/scaling.md ends at 10,000."""
Threads = Annotated[_Integer, Field(ge=1, le=1_024)]
"""Threads of one process."""
Cores = Annotated[_Number, Field(ge=0.0, le=1_024.0)]
"""Shares of a machine's cores or GPUs."""
Steps = Annotated[_Integer, Field(ge=0, le=10**12)]
"""Learner steps or decisions: a year of a million a second is 3e13, and nobody has that."""
Items = Annotated[_Integer, Field(ge=1, le=10**12)]
"""What replay keeps; whether it fits is checked against the machines."""
Bytes = Annotated[_Integer, Field(ge=1, le=10**15)]
"""Memory; the machines that are sold end at some 10^13."""
Units = Annotated[_Integer, Field(ge=1, le=16_384)]
"""Units or channels of a layer: the square of more are weights that no machine holds."""
Layers = Annotated[_Integer, Field(ge=0, le=100)]
"""Layers, or how often something is halved."""
Pixels = Annotated[_Integer, Field(ge=1, le=1_024)]
"""Height or width of a frame; simulators draw at most 512."""
Repeats = Annotated[_Integer, Field(ge=1, le=1_000)]
"""How often one action or observation is repeated or kept."""
HeldOutEvery = Annotated[_Integer, Field(ge=0, le=1_000_000), AfterValidator(_not_all)]
"""One of so many episodes is not learned from; 0 for none."""
Index = Annotated[_Integer, Field(ge=0, le=1_000_000)]
"""Which of several things, from 0."""
Atom = Annotated[_Integer, Field(ge=-10_000, le=10_000)]
"""First or last of the atoms of a distribution."""

Number = Annotated[_Number, Field(ge=-1e30, le=1e30)]
"""Any number that fits in 32 bits with room to compute."""
Numbers = Annotated[tuple[Number, ...], Field(min_length=1, max_length=1_000), BeforeValidator(_vector)]
"""A vector; a number by itself is one of length 1."""
Probability = Annotated[_Number, Field(ge=0.0, le=1.0)]
"""A share, a chance or a discount."""
Rate = Annotated[_Number, Field(ge=0.0, le=100.0)]
"""A learning rate or a decay; Adafactor's reach 1.5."""
Weight = Annotated[_Number, Field(ge=0.0, le=1e6)]
"""Of a loss, or a bound on a ratio or exponent."""
Norm = Annotated[_Number, Field(gt=0.0, le=1e9)]
"""Largest norm of a gradient."""
Temperature = Annotated[_Number, Field(ge=0.0, le=1_000.0)]
"""Of a choice; at 1,000 all is equal."""
Seconds = Annotated[_Number, Field(ge=0.0, le=1e7)]
"""Up to four months, which clocks and sleeps can count."""
Minutes = Annotated[_Number, Field(gt=0.0, le=1e7)]
"""Up to 19 years."""
