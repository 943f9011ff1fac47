"""SimPLe as users run it: interrupted in every phase, acted in as an environment, exported, and used by another run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.command_line import rlsys

from rlsys.api import World, WorldContext
from rlsys.envs.make import env_spec
from rlsys.exports.find import find
from rlsys.planning.imagined import ImaginedEnv
from rlsys.registry import get_algorithm

SMALL = (
    "simple-catch",
    "debug=true",
    "run.wandb=disabled",
    "run.tensorboard=false",
    "run.log_every_learner_steps=1",
    "run.checkpoint_every_learner_steps=0",
    "run.evaluate_every_learner_steps=0",
    "run.evaluate_every_env_steps=0",
)
STEPS = 4 + 6 + 6 + 4 + 1
"""Turns of collecting, updates of the model, iterations of PPO, turns again, and a comparison."""
inline = pytest.mark.xdist_group("world-model")  # one process trains the whole run, once
CLOCK = ("throughput/", "workers/", "system/", "learner/idle_share", "time_s")


def launch(folder: Path, *arguments: str) -> None:
    done = rlsys(folder, "launch", *arguments)
    assert done.returncode == 0, done.stderr


def rows(folder: Path, run: str) -> dict[int, dict[str, Any]]:
    """The metrics by learner step, without what depends on the clock."""
    lines = (folder / "runs" / "simple-catch" / run / "metrics.jsonl").read_text().splitlines()
    return {
        row["learner_step"]: {name: value for name, value in row.items() if not name.startswith(CLOCK)}
        for row in map(json.loads, lines)
        if "learner_step" in row
    }


def open_world(source: str) -> tuple[World, Any]:
    trained = find(source)
    experiment = trained.loaded.experiment
    env = env_spec(experiment.env)
    make_world = get_algorithm(experiment.algorithm, "a test").make_world
    assert make_world is not None
    saved = trained.open("latest", ["world"]).read("world")
    return make_world(WorldContext(experiment.section, env, saved)), env


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not stopped."""
    folder = tmp_path_factory.mktemp("whole")
    launch(folder, *SMALL, "--inline", "run.run_tag=whole", "run.training_steps=1000")
    return folder


@inline
def test_a_run_that_is_stopped_while_model_and_policy_learn_equals_one_that_was_not(whole: Path) -> None:
    launch(whole, *SMALL, "--inline", "run.run_tag=parts", "run.training_steps=7")
    for stop in (13, 1_000):
        launch(whole, "--resume", "simple-catch/parts", "--inline", f"run.training_steps={stop}")
    expected, parts = rows(whole, "whole"), rows(whole, "parts")
    assert max(expected) == STEPS
    assert parts == expected


@inline
def test_the_world_model_is_a_vector_environment(whole: Path) -> None:
    world, env_spec = open_world(str(whole / "runs" / "simple-catch" / "whole"))
    rng = np.random.default_rng(0)

    def begin(rng: np.random.Generator, count: int) -> tuple[Any, Any]:
        frames = rng.integers(0, 256, (count, world.min_context, 20, 16), dtype=np.uint8)
        return frames, np.zeros((count, world.min_context - 1), np.int64)

    env = ImaginedEnv(world, env_spec, 3, begin=begin)
    observation, _ = env.reset(seed=1)
    assert observation.shape == (3, 4, 20, 16)
    for _ in range(5):
        observation, reward, terminated, truncated, _ = env.step(rng.integers(0, 3, 3))
        assert env.observation_space.contains(observation)
        assert set(reward.tolist()) <= {-1.0, 0.0, 1.0}
        assert not terminated.any()
        assert not truncated.any()


@inline
def test_the_comparison_is_filmed(whole: Path) -> None:
    films = list((whole / "runs" / "simple-catch" / "whole" / "media").glob("world-comparison-*.mp4"))
    assert [film.stem for film in films] == [f"world-comparison-{STEPS:09d}"]
    assert all(film.stat().st_size for film in films)


@inline
def test_a_world_model_is_exported_and_another_policy_learns_in_it(whole: Path) -> None:
    done = rlsys(whole, "export", "simple-catch/whole", "--to", "exported")
    assert done.returncode == 0, done.stderr
    history = torch.randint(0, 256, (2, 4, 20, 16), dtype=torch.uint8), torch.zeros(2, 3)
    steps = []
    for path in (whole / "runs/simple-catch/whole", whole / "exported"):
        world, _ = open_world(str(path))
        steps.append(world.step(world.begin(*history), torch.tensor([0, 1]), torch.Generator().manual_seed(0))[0])
    assert torch.equal(steps[0]["stack"], steps[1]["stack"])
    pretrained = ("simple.load_world_from=exported", "simple.model_train_steps=0", "simple.eval_world_model=false")
    launch(whole, *SMALL, "--inline", "run.run_tag=pretrained", *pretrained, "simple.stop_loop_early=true")
    assert max(rows(whole, "pretrained")) == 4 + 6
    saved = [
        find(str(path)).open("latest", ["world"]).read("world")["parameters"]
        for path in (whole / "exported", whole / "runs/simple-catch/pretrained")
    ]
    assert all(np.array_equal(saved[0][name], saved[1][name]) for name in saved[0])


@inline
def test_a_world_model_of_another_game_is_refused_in_one_line(whole: Path) -> None:
    source = str(whole / "runs" / "simple-catch" / "whole")
    other = ("env.id=PongNoFrameskip-v4", "env.frame_size=[20,16]", "env.grayscale=false")
    words = (*SMALL, "--inline", *other, f"simple.load_world_from={source}", "simple.model_train_steps=0")
    done = rlsys(whole, "launch", *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "made for another game, frame size or model" in done.stderr


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.xdist_group("ray")
def test_on_ray_it_goes_through_the_same_phases_and_leaves_a_world(tmp_path: Path) -> None:
    launch(tmp_path, *SMALL, "run.run_tag=ray", "run.training_steps=1000")
    folder = str(tmp_path / "runs" / "simple-catch" / "ray")
    assert find(folder).open("latest", ["progress"]).learner_step == STEPS
    world, _ = open_world(folder)
    assert world.min_context == 4
