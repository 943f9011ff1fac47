"""What latents know of a state, on latents of which that is known."""

from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from rlsys.commands.latents import correlation, explained, read_moments, show_latents
from rlsys.errors import ConfigError

N = 4_000


def known(seed: int = 0) -> dict[str, Any]:
    """A position that a latent is, one that two latents make up, a velocity of which half is noise, and a constant."""
    rng = np.random.default_rng(seed)
    sample, belief = rng.normal(size=(N, 3)), rng.normal(size=(N, 5))
    return {
        "sample": sample.astype(np.float32),
        "belief": belief.astype(np.float32),
        "position": np.stack([-2.0 * sample[:, 1] + 3.0, sample[:, 0] + belief[:, 4]], axis=1),
        "velocity": belief[:, 2] + rng.normal(size=N),
        "mass": np.full(N, 5.0),
    }


def save(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_correlations_and_r_squared_are_those_that_the_latents_were_made_with(tmp_path: Path) -> None:
    moments = read_moments(save(tmp_path / "a.npz", **known()))
    assert list(moments.latents) == ["sample", "belief"]
    assert list(moments.state) == ["position[0]", "position[1]", "velocity", "mass"]
    expected = np.zeros((4, 8))
    expected[0, 1], expected[1, 0], expected[1, 7], expected[2, 5] = 1.0, np.sqrt(0.5), np.sqrt(0.5), np.sqrt(0.5)
    found = np.concatenate([correlation(latents, moments.state) for latents in moments.latents.values()], axis=1)
    assert np.abs(found - expected).max() < 0.06
    together = np.concatenate(list(moments.latents.values()), axis=1)
    for shares in explained(together, moments.state):
        assert shares[:3] == pytest.approx([1.0, 1.0, 0.5], abs=0.06)
        assert np.isnan(shares[3])


def test_correlations_are_numpys(tmp_path: Path) -> None:
    moments = read_moments(save(tmp_path / "a.npz", **{**known(), "mass": np.arange(N) ** 2}))
    for latents in moments.latents.values():
        for row, component in zip(correlation(latents, moments.state), moments.state.values(), strict=True):
            for value, latent in zip(row, latents.T, strict=True):
                assert value == pytest.approx(abs(np.corrcoef(latent, component)[0, 1]), abs=1e-9)


def test_what_is_only_learned_by_heart_does_not_hold_later() -> None:
    rng = np.random.default_rng(3)
    fitted, held_out = explained(rng.normal(size=(100, 60)), {"noise": rng.normal(size=100)})
    assert fitted[0] > 0.5 and held_out[0] < 0.0


def test_a_latent_that_never_changes_goes_with_nothing() -> None:
    latents = np.stack([np.full(50, 0.1), np.arange(50.0)], axis=1)
    found = correlation(latents, {"position": np.arange(50.0), "mass": np.full(50, 0.3)})
    assert found == pytest.approx(np.array([[0.0, 1.0], [0.0, 0.0]]))


def test_the_table_and_the_picture_name_every_component(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "a.npz", **known())
    assert show_latents(path, None) == str(tmp_path / "a.png")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"# {path}: 4,000 moments"
    assert [line.split()[0] for line in lines[2:6]] == ["position[0]", "position[1]", "velocity", "mass"]
    assert lines[2].split()[1:] == ["sample[1]", "1.00", "1.000", "1.000"]
    assert lines[5].split()[1:] == ["none", "constant", "constant"]
    assert iio.imread(tmp_path / "a.png").std() > 20


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"belief": np.zeros((9, 2))}, r"holds belief; it must hold sample or belief, and something of the state"),
        ({"position": np.zeros((9, 2))}, r"holds position; it must hold sample or belief"),
        (
            {"sample": np.zeros((90, 2)), "position": np.zeros(80)},
            r"holds arrays of different lengths: sample 90, position 80",
        ),
        (
            {"sample": np.zeros((9, 20)), "position": np.zeros(9)},
            r"holds 9 moments; so many latents explain anything at fewer than 28\. Collect more",
        ),
        ({"sample": np.zeros((9, 2)), "position": np.full(9, np.nan)}, r"position is a single number, or holds some"),
        ({"sample": np.zeros((9, 2)), "position": np.array(3.0)}, r"position is a single number, or holds some"),
        ({"sample": np.zeros((9, 2)), "position": np.array(["a"] * 9)}, r"cannot be read as \.npz: could not convert"),
        (
            {"sample": np.zeros((9, 2)), "position": np.array([{}] * 9)},
            r"cannot be read as \.npz: Object arrays cannot",
        ),
        ({}, r"holds nothing; it must hold sample"),
    ],
)
def test_what_a_file_lacks_is_one_line(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "a.npz", **arrays)
    with pytest.raises(ConfigError, match=message):
        show_latents(path, None)
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_archive_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.npz cannot be read as \.npz: "):
        show_latents(path, None)


def test_one_array_without_a_name_and_a_cut_archive_are_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(ConfigError, match="it holds one array without a name"):
        show_latents(tmp_path / "a.npy", None)
    whole = save(tmp_path / "whole.npz", **known()).read_bytes()
    (tmp_path / "b.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"b\.npz cannot be read as \.npz: "):
        show_latents(tmp_path / "b.npz", None)
    (tmp_path / "c.npz").write_bytes(whole[:500] + bytes(200) + whole[700:])
    with pytest.raises(ConfigError, match=r"c\.npz cannot be read as \.npz: "):
        show_latents(tmp_path / "c.npz", None)


def test_a_picture_of_another_kind_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--output a\.gif; its name must end in \.png or "):
        show_latents(tmp_path / "nowhere.npz", Path("a.gif"))
