"""A tokenizer that begins as another one was saved: by itself, within an agent, or of other sizes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from rlsys.algorithms.iris.tokenizer.config import TokenizerConfig
from rlsys.algorithms.iris.tokenizer.pretrained import load_pretrained
from rlsys.algorithms.iris.tokenizer.tokenizer import Tokenizer
from rlsys.config.location import Location
from rlsys.errors import ConfigError


def tokenizer(seed: int = 0, **settings: Any) -> Tokenizer:
    torch.manual_seed(seed)
    small = {
        "vocabulary_size": 8,
        "embedding_size": 4,
        "z_channels": 4,
        "channels": 4,
        "channel_multipliers": [1, 1],
        "residual_blocks": 1,
        "attention_resolutions": [],
    }
    return Tokenizer(TokenizerConfig.model_validate(small | settings), (3, 4, 4))


@pytest.mark.parametrize("prefix", ["", "tokenizer.", "agent.tokenizer."])
def test_a_tokenizer_is_found_within_an_agent(prefix: str, tmp_path: Path) -> None:
    trained, begun = tokenizer(0), tokenizer(1)
    state = {f"{prefix}{name}": tensor for name, tensor in trained.state_dict().items()}
    torch.save(state | ({"world.weight": torch.zeros(3)} if prefix else {}), tmp_path / "agent.pt")
    load_pretrained(begun, Location(str(tmp_path / "agent.pt")))
    assert all(torch.equal(tensor, begun.state_dict()[name]) for name, tensor in trained.state_dict().items())


def test_what_the_codebook_counts_is_not_needed(tmp_path: Path) -> None:
    trained, begun = tokenizer(0), tokenizer(1, codebook="ema")
    state = {
        name: tensor
        for name, tensor in trained.state_dict().items()
        if name not in ("quantizer.size", "quantizer.idle")
    }
    save_file(state, tmp_path / "tokenizer.safetensors")
    load_pretrained(begun, Location(str(tmp_path / "tokenizer.safetensors")))
    assert torch.equal(begun.quantizer.codes, trained.quantizer.codes)
    assert begun.quantizer.size.tolist() == [0.0] * 8


def test_a_tokenizer_of_other_sizes_is_refused(tmp_path: Path) -> None:
    torch.save(tokenizer(vocabulary_size=9, residual_blocks=2).state_dict(), tmp_path / "other.pt")
    with pytest.raises(ConfigError) as raised:
        load_pretrained(tokenizer(), Location(str(tmp_path / "other.pt")))
    said = str(raised.value)
    assert "iris.tokenizer.initial = " in said and "\n" not in said
    assert "quantizer.codes is [9, 4] rather than [8, 4]" in said
    assert "it has unknown encoder.layers" in said
    assert said.endswith("Set the sizes of iris.tokenizer to those it was trained with.")
    torch.save({"policy.weight": torch.zeros(1)}, tmp_path / "none.pt")
    with pytest.raises(ConfigError, match="it lacks encoder"):
        load_pretrained(tokenizer(), Location(str(tmp_path / "none.pt")))
