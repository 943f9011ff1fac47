"""RLlib on our environments, in our metrics, and what it refuses."""

import ast
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import rich.console

import rlsys
from rlsys import config, registry
from rlsys.baseline import Baseline, BaselineContext, BaselineReport
from rlsys.baselines.rllib.config import RllibConfig
from rlsys.baselines.rllib.environment import RllibVectorEnv
from rlsys.commands.play import PlayOptions, play_run
from rlsys.config import EnvConfig, RuntimeConfig
from rlsys.envs.families.atari import AtariConfig
from rlsys.envs.make import env_spec, make
from rlsys.errors import ConfigError
from rlsys.evaluation.options import EvaluationOptions
from rlsys.evaluation.run import evaluate_run
from rlsys.metrics.console import Console
from rlsys.metrics.rows import read_metrics
from rlsys.metrics.tracking import Tracker
from rlsys.runs import folder as run_folder
from rlsys.runs.progress import Progress
from rlsys.runtime.launch.baseline import BaselineDriver
from rlsys.runtime.launch.launch import launch

pytestmark = pytest.mark.xdist_group("ray")

PATIENCE_S = 300.0
PONG = AtariConfig(id="PongNoFrameskip-v4", frame_size=(84, 84), stack_states=4, fire_reset=True)
CARTPOLE = EnvConfig(id="CartPole-v1")
YARDSTICKS = [name for name in config.experiment_names() if name.startswith("rllib-")]


def context(
    section: dict[str, Any] | None = None,
    runtime: dict[str, Any] | None = None,
    env: EnvConfig = CARTPOLE,
    **options: Any,
) -> BaselineContext:
    workers = {"rollout_cpus": 0, "learner_device": "cpu", "environments_per_worker": 8, **(runtime or {})}
    return BaselineContext(
        RllibConfig(**(section or {})), env, env_spec(env), RuntimeConfig(**workers), 3, **{"num_cpus": 4, **options}
    )


def baseline() -> Baseline:
    found = registry.get("rllib")
    assert isinstance(found, Baseline)
    return found


def test_our_sections_become_rllibs_configuration() -> None:
    from rlsys.baselines.rllib.settings import build

    section = {
        "algorithm": "ppo",
        "train_batch_size": 640,
        "learning_rate": 0.001,
        "gamma": 0.9,
        "entropy_cost": 0.02,
        "value_cost": 0.3,
        "grad_clip": 2.0,
        "hidden_sizes": [32],
        "activation": "tanh",
        "share_layers": False,
        "extra": {"minibatch_size": 64, "clip_param": 0.1},
    }
    settings = build(context(section, {"rollout_workers": 2}))
    assert (settings.num_env_runners, settings.num_envs_per_env_runner) == (2, 8)
    assert (settings.train_batch_size_per_learner, settings.lr, settings.gamma) == (640, 0.001, 0.9)
    assert (settings.entropy_coeff, settings.vf_loss_coeff, settings.grad_clip) == (0.02, 0.3, 2.0)
    assert (settings.minibatch_size, settings.clip_param, settings.seed) == (64, 0.1, 3)
    model = settings.model_config
    assert (model["fcnet_hiddens"], model["fcnet_activation"], model["vf_share_layers"]) == ([32], "tanh", False)


def test_what_is_not_set_is_left_to_rllib() -> None:
    from ray.rllib.algorithms.impala import IMPALAConfig

    from rlsys.baselines.rllib.settings import build

    ours, theirs = build(context()), IMPALAConfig()
    for name in ("lr", "gamma", "entropy_coeff", "vf_loss_coeff", "grad_clip", "rollout_fragment_length"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.num_env_runners == 3  # a core is left for the learner


@pytest.mark.parametrize("name", YARDSTICKS)
@pytest.mark.parametrize("overrides", [[], ["debug=true"]])
def test_every_shipped_experiment_is_one_that_rllib_takes(name: str, overrides: list[str]) -> None:
    experiment = config.load(name, "laptop", overrides).experiment
    baseline().check(
        BaselineContext(
            experiment.section, experiment.env, env_spec(experiment.env), experiment.runtime, 0, num_cpus=2, num_gpus=0
        )
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"section": {"extra": {"clip_parm": 1}, "algorithm": "ppo"}}, "Did you mean 'clip_param'"),
        ({"section": {"extra": {"clip_param": 1}}}, "impala in RLlib has no such argument"),
        ({"section": {"extra": {"lr": 1}}}, "rllib.learning_rate"),
        ({"section": {"network": "nature"}}, "Set rllib.network=mlp"),
        ({"section": {"network": "mlp"}, "env": PONG}, "Set rllib.network=nature"),
        ({"env": PONG.model_copy(update={"frame_size": (20, 84)})}, "needs 36 pixels"),
        ({"section": {"algorithm": "ppo", "train_batch_size": 64}}, "minibatch_size"),
        ({"runtime": {"rollout_cpus": 1}, "section": {"env_runners": 5}}, "cluster's 4 CPU cores"),
        ({"runtime": {"learner_device": "cuda"}, "num_gpus": 0}, "has no GPU"),
    ],
)
def test_what_rllib_cannot_do_is_refused_in_one_line(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        baseline().check(context(**wrong))
    assert "\n" not in str(error.value)


def test_pictures_are_ours_channels_last_and_frames_are_skipped_once() -> None:
    ours = make(PONG, int(np.random.SeedSequence(7).generate_state(1)[0]))
    theirs = RllibVectorEnv(PONG, 1)
    assert theirs.single_observation_space.shape == (84, 84, 4)
    expected, found = ours.reset()[0], theirs.reset(seed=7)[0]
    for action in [2, 3, 2, 0, 5] * 4:
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found[0], np.moveaxis(np.asarray(expected), 0, -1))
        expected, found = ours.step(action)[0], theirs.step(np.array([action]))[0]
    theirs.close()


def test_an_ended_episode_begins_with_the_next_step_and_whole_games_are_counted() -> None:
    env = RllibVectorEnv(CARTPOLE, 3)
    env.reset(seed=0)
    ended, returns = np.zeros(3, bool), np.zeros(3)
    finished: list[tuple[int, float]] = []
    for _ in range(60):
        _, reward, terminated, truncated, _ = env.step(np.ones(3, np.int64))
        assert (reward[ended] == 0).all()
        assert not (terminated | truncated)[ended].any()
        returns = np.where(ended, 0.0, returns + reward)
        ended = terminated | truncated
        finished += [(int(index), float(returns[index])) for index in np.flatnonzero(ended)]
    games = env.take_games()
    assert len(games) > 9
    assert [(game.environment, game.episode_return) for game in games] == finished
    assert env.take_games() == []
    env.close()


def test_environments_of_a_runner_differ_and_a_seed_repeats_them() -> None:
    env = RllibVectorEnv(CARTPOLE, 2)
    first, _ = env.reset(seed=1)
    assert not np.array_equal(first[0], first[1])
    np.testing.assert_array_equal(env.reset(seed=1)[0], first)
    assert not np.array_equal(env.reset(seed=2)[0], first)
    env.close()


def test_the_network_sees_scaled_pixels() -> None:
    import torch
    from gymnasium.spaces import Box, Discrete
    from ray.rllib.core.columns import Columns

    from rlsys.baselines.rllib.networks import PixelCatalog
    from rlsys.baselines.rllib.settings import build

    model = build(context(env=PONG)).model_config
    catalog = PixelCatalog(Box(0, 255, (84, 84, 4), np.uint8), Discrete(6), model)
    encoder = catalog.actor_critic_encoder_config.base_encoder_config.build("torch")
    frames = torch.randint(0, 256, (2, 84, 84, 4), dtype=torch.uint8)
    found = encoder({Columns.OBS: frames})["encoder_out"]
    assert found.shape == (2, 512)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 1_684_128  # Mnih et al. 2015, four frames
    torch.testing.assert_close(found, encoder.net(frames.float() / 255.0))


def test_results_become_reports() -> None:
    from rlsys.baselines.rllib.metrics import Counters

    counters = Counters(num_learners=1)
    runners = {"num_env_steps_sampled_lifetime": 100.0, "rlsys_games": [(3.0, 30), (5.0, 50)]}
    module = {"num_module_steps_trained": 256, "module_train_batch_size_mean": 64.0, "total_loss": 2.0}
    report = counters.report({"env_runners": runners, "learners": {"default_policy": {**module, "vf_loss": math.nan}}})
    assert (report.env_steps, report.learner_steps) == (100, 4)
    assert (list(report.returns), list(report.lengths)) == ([3.0, 5.0], [30, 50])
    assert report.metrics["loss/total"] == 2.0
    assert "loss/value" not in report.metrics
    runners = {"num_env_steps_sampled_lifetime": 130.0, "rlsys_games": (7.0, 70)}
    report = counters.report({"env_runners": runners})
    assert (report.env_steps, report.learner_steps, list(report.returns)) == (30, 0, [7.0])
    assert counters.report({}).env_steps == 0


class FakeRun:
    """Ten decisions and two updates per portion."""

    def work(self) -> BaselineReport:
        time.sleep(0.01)
        return BaselineReport(10, 2, [1.5], [10], {"loss/total": 0.5})

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("budget", "env_steps", "reason"),
    [
        ({"env_steps": 95}, 100, "95 environment steps are done"),
        ({"training_steps": 7}, 40, "7 learner steps are done"),
        ({"minutes": 0.001}, None, "0.001 minutes have passed"),
    ],
)
def test_budgets_end_a_run_and_rows_have_our_names(
    tmp_path: Path, budget: dict[str, Any], env_steps: int | None, reason: str
) -> None:
    overrides = [f"run.{name}={value}" for name, value in budget.items()]
    loaded = config.load("rllib-ppo-cartpole", overrides=[*overrides, "run.wandb=disabled", "run.log_every_s=0.02"])
    output = rich.console.Console(file=io.StringIO(), width=200)
    tracker = Tracker(tmp_path, loaded, "test", resume=False)
    progress = Progress(loaded.experiment.run)
    console = Console(loaded, tmp_path, terminal=False, output=output)
    assert BaselineDriver(progress, env_spec(CARTPOLE), tracker, console).run(FakeRun()) == reason
    tracker.close()
    rows = read_metrics(tmp_path)
    assert rows[-1]["env_steps"] == (env_steps or progress.env_steps)
    assert rows[-1]["learner_step"] == progress.learner_steps
    names = {"episodes/return", "episodes/length", "throughput/env_steps_per_s", "throughput/updates_per_s"}
    assert names | {"loss/total"} <= set(rows[-1])
    assert rows[-1]["episodes/return"] == 1.5


@pytest.mark.parametrize(
    ("overrides", "inline", "message"),
    [
        ([], True, "--inline"),
        (["run.target_return=100"], False, "run.target_return"),
        (["run.log_every_learner_steps=5"], False, "run.log_every_s"),
        (["rllib.extra={clip_parm: 1}"], False, "unknown key 'rllib.extra.clip_parm'"),
    ],
)
def test_what_a_baseline_cannot_do_is_refused_before_anything_is_written(
    tmp_path: Path, overrides: list[str], inline: bool, message: str
) -> None:
    directory = tmp_path / "runs"
    loaded = config.load("rllib-ppo-cartpole", overrides=[*overrides, f"run.directory={directory}"])
    with pytest.raises(ConfigError, match=message) as error:
        launch(loaded, inline=inline, resume=None, overrides=())
    assert "\n" not in str(error.value)
    assert not directory.exists()


def test_a_run_of_a_baseline_is_neither_resumed_nor_evaluated_nor_played(tmp_path: Path) -> None:
    loaded = config.load("rllib-ppo-cartpole", overrides=[f"run.directory={tmp_path}"])
    run = str(run_folder.create(loaded))
    with pytest.raises(ConfigError, match=f"--resume {run} with algorithm = rllib"):
        launch(None, inline=False, resume=run, overrides=())
    with pytest.raises(ConfigError, match="rlsys eval with algorithm = rllib"):
        evaluate_run(EvaluationOptions(run))
    with pytest.raises(ConfigError, match="rlsys play with algorithm = rllib"):
        play_run(PlayOptions(run))


def test_only_baselines_know_rllib() -> None:
    package = Path(rlsys.__file__).parent
    importers = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(module.startswith(("ray.rllib", "ray.tune")) for module in modules):
                importers.add(path.relative_to(package).parts[0])
    assert importers == {"baselines"}


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["show", "rllib-impala-breakout"]])
def test_looking_around_costs_no_ray(arguments: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['rlsys', *{arguments!r}]\n"
        "from rlsys.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    sys.stderr.write(str({'ray', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "set()"


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from rlsys.cli import main; main()", "launch", *arguments]
    settings = ["rllib.env_runners=1", "run.wandb=disabled", "run.run_tag=here", "run.log_every_s=1"]
    return subprocess.Popen(
        [*command, *settings], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / "runs" / name / "here" / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {PATIENCE_S:.0f} s"
        time.sleep(0.2)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_the_real_ppo_reaches_its_budget_with_finite_returns(tmp_path: Path) -> None:
    run = started(tmp_path, "rllib-ppo-cartpole", "run.env_steps=4000", "runtime.environments_per_worker=8")
    output, _ = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0, output
    assert "4,000 environment steps are done" in output
    rows = rows_of(tmp_path, "rllib-ppo-cartpole")
    assert rows[-1]["env_steps"] >= 4000
    assert rows[-1]["learner_step"] > 0
    assert 8 < rows[-1]["episodes/return"] <= 500
    assert math.isfinite(rows[-1]["loss/total"])
    assert (tmp_path / "runs" / "rllib-ppo-cartpole" / "here" / "report.html").exists()
    assert "Traceback" not in output


def test_the_real_impala_learns_until_it_is_interrupted_and_leaves_no_process(tmp_path: Path) -> None:
    run = started(tmp_path, "rllib-impala-cartpole", "runtime.environments_per_worker=8")

    def has_learned() -> bool:
        rows = rows_of(tmp_path, "rllib-impala-cartpole")
        return bool(rows and rows[-1]["learner_step"] > 0 and rows[-1].get("episodes/return"))

    wait_for(has_learned, "row with a return")
    workers = psutil.Process(run.pid).children(recursive=True)
    assert workers
    os.kill(run.pid, signal.SIGINT)
    output, _ = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 130, output
    assert "interrupted. Its metrics and report" in output
    assert "Traceback" not in output
    wait_for(lambda: not alive(workers), "end of all workers")
    steps = [row["env_steps"] for row in rows_of(tmp_path, "rllib-impala-cartpole")]
    assert steps == sorted(steps)
