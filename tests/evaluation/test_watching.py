"""What is seen of one episode of one row: films, a window, search trees; whichever it is, and whoever plays it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from support.games import COUNTING, ZeroPolicy, evaluation_of, making_runs, played_alone

from rlsys.api import Decision
from rlsys.errors import ConfigError
from rlsys.evaluation import watching
from rlsys.evaluation.episodes import play_episodes
from rlsys.evaluation.options import EvaluationOptions
from rlsys.evaluation.run import evaluate_run
from rlsys.evaluation.watching import Rendering
from rlsys.types import Array
from rlsys.viewer.screen import WindowClosed

MakeRun = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    return making_runs(tmp_path, monkeypatch)


@pytest.mark.parametrize("parallel", [1, 2])
def test_films_and_trees_are_of_the_episode_and_row_that_are_asked_for(
    run: MakeRun, tmp_path: Path, parallel: int
) -> None:
    folder, film, trees = run("searching"), tmp_path / "a.mp4", tmp_path / "trees"
    options = EvaluationOptions(
        str(folder),
        temperatures=(0.0, 1.0),
        episodes=4,
        watch_row=1,
        watch_episode=2,
        video=film,
        save_mcts=trees,
        save_mcts_after_step=3,
        parallel=parallel,
    )
    evaluate_run(options)
    lengths = [played_alone(COUNTING, seed)[1] for seed in (5, 6, 7, 8)]
    assert len(set(lengths)) == 4, "the games must differ in length for this to say something"
    assert [row["lengths"] for row in evaluation_of(folder)["results"]] == [lengths, lengths]
    assert len(iio.imread(film, plugin="FFMPEG")) == lengths[2] + 1
    assert [path.name for path in sorted(trees.iterdir())] == [f"{step:06d}.png" for step in range(3, lengths[2])]


def test_the_leader_is_in_the_first_row_until_it_ends() -> None:
    rows: list[list[int]] = []

    def tell(episodes: Sequence[Any], decision: Decision) -> None:
        rows.append([episode.index for episode in episodes])

    statistics = play_episodes(ZeroPolicy(), COUNTING, 5, 5, leader=3, max_environments=3, on_decision=[tell])
    lengths = [played_alone(COUNTING, 5 + index)[1] for index in range(5)]
    assert statistics.lengths.tolist() == lengths
    assert [row[0] for row in rows[: lengths[3]]] == [3] * lengths[3]
    assert all(3 not in row for row in rows[lengths[3] :])


class Screen:
    """A window that keeps what it is shown; closed by the user after `closes_after` pictures."""

    shown: list[Array]
    made: list[tuple[str, float]]
    closed: int
    closes_after: int

    def __init__(self, title: str, fps: float) -> None:
        self.made.append((title, fps))

    def __exit__(self, *error: object) -> None:
        type(self).closed += 1

    def show(self, picture: Array) -> None:
        if len(self.shown) == self.closes_after:
            raise WindowClosed
        self.shown.append(picture)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Screen]]:
    Screen.shown, Screen.made, Screen.closed, Screen.closes_after = [], [], 0, -1
    monkeypatch.setattr(watching, "Window", Screen)
    monkeypatch.setattr("rlsys.evaluation.options.has_screen", lambda: True)
    yield Screen


def test_an_episode_of_each_row_is_shown_in_one_window_whatever_limits_films_have(
    run: MakeRun, screen: type[Screen]
) -> None:
    folder = run("searching")
    options = EvaluationOptions(
        str(folder), temperatures=(0.0, 1.0), episodes=3, watch_episode=1, render=True, sleep=0.25
    )
    evaluate_run(options)
    assert len(screen.shown) == 2 * (played_alone(COUNTING, 6)[1] + 1)
    assert screen.made == [(f"rlsys eval {folder}", 4.0)]
    assert screen.closed == 1


def test_a_window_that_the_user_closes_stays_closed_and_the_games_go_on(run: MakeRun, screen: type[Screen]) -> None:
    screen.closes_after = 4
    folder = run("checking")
    evaluate_run(EvaluationOptions(str(folder), episodes=2, checkpoints=("10", "20"), render=True))
    assert len(screen.shown) == 4
    assert [row["episodes"] for row in evaluation_of(folder)["results"]] == [2, 2]


def test_a_window_that_fails_ends_no_game(
    run: MakeRun, screen: type[Screen], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(screen, "show", lambda self, picture: 1 / 0)
    folder = run("checking")
    evaluate_run(EvaluationOptions(str(folder), episodes=2, checkpoints=("10", "20"), render=True))
    assert [row["episodes"] for row in evaluation_of(folder)["results"]] == [2, 2]
    assert capsys.readouterr().out.count("nothing more is shown: division by zero.\n") == 1


def test_without_sleep_a_window_waits_for_nothing(screen: type[Screen]) -> None:
    with Rendering("a", 0.0) as rendering:
        rendering(np.zeros((8, 8, 3), np.uint8), 0.0)
    assert screen.made == [("a", 0.0)] and len(screen.shown) == 1


def test_a_real_window_shows_an_episode(run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("DISPLAY", ":0")
    folder = run("checking")
    evaluate_run(EvaluationOptions(str(folder), episodes=1, render=True))
    assert evaluation_of(folder)["results"][0]["lengths"] == [played_alone(COUNTING, 5)[1]]


def test_a_display_that_does_not_answer_is_one_line(run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "none-such")
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(ConfigError, match=r"no window can be opened: .*none-such"):
        evaluate_run(EvaluationOptions(str(run("checking")), episodes=1, render=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"render": True}, r"render, but there is no screen\. Film it with gif or video"),
        ({"sleep": 0.1}, r"sleep = 0\.1 without render; "),
        ({"render": True, "sleep": -1.0}, r"sleep = -1\.0; they must be at least 1, 0, and from 0 to 60 seconds\."),
        ({"smooth": 0}, r"smooth = 0, "),
        ({"save_mcts_after_step": 3}, r"save_mcts_after_step = 3 without save_mcts; "),
        ({"watch_episode": 10}, r"watch_episode = 10 with episodes = 10; it must be one of these, from 0\."),
    ],
)
def test_what_cannot_be_watched_is_refused(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr("rlsys.evaluation.options.has_screen", lambda: False)
    with pytest.raises(ConfigError, match=message):
        evaluate_run(EvaluationOptions(str(run("searching")), **changes))
