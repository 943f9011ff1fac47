"""A tokenizer that others have trained, from a file of its weights."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from rlsys.algorithms.iris.weight_files import check_fits, read_tensors
from rlsys.config.location import Location


def load_pretrained(tokenizer: nn.Module, location: Location, setting: str = "iris.tokenizer.initial") -> None:
    """Begins a tokenizer as another one of its sizes was saved: by its `state_dict`, or within that of a whole agent.

    What the codebook counts is not needed, and a learner's critic is another module.

    Args:
      tokenizer: a `Tokenizer`.
      location: of the file.
      setting: that names it, for the error.

    Raises:
      ConfigError: the file cannot be read, or its tokenizer has other sizes.
    """
    named = f"{setting} = '{location}'"
    tensors = _below(read_tensors(Path(location.reveal(setting)), named), "quantizer.codes")
    counted = {"quantizer.size", "quantizer.idle"}
    state = tokenizer.state_dict()
    expected = {name: tensor.shape for name, tensor in state.items() if name not in counted or name in tensors}
    check_fits(
        tensors,
        expected,
        named,
        "Set the sizes of iris.tokenizer to those it was trained with.",
    )
    tokenizer.load_state_dict({**state, **tensors})


def _below(tensors: Mapping[str, Tensor], known: str) -> dict[str, Tensor]:
    """Returns what lies beside a known tensor, whatever their names begin with."""
    found = next((name for name in tensors if f".{name}".endswith(f".{known}")), known)
    prefix = found.removesuffix(known)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
