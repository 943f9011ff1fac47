"""An environment that cannot be drawn, or draws strangely, is trained in and evaluated like any other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from rlsys import registry
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.config import Loaded, RunConfig, build
from rlsys.envs.make import env_spec
from rlsys.evaluation.options import EvaluationOptions
from rlsys.evaluation.run import evaluate_run
from rlsys.metrics.rows import read_metrics
from rlsys.runs import folder as run_folder
from rlsys.runs.progress import Progress
from rlsys.runs.spec import RunSpec
from rlsys.runtime.driver.inline import InlineRun
from rlsys.runtime.driver.recorder import Recorder
from rlsys.testing.algorithm import CHECKING
from rlsys.testing.environments import CountingEnv

DRAWN: dict[str, Any] = {
    "alpha": lambda count: np.full((40, 50, 4), count, np.uint8),
    "float": lambda count: np.full((40, 50, 3), count / 25),
    "grey": lambda count: np.full((40, 50), count, np.uint8),
    "list": lambda count: [np.full((40, 50, 3), count, np.uint8)] * 3,
    "sizes": lambda count: np.full((40 + count, 50, 3), count, np.uint8),
    "none": lambda count: None,
    "text": lambda count: "+---+",
    "raises": lambda count: 1 / 0,
    "later": lambda count: np.zeros((40, 50, 3), np.uint8) if count < 3 else 1 / 0,
}
SHOWN = ("alpha", "float", "grey", "list", "sizes", "text", "written")


class Drawing(CountingEnv):
    """Draws what `DRAWN` says."""

    def __init__(self, drawn: str, **options: Any) -> None:
        super().__init__(**options)
        self._drawn = drawn

    def render(self) -> Any:
        return DRAWN[self._drawn](self._count)


class Undrawn(CountingEnv):
    """Cannot even be made to be drawn."""

    metadata: dict[str, Any] = {}  # noqa: RUF012 - as gymnasium declares it

    def __init__(self, render_mode: str | None = None) -> None:
        assert render_mode is None, "there is no screen here"
        super().__init__()


class Written(CountingEnv):
    """Is never drawn, but writes what happens."""

    metadata: dict[str, Any] = {"render_modes": ["ansi"]}  # noqa: RUF012 - as gymnasium declares it

    def render(self) -> Any:
        assert self.render_mode == "ansi"
        return f"\x1b[43mstep\x1b[0m {self._count}\n"


for _name in DRAWN:
    gymnasium.register(f"rlsys-test/Drawing-{_name}-v0", entry_point=Drawing, kwargs={"drawn": _name})
gymnasium.register("rlsys-test/Drawing-never-v0", entry_point=Undrawn)
gymnasium.register("rlsys-test/Drawing-written-v0", entry_point=Written)
NAMES = [*DRAWN, "never", "written"]


@pytest.mark.parametrize("name", NAMES)
def test_no_picture_ends_a_run_and_one_line_says_which_are_left_out(
    name: str,
    make_spec: Callable[..., RunSpec],
    make_recorder: Callable[[RunSpec, Progress], Recorder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget = {"training_steps": 30, "evaluate_every_learner_steps": 10, "evaluation_episodes": 2}
    spec = make_spec(run={**budget, "checkpoint_every_learner_steps": 10}, env_id=f"rlsys-test/Drawing-{name}-v0")
    progress = Progress(spec.run)
    recorder = make_recorder(spec, progress)
    said: list[str] = []
    monkeypatch.setattr(recorder, "message", said.append)
    run = InlineRun(spec, progress, recorder, Checkpoints(spec.folder / "checkpoints", keep=1))
    run.start(None)
    run.run()
    evaluated = [row for row in read_metrics(spec.folder) if "evaluation/return" in row]
    assert len(evaluated) >= 3
    troubles = [text for text in said if "cannot be shown" in text]
    films = list((spec.folder / "media").glob("*.mp4")) if (spec.folder / "media").is_dir() else []
    if name in SHOWN:
        assert len(films) == len(evaluated) and not troubles
    else:
        (line,) = troubles
        assert line.startswith(f"'rlsys-test/Drawing-{name}-v0' cannot be shown: ") and "\n" not in line
        assert bool(films) == (name == "later"), "what could be drawn is kept"


@pytest.mark.parametrize("name", NAMES)
def test_the_row_is_printed_and_one_line_says_why_there_is_no_film(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    monkeypatch.setattr(registry, "get", lambda algorithm: CHECKING)
    env = {"id": f"rlsys-test/Drawing-{name}-v0"}
    runs = RunConfig(directory=str(tmp_path / "runs")).model_dump()
    experiment = build({"algorithm": "checking", "env": env, "run": runs}, where="the test")
    folder = run_folder.create(Loaded("checking-counting", "laptop", experiment, {}))
    with Checkpoints(folder / "checkpoints", keep=1).begin(10) as draft:
        draft.write("weights", {"version": 1, "learner_step": 10, "arrays": {"w": np.zeros(1)}})
        draft.commit({"env_steps": 100})
    paths = {"gif": tmp_path / "a.gif", "video": tmp_path / "a.mp4", "plot": tmp_path / "a.png"}
    assert evaluate_run(EvaluationOptions(str(folder), episodes=2, films=2, film_folder=tmp_path, **paths)) == 0
    output = capsys.readouterr().out
    assert "temperature 0" in output
    told = [line for line in output.splitlines() if "cannot be shown" in line]
    assert len(told) == (name not in SHOWN)
    assert not [warned for warned in recwarn if "initialised with render_mode" in str(warned.message)], (
        "one line is enough"
    )
    assert paths["plot"].exists()
    assert paths["gif"].exists() == paths["video"].exists() == (name in (*SHOWN, "later"))
    assert env_spec(experiment.env).num_actions == 3


def test_a_picture_that_cannot_be_written_takes_no_result_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "get", lambda algorithm: CHECKING)
    runs = RunConfig(directory=str(tmp_path / "runs")).model_dump()
    env = {"id": "rlsys/Counting-v0"}
    experiment = build({"algorithm": "checking", "env": env, "run": runs}, where="the test")
    folder = run_folder.create(Loaded("checking-counting", "laptop", experiment, {}))
    with Checkpoints(folder / "checkpoints", keep=1).begin(10) as draft:
        draft.write("weights", {"version": 1, "learner_step": 10, "arrays": {"w": np.zeros(1)}})
        draft.commit({"env_steps": 100})
    (tmp_path / "a.gif").symlink_to("/dev/full")
    monkeypatch.setattr("rlsys.viewer.plots.save", lambda figure, path: 1 / 0)
    options = EvaluationOptions(str(folder), episodes=2, gif=tmp_path / "a.gif", plot=tmp_path / "a.png")
    assert evaluate_run(options) == 0
    output = capsys.readouterr().out
    assert "temperature 0" in output
    assert f"the film {tmp_path / 'a.gif'} is left out: " in output
    assert f"the plot {tmp_path / 'a.png'} is left out: division by zero." in output
