"""Blocks of a GPT-2 that was trained on text, from a folder as Hugging Face writes it.

Radford et al. 2019. Blocks and the last layer norm are taken; embeddings and heads are of other tokens. Dense layers
lie there the other way round (as `Conv1D`), inputs first.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlsys.algorithms.iris.weight_files import check_fits, read_tensors
from rlsys.algorithms.iris.world_models.transformer import Trunk
from rlsys.errors import ConfigError

_FILES = ("model.safetensors", "pytorch_model.bin")
_PREFIX = "transformer."
_TRANSPOSED = (".attn.c_attn.weight", ".attn.c_proj.weight", ".mlp.c_fc.weight", ".mlp.c_proj.weight")


@torch.no_grad()
def load_gpt2(trunk: Trunk, folder: str | Path) -> None:
    """Overwrites all blocks and the last layer norm; what the folder has besides is not looked at.

    Args:
      trunk: with as many heads and as wide as what is in the folder, and no more blocks.
      folder: with model.safetensors or pytorch_model.bin, or parts of one of them and their index; config.json says how
        many heads there are.

    Raises:
      ConfigError: there is no such thing, or it does not fit.
    """
    path = Path(folder)
    _check_heads(trunk, path)
    found = {name.removeprefix(_PREFIX): tensor for name, tensor in _read(path).items()}
    found = {name: tensor.t() if name.endswith(_TRANSPOSED) else tensor for name, tensor in found.items()}
    expected = {name: tensor for name, tensor in trunk.state_dict().items() if name.startswith(("h.", "ln_f."))}
    found = {name: tensor for name, tensor in found.items() if name in expected}
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    check_fits(found, shapes, f"the GPT-2 in '{path}'", "Choose layers and width as they are there.")
    for name, tensor in expected.items():
        tensor.copy_(found[name])


def _read(folder: Path) -> Mapping[str, Tensor]:
    for name in _FILES:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            parts = [name]
        elif index.is_file():
            parts = sorted(set(_read_json(index).get("weight_map", {}).values()))
        else:
            continue
        return {
            name: tensor for part in parts for name, tensor in read_tensors(folder / part, f"'{folder / part}'").items()
        }
    raise ConfigError(
        f"'{folder}' has no {' or '.join(_FILES)}; pretrained blocks are read from there. Copy a GPT-2 into it, as "
        "Hugging Face saves one."
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"'{path}' cannot be read: {error}. Copy it again.") from None
    return read if isinstance(read, dict) else {}


def _check_heads(trunk: Trunk, folder: Path) -> None:
    """Heads show in no shape."""
    path = folder / "config.json"
    heads = _read_json(path).get("n_head") if path.is_file() else None
    if heads is not None and heads != trunk.heads:
        raise ConfigError(f"heads = {trunk.heads}, and '{folder}' has a GPT-2 of {heads}. Choose as many.")
