"""Places that cannot be written are refused by the option that names them, before anything is done."""

from pathlib import Path

import pytest

from rlsys import config
from rlsys.errors import ConfigError
from rlsys.files.outputs import check_outputs
from rlsys.runs import folder as run_folder

NOWHERE = ["file/x", "file/x/y", "n" * 300, "a\0b", "/proc/x", "/proc/self/x/y"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a file in it."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("kept", encoding="utf-8")


@pytest.mark.parametrize("place", NOWHERE)
def test_a_place_that_cannot_be_written_is_refused(place: str) -> None:
    for files, folders in (({"--gif": Path(place)}, {}), ({}, {"--record": Path(place)})):
        with pytest.raises(
            ConfigError, match=r"^--(gif|record) = .* cannot be written: .*\. Choose another place\.$"
        ) as error:
            check_outputs(files, folders)
        assert "\n" not in str(error.value)


def test_a_folder_is_no_file_and_a_file_no_folder() -> None:
    with pytest.raises(ConfigError, match="it is a folder"):
        check_outputs({"--plot": Path()}, {})
    with pytest.raises(ConfigError, match="File exists"):
        check_outputs({}, {"--record": Path("file")})


def test_what_can_be_written_is_left_as_it_was() -> None:
    check_outputs({"--gif": Path("new/a.gif"), "--plot": Path("file"), "--video": None}, {"--record": Path("films")})
    assert list(Path("new").iterdir()) == list(Path("films").iterdir()) == []
    assert Path("file").read_text(encoding="utf-8") == "kept"


@pytest.mark.parametrize("directory", ["file", "file/x", "n" * 300, "/proc/x"])
def test_a_run_that_cannot_have_a_folder_is_refused(directory: str) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        run_folder.create(config.load("ppo-cartpole", overrides=[f"run.directory={directory}"]))


def test_a_run_whose_name_is_too_long_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        run_folder.create(config.load("ppo-cartpole", overrides=[f"run.run_tag={'n' * 300}"]))
