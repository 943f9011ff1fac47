"""Several games of one experiment, each of which has runs of its own."""

import re
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest
from support.runs import leave_undone, steps

from rlsys import config
from rlsys.commands import several
from rlsys.commands.several import launch_several
from rlsys.errors import ConfigError, EnvError
from rlsys.runs import folder as run_folder

TWO = "run.num_runs=2"
GAMES = "run.games=[rlsys/Counting-v0, rlsys/Counting-v1]"


@pytest.fixture
def second_game() -> Iterator[None]:
    """Another game, which is the same by another name."""
    gymnasium.register("rlsys/Counting-v1", "rlsys.testing.environments:CountingEnv")
    yield
    del gymnasium.registry["rlsys/Counting-v1"]


def run(*overrides: str) -> int:
    return launch_several(config.load("counting.yaml", overrides=overrides), inline=True, resumes=True)


def runs() -> dict[str, Path]:
    return {path.name: path for path in sorted(Path("runs/counting").iterdir())}


def seeds() -> dict[str, int]:
    return {name: run_folder.load(path).experiment.run.seed for name, path in runs().items()}


def test_each_game_has_runs_of_its_own_and_each_seed_comes_to_all_games_before_the_next(
    here: Path, second_game: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(GAMES, TWO) == 0
    assert seeds() == {
        "rlsys-Counting-v0-00001": 1,
        "rlsys-Counting-v0-00002": 2,
        "rlsys-Counting-v1-00001": 1,
        "rlsys-Counting-v1-00002": 2,
    }
    for name, path in runs().items():
        experiment = run_folder.load(path).experiment
        assert experiment.env.id == name.replace("-", "/", 1).rpartition("-")[0]
        assert (experiment.run.games, experiment.run.num_runs) == ((), None), "it is one run"
        assert steps(path) == [4, 8, 12]
    out = capsys.readouterr().out
    visited = re.findall(r"^next is counting/.*-0000(\d), a new run", out, re.MULTILINE)
    assert visited == ["1", "1", "2", "2"]
    assert out.splitlines()[-1] == "counting: 4 runs: 4 trained"
    (folder, *_) = runs().values()
    command = (folder / "config.yaml").read_text().splitlines()[0]
    assert "env.id=rlsys/Counting-v0" in command and "'run.games=[]' run.num_runs=null" in command
    leave_undone(folder, 12, 16)
    assert run(GAMES, TWO) == 0
    assert steps(folder) == [4, 8, 12, 16]
    last = capsys.readouterr().out.splitlines()[-1]
    assert "counting: 4 runs: " in last and "3 complete before" in last and "1 gone on with" in last


def test_games_that_an_experiment_names_have_one_run_each_and_those_that_are_given_win(
    here: Path, second_game: None
) -> None:
    with (here / "counting.yaml").open("a") as experiment:
        experiment.write("  games: [rlsys/Counting-v1, rlsys/Counting-v1]\n")
    assert run() == 0
    assert seeds() == {"rlsys-Counting-v1-00001": 1}
    assert run("run.games=[rlsys/Counting-v0]", "run.seed=9") == 0
    assert seeds() == {"rlsys-Counting-v0-00001": 9, "rlsys-Counting-v1-00001": 1}


def test_a_suite_stands_for_its_games(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[config.Loaded] = []

    def launch(loaded: config.Loaded, **options: object) -> int:
        launched.append(loaded)
        return 0

    monkeypatch.setattr(several, "launch", launch)
    loaded = config.load("iris-atari100k", overrides=["run.num_runs=2"])
    assert launch_several(loaded, inline=True, resumes=True) == 0
    found = {(one.experiment.env.id, one.experiment.run.seed) for one in launched}
    assert len(launched) == len(found) == 2 * 26
    assert ("MsPacmanNoFrameskip-v4", 2) in found
    assert {one.experiment.run.run_tag for one in launched} >= {"MsPacmanNoFrameskip-v4-00002"}


def test_a_game_that_cannot_be_played_is_said_before_any_is_begun(here: Path, second_game: None) -> None:
    with pytest.raises(EnvError, match="no environment 'rlsys/Counting-v9'"):
        run("run.games=[rlsys/Counting-v0, rlsys/Counting-v9]")
    with pytest.raises(
        ConfigError, match=r"run\.games with env\.id = rlsys/Counting-v1; each of its runs plays one of"
    ):
        run(GAMES, TWO, "env.id=rlsys/Counting-v1")
    with pytest.raises(ConfigError, match=r"run\.games with env\.tasks; each of its runs plays one of run\.games\."):
        run(GAMES, TWO, "env.tasks=[rlsys/Counting-v1]")
    with pytest.raises(ConfigError, match="run_tag = mine with num_runs or games"):
        config.load("counting.yaml", overrides=[GAMES, "run.run_tag=mine"])
    assert not Path("runs").exists()
