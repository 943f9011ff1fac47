"""`rlsys eval`, `play` and `export`: what they hand over, and that they find what was trained."""

from pathlib import Path
from typing import Any

import pytest
from support.command_line import Invoke

from rlsys.commands import play as play_module
from rlsys.commands.play import PlayOptions
from rlsys.evaluation import run as evaluation_module
from rlsys.evaluation.options import EvaluationOptions


def test_eval_hands_over_every_option(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[EvaluationOptions] = []

    def evaluate(options: EvaluationOptions) -> int:
        asked.append(options)
        return 0

    monkeypatch.setattr(evaluation_module, "evaluate_run", evaluate)
    assert invoke("eval", "r")[0] == 0
    arguments = (
        "--episodes 3 --temperature 0 --temperature 0.5 --seed 4 --checkpoint best --checkpoint 20 "
        "checking.length=9 another/lr=1 env.sticky_actions=2 --gif a.gif --video a.mp4 --plot-summary a.png "
        "--save-mcts trees --save-mcts-after-step 5 --watch-row 1 --watch-episode 2 --render --sleep 0.5 --smooth 3 "
        "--no-policy --no-bounds --detailed-label third "
        "--parallel 2 --noops 0 --noops 8 --max-steps 70 --agent random --all-checkpoints --films 4 --film-folder f"
    )
    assert invoke("eval", "r", *arguments.split())[0] == 0
    assert asked == [
        EvaluationOptions(run="r"),
        EvaluationOptions(
            run="r",
            others=("another/lr=1", "third"),
            episodes=3,
            temperatures=(0.0, 0.5),
            seed=4,
            checkpoints=("best", "20"),
            overrides=("checking.length=9", "env.sticky_actions=2"),
            watch_row=1,
            watch_episode=2,
            render=True,
            sleep=0.5,
            gif=Path("a.gif"),
            video=Path("a.mp4"),
            plot=Path("a.png"),
            smooth=3,
            policy=False,
            bounds=False,
            detailed_labels=True,
            save_mcts=Path("trees"),
            save_mcts_after_step=5,
            parallel=2,
            noops=(0, 8),
            max_steps=70,
            agent="random",
            all_checkpoints=True,
            films=4,
            film_folder=Path("f"),
        ),
    ]


def test_a_run_is_launched_resumed_evaluated_and_played(invoke: Invoke) -> None:
    status, out, err = invoke("launch", "counting", "--inline", "run.run_tag=a")
    assert (status, err) == (0, "")
    assert "12 learner steps are done" in out
    status, out, _ = invoke("launch", "--resume", "counting/a", "--inline", "run.training_steps=18")
    assert status == 0
    assert "18 learner steps are done" in out
    status, out, _ = invoke("eval", "counting/a", "--episodes", "3")
    assert status == 0
    assert "learner step 18" in out
    status, out, _ = invoke("play", "counting", "--seed", "5", "env.max_episode_steps=3")
    assert status == 0
    assert invoke("export", "counting", "--to", "given.zip", "--half")[0] == 0
    assert "learner step 18" in invoke("eval", "given.zip", "--episodes", "1")[1]
    assert invoke("eval", "gopher://host/given.zip")[0] == 2
    assert invoke("export", "counting", "--to", "page", "--format", "web")[0] == 2, "nothing to dream"
    assert invoke("export", "counting", "--to", "page", "--format", "web", "--half")[0] == 2
    assert out.startswith("rlsys/Counting-v0 at learner step 18, seed 5, env.max_episode_steps=3: return ")
    assert (Path("runs") / "counting" / "a" / "media" / "play.mp4").stat().st_size > 0
    assert invoke("launch", "counting", "--inline", "run.run_tag=a")[0] == 2
    assert invoke("eval", "nowhere")[0] == 2


def test_play_hands_over_every_option(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[PlayOptions] = []

    def play(options: PlayOptions) -> str:
        asked.append(options)
        return "played"

    monkeypatch.setattr(play_module, "play_run", play)
    assert invoke("play", "r")[:2] == (0, "played\n")
    arguments = (
        "--checkpoint best --seed 4 --watch --web --port 8000 --fps 12.5 --film a.gif --record kept --no-real --zoom 6 "
        "--episode-steps 99 env.sticky_actions=2"
    )
    assert invoke("play", "r", *arguments.split())[0] == 0
    assert asked == [
        PlayOptions("r"),
        PlayOptions(
            "r",
            checkpoint="best",
            seed=4,
            watch=True,
            web=True,
            port=8_000,
            fps=12.5,
            film=Path("a.gif"),
            record=Path("kept"),
            no_real=True,
            zoom=6.0,
            episode_steps=99,
            overrides=("env.sticky_actions=2",),
        ),
    ]
    assert invoke("play", "r", "--zoom", "0")[0] == 2


def test_what_cannot_be_played_is_answered_by_one_line(invoke: Invoke) -> None:
    invoke("launch", "counting", "--inline", "run.run_tag=a")
    status, out, err = invoke("play", "counting/a", "--no-real")
    assert (status, out) == (2, "")
    assert err == (
        "error: --no-real with algorithm = checking, which has no world model; it is for playing in a world model, or "
        "with --no-model. Leave it out.\n"
    )


def test_a_closed_window_ends_the_episode_but_not_the_film(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []

    class ClosedAfterThree:
        def __init__(self, title: str, fps: float) -> None: ...

        def __enter__(self) -> "ClosedAfterThree":
            return self

        def __exit__(self, *error: object) -> None: ...

        def show(self, frame: Any) -> None:
            shown.append(frame)
            if len(shown) == 3:
                raise play_module.WindowClosed

    monkeypatch.setattr(play_module, "has_screen", lambda: True)
    monkeypatch.setattr(play_module, "Window", ClosedAfterThree)
    invoke("launch", "counting", "--inline", "run.run_tag=a")
    status, out, _ = invoke("play", "counting/a", "--film", "film.gif")
    assert (status, len(shown)) == (0, 3)
    assert "the window was closed. The film so far: film.gif" in out
    assert Path("film.gif").stat().st_size > 0
