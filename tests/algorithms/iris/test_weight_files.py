"""Files of weights: both formats, and what is said of others."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rlsys.algorithms.iris.weight_files import check_fits, read_tensors
from rlsys.errors import ConfigError


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        read_tensors(path, f"iris.tokenizer.initial = '{path}'")
    assert "\n" not in str(raised.value)
    assert f"iris.tokenizer.initial = '{path}'" in str(raised.value)
    return str(raised.value)


def test_both_formats_are_read(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.rand(2, 3), "b": torch.arange(4)}
    torch.save(tensors, tmp_path / "weights.pt")
    save_file(tensors, tmp_path / "weights.safetensors")
    for name in ("weights.pt", "weights.safetensors"):
        found = read_tensors(tmp_path / name, "here")
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
