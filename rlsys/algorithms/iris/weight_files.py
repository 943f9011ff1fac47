"""Files of weights that others have trained, of torch or safetensors, and whether they fit."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from rlsys.errors import ConfigError

_SHOWN = 200
_NAMED = 4
"""Tensors that an error names, of each kind."""


def read_tensors(path: Path, named: str) -> dict[str, Tensor]:
    """Returns name -> tensor of a file, on the CPU. Of a torch file nothing but tensors is loaded, and no code is run.

    Args:
      path: of the file.
      named: what it is called in errors: "iris.tokenizer.initial = 'file'".

    Raises:
      ConfigError: it cannot be read, or holds something else.
    """
    try:
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(
            f"{named} cannot be read: {error.strerror or error}. Name a file of weights that the learner's machine has."
        ) from None
    except Exception as error:  # noqa: BLE001 - the formats' own libraries say in many types what is wrong with a file
        raise ConfigError(
            f"{named} is no file of weights: {' '.join(str(error).split())[:_SHOWN]}. It must be of torch.save or "
            "safetensors."
        ) from None
    if not isinstance(found, Mapping) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise ConfigError(f"{named} holds {type(found).__name__}; it must hold name -> tensor.")
    return {str(name): tensor for name, tensor in found.items()}


def check_fits(tensors: Mapping[str, Tensor], expected: Mapping[str, Iterable[int]], file: str, remedy: str) -> None:
    """Refuses tensors of other names or shapes.

    Args:
      tensors: as they were read.
      expected: name -> shape.
      file: setting and path, for the error.
      remedy: what to do.

    Raises:
      ConfigError: it says what is missing, what is there beside, and which shapes differ.
    """
    differing = [
        f"{name} is {list(tensors[name].shape)} rather than {list(shape)}"
        for name, shape in expected.items()
        if name in tensors and tensors[name].shape != torch.Size(shape)
    ]
    faults = [
        _some("it lacks", [name for name in expected if name not in tensors]),
        _some("it has unknown", [name for name in tensors if name not in expected]),
        _some("", differing),
    ]
    if any(faults):
        raise ConfigError(f"{file} does not fit: {'; '.join(filter(None, faults))}. {remedy}")


def _some(what: str, names: list[str]) -> str:
    """Returns the first of some names, and how many more there are; "" of none."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{what} {', '.join(names[:_NAMED])}{more}".strip() if names else ""
