"""`rlsys elo`: a real run's checkpoints against each other and against scripted opponents."""

import json
import shutil
from pathlib import Path

import pytest

from rlsys import config as experiments
from rlsys.errors import ConfigError, RlsysError
from rlsys.evaluation.matches.tournament import EloOptions, rate_runs
from rlsys.runtime.launch.launch import launch

RUN = "muzero-tictactoe/one"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    settings = ["debug=true", f"run.directory={folder}", "run.run_tag=one", "run.video=false", "run.tensorboard=false"]
    settings += ["run.wandb=disabled", "run.checkpoint_every_learner_steps=10", "run.keep_checkpoints=5"]
    assert launch(experiments.load("muzero-tictactoe", overrides=settings), inline=True, resume=None, overrides=()) == 0
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(trained, tmp_path / "runs"))


def test_all_play_against_all_and_are_rated(runs: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = rate_runs(EloOptions((RUN,), runs, most=2, against=("random", "one_ply"), games=4))
    folder = Path(runs) / RUN
    assert said == f"Kept in {folder / 'elo.json'} and {folder / 'elo.png'}."
    kept = json.loads((folder / "elo.json").read_text())
    names = {row["player"] for row in kept["players"]}
    assert {"random", "one_ply"} < names and len(names) == 4
    assert [row["elo"] for row in kept["players"]] == sorted((row["elo"] for row in kept["players"]), reverse=True)
    by_name = {row["player"]: row for row in kept["players"]}
    assert by_name["random"]["elo"] == 0.0 and by_name["random"]["interval"] == [0.0, 0.0]
    pairs = [(match["first"], match["second"]) for match in kept["matches"]]
    assert len(pairs) == 5, "scripted opponents do not play against each other"
    assert all(len(match["scores"]) == 4 for match in kept["matches"])
    shown = capsys.readouterr().out
    assert "# Elo in openspiel/tic_tac_toe, 4 games of each pair" in shown and " of 4\n" in shown
    assert (folder / "elo.png").stat().st_size > 1_000


def test_settings_and_the_picture_may_be_others(runs: str, tmp_path: Path) -> None:
    options = EloOptions((RUN,), runs, ("muzero.num_simulations=2",), ("latest",), games=2, plot=tmp_path / "a.svg")
    assert str(tmp_path / "a.svg") in rate_runs(options)
    assert "<svg" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"games": 3}, "games = 3; .*even"),
        ({"most": 0}, "most = 0"),
        ({"plot": Path("a.gif")}, "its name must end in"),
        ({"against": ("one_play",)}, "has random, one_ply, mcts. Choose among these.*Did you mean 'one_ply'"),
        ({"against": ("self",)}, "against = self"),
        ({"against": (), "checkpoints": ("latest",)}, "nobody to play against"),
        ({"runs": ("nothing",)}, "nothing"),
        ({"checkpoints": ("123456",)}, "123456"),
    ],
)
def test_what_cannot_be_is_one_line(runs: str, changes: dict[str, object], said: str) -> None:
    options = {"runs": (RUN,), "directory": runs, "games": 2, **changes}
    with pytest.raises(RlsysError, match=said) as raised:
        rate_runs(EloOptions(**options))  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_a_game_for_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["debug=true", "run.run_tag=one", "run.video=false", "run.tensorboard=false", "run.wandb=disabled"]
    assert launch(experiments.load("muzero-cartpole", overrides=settings), inline=True, resume=None, overrides=()) == 0
    with pytest.raises(ConfigError, match="'CartPole-v1' is played by one"):
        rate_runs(EloOptions(("muzero-cartpole/one",), against=()))
