"""Files of weights: both formats, the errors, and a pretrained tokenizer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from rlsys.algorithms.iris.tokenizer.config import TokenizerConfig
from rlsys.algorithms.iris.tokenizer.files import check_fits, load_pretrained, read_tensors
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


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        read_tensors(Location(str(path)), "iris.tokenizer.initial")
    assert "\n" not in str(raised.value)
    assert f"iris.tokenizer.initial = '{path}'" in str(raised.value)
    return str(raised.value)


def test_both_formats_are_read(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.rand(2, 3), "b": torch.arange(4)}
    torch.save(tensors, tmp_path / "weights.pt")
    save_file(tensors, tmp_path / "weights.safetensors")
    for name in ("weights.pt", "weights.safetensors"):
        found = read_tensors(Location(str(tmp_path / name)), "here")
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[key], tensors[key]) for key in tensors)


def test_files_that_are_none_of_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refused(tmp_path / "nowhere.pt")
    assert "No such file" in refused(tmp_path / "nowhere.safetensors")
    for name in ("text.pt", "text.safetensors"):
        (tmp_path / name).write_text("not weights", encoding="utf-8")
        assert "is no file of weights" in refused(tmp_path / name)
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    assert "holds list; it must hold name -> tensor" in refused(tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "more.pt")
    assert "it must hold name -> tensor" in refused(tmp_path / "more.pt")


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    torch.save(Path("anything"), tmp_path / "code.pt")
    assert "is no file of weights" in refused(tmp_path / "code.pt")


def test_what_does_not_fit_is_named() -> None:
    tensors = {"a": torch.zeros(2), "b": torch.zeros(3, 1), **{f"more{index}": torch.zeros(1) for index in range(6)}}
    with pytest.raises(ConfigError) as raised:
        check_fits(tensors, {"a": (2,), "b": (1, 3), "c": (1,)}, "here = 'file'", "Do this.")
    assert str(raised.value) == (
        "here = 'file' does not fit: it lacks c; it has unknown more0, more1, more2, more3 and 2 more; b is [3, 1] "
        "rather than [1, 3]. Do this."
    )
    check_fits({"a": torch.zeros(2)}, {"a": (2,)}, "here = 'file'", "Do this.")


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
