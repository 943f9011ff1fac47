"""`rlsys play` on a run whose checkpoint holds a world model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsys import config, registry
from rlsys.api import Algorithm
from rlsys.commands import play as play_module
from rlsys.commands.play import PlayOptions, play_run
from rlsys.errors import CheckpointError, ConfigError
from rlsys.runs import folder as run_folder
from rlsys.testing.worlds import DOTS
from rlsys.types import EpisodeRecord
from rlsys.viewer.episodes import folder_of, keep
from rlsys.viewer.screen import KeyEvent, Legend, WindowClosed

MakeRun = Callable[..., str]


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """Returns a function that writes a run's folder with one checkpoint, and returns its path."""

    def make(algorithm: Algorithm = DOTS, *overrides: str, world: bool = True) -> str:
        monkeypatch.setattr(registry, "get", lambda name: algorithm)
        file = tmp_path / "dots.yaml"
        file.write_text(
            f"algorithm: dots\nenv: {{id: rlsys/Dot-v0}}\nrun: {{directory: {tmp_path / 'runs'}, run_tag: a}}\n"
        )
        loaded = config.load(str(file), overrides=overrides)
        folder = run_folder.create(loaded)
        with run_folder.checkpoints(folder).begin(12) as draft:
            weights = {"steps": np.array([12])}
            draft.write("weights", {"version": 3, "learner_step": 12, "arrays": weights})
            if world:
                draft.write("world", {"error_after": np.array(2)})
            draft.commit({})
        return str(folder)

    return make


class ScriptedWindow:
    """Stands in for a window: gives a key with each picture, then is closed."""

    script: tuple[str, ...] = ()
    made: list[dict[str, Any]] = []  # noqa: RUF012 - what the windows of a test were made with

    def __init__(self, title: str, fps: float, legend: Legend = (), smallest_side: int = 0) -> None:
        self.made.append({"title": title, "fps": fps, "legend": legend})
        self._keys = [KeyEvent(key, is_down) for key in self.script for is_down in (True, False)]

    def __enter__(self) -> "ScriptedWindow":
        return self

    def __exit__(self, *error: object) -> None: ...

    def show(self, frame: np.ndarray, status: str = "") -> list[KeyEvent]:
        if not self._keys:
            raise WindowClosed
        keys, self._keys = self._keys[:2], self._keys[2:]
        return keys


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> type[ScriptedWindow]:
    monkeypatch.setattr(play_module, "has_screen", lambda: True)
    monkeypatch.setattr(play_module, "Window", ScriptedWindow)
    monkeypatch.setattr(ScriptedWindow, "script", ())
    monkeypatch.setattr(ScriptedWindow, "made", [])
    return ScriptedWindow


def test_a_run_is_played_in_its_world_model(make_run: MakeRun, window: type[ScriptedWindow]) -> None:
    run = make_run()
    window.script = ("d", "d", "d", "r", "s", "q")
    said = play_run(PlayOptions(run, seed=5))
    assert said == (
        f"rlsys/Dot-v0 at learner step 12, seed 5: recorded in {run}/media, as .mp4 and .npz: played-0001, played-0002"
    )
    assert window.made[0]["fps"] == 20.0
    with np.load(f"{run}/media/played-0001.npz") as arrays:
        assert arrays["model_reward"].tolist() == [1.0, 1.0, 1.5], "the saved model errs after two steps"
        assert arrays["reward"].tolist() == [1.0, 1.0, 1.0]
    assert Path(run, "media", "played-0002.mp4").stat().st_size > 0


def test_options_reach_the_player(make_run: MakeRun, window: type[ScriptedWindow], tmp_path: Path) -> None:
    run = make_run()
    window.script = ("d",) * 4
    options = PlayOptions(run, fps=50.0, record=tmp_path / "kept", no_real=True, zoom=9.0, episode_steps=2)
    said = play_run(options)
    assert said.endswith(f"recorded in {tmp_path / 'kept'}, as .mp4 and .npz: played-0001")
    with np.load(tmp_path / "kept" / "played-0001.npz") as arrays:
        assert len(arrays["action"]) == 2 and "observation" not in arrays
    window.script = ()
    assert play_run(PlayOptions(run)) == "rlsys/Dot-v0 at learner step 12, seed 0: nothing was played."


@pytest.mark.parametrize("algorithm", [DOTS, replace(DOTS, make_world=None)], ids=["left out", "none"])
def test_the_real_game_is_played_alone_without_the_model(
    make_run: MakeRun, window: type[ScriptedWindow], algorithm: Algorithm
) -> None:
    run = make_run(algorithm)
    window.script = ("n", "p", "d", "return")
    said = play_run(PlayOptions(run, no_model=True, agent=True, header=True))
    assert said.endswith(f"recorded in {run}/media, as .mp4 and .npz: played-0001")
    with np.load(f"{run}/media/played-0001.npz") as arrays:
        assert "model_observation" not in arrays
        assert arrays["by_policy"].tolist() == [True, False]


def test_reconstructions_need_the_model_that_is_not_played_in(
    make_run: MakeRun, window: type[ScriptedWindow], monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []
    monkeypatch.setattr(window, "show", _measured(window.show, widths))
    window.script = ("d",)
    run = make_run()
    for options in ({"no_model": True}, {"no_model": True, "reconstruction": True}, {"reconstruction": True}):
        play_run(PlayOptions(run, **options))
    assert [(width + 6) // (220 + 6) for width in dict.fromkeys(widths)] == [1, 3, 5]


def _measured(show: Callable[..., Any], widths: list[int]) -> Callable[..., Any]:
    def measured(window: ScriptedWindow, frame: np.ndarray, status: str = "") -> Any:
        widths.append(frame.shape[1])
        return show(window, frame, status)

    return measured


def test_who_declines_keeps_nothing_and_films_on_a_key_lie_apart(
    make_run: MakeRun, window: type[ScriptedWindow]
) -> None:
    run = make_run()
    window.script = (",", "d", ",", "n")
    said = play_run(PlayOptions(run, ask=True, episode_steps=1))
    (film,) = Path(run, "media", "recordings").glob("*.npz")
    assert said == (f"rlsys/Dot-v0 at learner step 12, seed 0: nothing was kept. Films in {film.parent}: {film.stem}")
    assert not list(Path(run, "media").glob("played-*"))


def test_kept_episodes_are_looked_through(make_run: MakeRun, window: type[ScriptedWindow]) -> None:
    run = make_run()
    frames = np.zeros((3, 30, 40), np.uint8)
    kept = EpisodeRecord(frames, np.array([1, 2]), np.ones(2, np.float32), np.array([False, True]))
    keep(folder_of(Path(run), "test"), [kept], 12, 10)
    window.script = ("right", ",", "right", ",", "up")
    said = play_run(PlayOptions(run, episodes=True))
    (film,) = Path(run, "media", "recordings").glob("*.npz")
    assert said == f"rlsys/Dot-v0, kept episodes. Films in {film.parent}: {film.stem}"
    assert ("T Y I", "train, test, imagination") in window.made[0]["legend"]


@pytest.mark.parametrize("algorithm", [DOTS, replace(DOTS, make_world=None)], ids=["asked", "without a world model"])
def test_the_policy_is_watched(make_run: MakeRun, window: type[ScriptedWindow], algorithm: Algorithm) -> None:
    run = make_run(algorithm)
    window.script = ("w",) * 100
    said = play_run(PlayOptions(run, watch=algorithm is DOTS))
    assert said.startswith("rlsys/Dot-v0 at learner step 12, seed 0: return ")
    assert said.endswith(f"Film: {run}/media/play.mp4")
    assert window.made[0] == {"title": "rlsys/Dot-v0 at learner step 12, seed 0", "fps": 30.0, "legend": ()}


def test_the_film_of_a_policy_ends_early_where_nobody_watches(
    make_run: MakeRun, window: type[ScriptedWindow], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    window.script = ("w",) * 100
    options = PlayOptions(run, watch=True, video_frames=3)
    assert "the film is" not in play_run(options), "who watches may close the window"
    monkeypatch.setattr(play_module, "has_screen", lambda: False)
    said, line = play_run(options).split("\n")
    assert said.endswith(f"Film: {run}/media/play.mp4")
    assert line.startswith("the film is the first 3 of ")
    assert line.endswith(" pictures, video_frames = 3. Raise --video-frames or --video-seconds to see more.")


@pytest.mark.parametrize("watch", [False, True])
def test_in_the_browser_it_says_where(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], watch: bool
) -> None:
    class ScriptedBrowser(ScriptedWindow):
        def __init__(self, title: str, *, fps: float, legend: Legend, port: int) -> None:
            super().__init__(title, fps, legend)
            self.url = f"http://127.0.0.1:{port}/?token=secret"

    monkeypatch.setattr(play_module, "Browser", ScriptedBrowser)
    monkeypatch.setattr(ScriptedWindow, "script", ("d",))
    run = make_run()
    said = play_run(PlayOptions(run, watch=watch, web=True, port=8_123))
    assert capsys.readouterr().out == "Open http://127.0.0.1:8123/?token=secret\n"
    assert ("the window was closed" if watch else "played-0001") in said


@pytest.mark.parametrize(
    ("algorithm", "options", "message"),
    [
        (DOTS, {}, "no screen: use --web, or --watch to film."),
        (DOTS, {"film": Path("a.mp4"), "web": True}, "--film a.mp4 without --watch; played episodes are recorded in"),
        (
            DOTS,
            {"video_frames": 9, "web": True},
            "--video-frames or --video-seconds without --watch; they end the film",
        ),
        (DOTS, {"port": 8_000}, "--port 8000 without --web"),
        (DOTS, {"watch": True, "record": Path("x")}, "--record with --watch; it is for playing in a world model"),
        (
            replace(DOTS, make_world=None),
            {"no_real": True},
            "--no-real with algorithm = dots, which has no world model",
        ),
        (replace(DOTS, make_world=None), {"zoom": 3.0}, "--zoom with algorithm = dots, which has no world model"),
        (replace(DOTS, make_world=None), {"episode_steps": 3}, "--episode-steps with algorithm = dots"),
        (replace(DOTS, make_world=None), {"agent": True}, "--agent with algorithm = dots, which has no world model"),
        (DOTS, {"header": True, "watch": True}, "--header with --watch; it is for playing"),
        (DOTS, {"no_model": True, "no_real": True}, "--no-real with --no-model, which is about the real game"),
        (DOTS, {"reconstruction": True, "no_real": True}, "--no-real with --reconstruction, which is about the real"),
        (
            replace(DOTS, make_world=None),
            {"no_model": True, "reconstruction": True},
            "--reconstruction with algorithm = dots, which has no world model",
        ),
        (DOTS, {"episodes": True}, "no screen: use --web"),
        (DOTS, {"episodes": True, "agent": True}, "--agent with --episodes; it is for playing"),
        (DOTS, {"episodes": True, "watch": True}, "--watch with --episodes; it is for playing"),
        (DOTS, {"episodes": True, "web": True}, "holds no episodes in media/episodes"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, algorithm: Algorithm, options: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(play_module, "has_screen", lambda: False)
    with pytest.raises(ConfigError) as refused:
        play_run(PlayOptions(make_run(algorithm), **options))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_run_without_a_world_in_its_checkpoint_is_refused(make_run: MakeRun, window: type[ScriptedWindow]) -> None:
    run = make_run(world=False)
    with pytest.raises(CheckpointError, match="checkpoint 12 of dots/a holds no world model"):
        play_run(PlayOptions(run))
