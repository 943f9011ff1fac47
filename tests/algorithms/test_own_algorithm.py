"""An algorithm of one's own: a folder anywhere (tests/own/dreams), and one YAML. Nothing else knows of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support.command_line import rlsys

from rlsys import config, registry
from rlsys.commands import play as play_module
from rlsys.commands.play import PlayOptions, play_run
from rlsys.config.fields import described_fields
from rlsys.evaluation.agents.planning_policy import Planning
from rlsys.evaluation.options import EvaluationOptions
from rlsys.evaluation.run import evaluate_run
from rlsys.exports.export import export_run
from rlsys.exports.find import find
from rlsys.metrics.rows import read_metrics
from rlsys.runtime.launch.launch import launch
from rlsys.testing.contract import check_algorithm
from rlsys.viewer.screen import KeyEvent, WindowClosed

OWN = Path(__file__).parent.parent / "own"
EXPERIMENT, NAME = str(OWN / "dreamer-pendulum.yaml"), "dreams:dreamer"
SMALL = (
    "debug=true",
    "run.wandb=disabled",
    "run.tensorboard=false",
    "run.video=false",
    "run.log_every_learner_steps=10",
    "run.evaluate_every_learner_steps=0",
    "env.max_episode_steps=50",
)
CLOCK = ("throughput/", "workers/", "system/", "learner/idle_share", "time_s")


@pytest.fixture(autouse=True)
def _found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has Python find the folder, here and in processes that are started; works in an empty folder."""
    monkeypatch.syspath_prepend(str(OWN))
    monkeypatch.setenv("PYTHONPATH", str(OWN), prepend=":")
    monkeypatch.chdir(tmp_path)


def train(tag: str, steps: int, *settings: str, resume: bool = False) -> Path:
    """Trains inline, from the beginning or from where the run has stopped; returns its folder."""
    changes = [f"run.training_steps={steps}", *settings]
    folder = Path("runs/dreamer-pendulum", tag).absolute()
    if resume:
        assert launch(None, inline=True, resume=str(folder), overrides=changes) == 0
    else:
        loaded = config.load(EXPERIMENT, overrides=[*SMALL, f"run.run_tag={tag}", *changes])
        assert launch(loaded, inline=True, resume=None, overrides=()) == 0
    return folder


def rows(run: Path) -> dict[int, dict[str, Any]]:
    """Returns the metrics by learner step, without what depends on the clock."""
    return {
        int(row["learner_step"]): {name: value for name, value in row.items() if not name.startswith(CLOCK)}
        for row in read_metrics(run)
        if "learner_step" in row
    }


def test_its_settings_are_a_section_like_any_other() -> None:
    loaded = config.load(EXPERIMENT, overrides=["dreamer.horizon=7"])
    assert loaded.experiment.section.horizon == 7
    assert config.build(yaml.safe_load(config.dump(loaded.experiment)), "again") == loaded.experiment
    fields = described_fields(registry.get(NAME).config_type)
    assert [field for field, meaning in fields if not meaning] == []


def test_its_record_is_cheap_to_import() -> None:
    imported = "print({'torch', 'ray', 'wandb'} & set(sys.modules))"
    code = f"import sys; from rlsys import registry; registry.get('{NAME}'); {imported}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_it_keeps_the_contract() -> None:
    check_algorithm(registry.get_algorithm(NAME, "a test"))


def test_a_stopped_and_resumed_run_equals_one_that_was_not_stopped_bit_by_bit() -> None:
    slowly = "dreamer.samples_per_insert=0.5"
    whole = train("whole", 80, slowly)
    parts = train("parts", 40, slowly)
    train("parts", 80, resume=True)
    expected = rows(whole)
    assert sorted(expected) == list(range(10, 90, 10))
    assert expected[80]["env_steps"] > expected[40]["env_steps"]
    assert rows(parts) == expected
    worlds = [find(str(run)).open("latest", ["world"]).read("world")["parameters"] for run in (whole, parts)]
    assert all(np.array_equal(array, worlds[1][name]) for name, array in worlds[0].items())


class PressingWindow:
    """Stands in for a window: gives a key with each picture, then is closed."""

    keys: tuple[str, ...] = ()

    def __init__(self, title: str, fps: float, legend: object = (), smallest_side: int = 0) -> None:
        self._pressed = iter(self.keys)

    def __enter__(self) -> "PressingWindow":
        return self

    def __exit__(self, *error: object) -> None: ...

    def show(self, frame: np.ndarray, status: str = "") -> list[KeyEvent]:
        key = next(self._pressed, None)
        if key is None:
            raise WindowClosed
        return [KeyEvent(key, True), KeyEvent(key, False)]


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> type[PressingWindow]:
    monkeypatch.setattr(play_module, "has_screen", lambda: True)
    monkeypatch.setattr(play_module, "Window", PressingWindow)
    return PressingWindow


def test_it_is_played_evaluated_planned_with_and_exported(window: type[PressingWindow]) -> None:
    run = train("one", 10)
    _is_played(run, window)
    _is_evaluated(run)
    _is_exported(run)


def _is_played(run: Path, window: type[PressingWindow]) -> None:
    window.keys = ("right", "right", "n", "p", "p", "x", "left")
    said = play_run(PlayOptions(str(run), seed=5))
    assert said.endswith(f"recorded in {run}/media, as .mp4 and .npz: played-0001")
    with np.load(run / "media" / "played-0001.npz") as arrays:
        assert np.allclose(arrays["action"][:3, 0], [0.4, 0.8, 0.8]), "steps of a tenth between -2 and 2"
        assert arrays["by_policy"].any() and arrays["restarted"].any()
        assert arrays["observation"].shape == arrays["model_observation"].shape
        assert not np.array_equal(arrays["observation"], arrays["model_observation"])
        assert (arrays["reward"] < 0).all()
    assert (run / "media" / "played-0001.mp4").stat().st_size > 0
    window.keys = ("q",) * 300
    assert "in 50 decisions. Film: " in play_run(PlayOptions(str(run), watch=True))


def _is_evaluated(run: Path) -> None:
    planned = EvaluationOptions(str(run), episodes=1, max_steps=5, agent="planner", planning=Planning(8, 3))
    for options in (EvaluationOptions(str(run), episodes=1, max_steps=5), planned):
        assert evaluate_run(options) == 0
    (result,) = json.loads((run / "eval.json").read_text())["results"]
    assert result["label"].startswith("planner")


def _is_exported(run: Path) -> None:
    export_run(str(run), Path("out.zip"))
    evaluation = EvaluationOptions("out.zip", episodes=1, max_steps=5, trust=True)
    assert evaluate_run(evaluation) == 0, "whoever says so trusts it"
    begun = rows(train("begun", 10, "run.init_from=out.zip"))
    assert begun[10]["world/loss"] > 0
    done = rlsys(Path.cwd(), "eval", "out.zip", "--episodes", "1")
    assert done.returncode == 2
    assert "is of 'dreams:dreamer', which would import the module 'dreams' on this machine. Give --trust" in done.stderr


@pytest.mark.xdist_group("ray")
def test_it_trains_on_ray_with_two_workers(tmp_path: Path) -> None:
    words = (*SMALL, "run.run_tag=ray", "runtime.rollout_workers=2", "run.training_steps=10")
    done = rlsys(tmp_path, "launch", EXPERIMENT, *words)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "dreamer-pendulum" / "ray"
    opened = find(str(folder)).open("latest", ["world"])
    assert opened.learner_step == 10 and "parameters" in opened.read("world")
    assert any("world/loss" in row for row in read_metrics(folder))
