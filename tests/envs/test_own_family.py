"""A family of one's own: a module anywhere, with settings of its own, and one YAML. Nothing else knows of it."""

from pathlib import Path

import pytest
import yaml

from rlsys import config
from rlsys.envs.make import env_spec, make
from rlsys.errors import ConfigError, EnvError
from rlsys.metrics.rows import read_metrics
from rlsys.runtime.launch.launch import launch
from rlsys.testing.environment_contract import check_environment

MODULE = '''
"""A walk: one goes left or right until one is far enough."""

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from pydantic import Field

from rlsys.config import EnvConfig
from rlsys.config.quantities import Repeats
from rlsys.envs.family import Family


class WalkConfig(EnvConfig):
    """A walk."""

    far: Repeats = Field(5, le=50)
    """Steps from the middle to either end."""


class Walk(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, config, render_mode):
        self.render_mode = render_mode
        self._far = config.far
        self.observation_space = Box(-50.0, 50.0, (1,), np.float32)
        self.action_space = Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._place = int(self.np_random.integers(-1, 2))
        return self._seen(), {}

    def step(self, action):
        self._place += 2 * int(action) - 1
        return self._seen(), float(self._place == self._far), abs(self._place) >= self._far, False, {}

    def render(self):
        return np.full((8, 8, 3), 2 * abs(self._place), np.uint8)

    def _seen(self):
        return np.array([self._place], np.float32)


def make(config, seed, render_mode):
    assert config.name in ("short", "long")
    env = Walk(config, render_mode)
    env.reset(seed=seed)
    return env, 1


WALKS = Family("walks", ("short", "long").__contains__, lambda: ["short", "long"], make, WalkConfig)
'''

EXPERIMENT = """
algorithm: ppo
env:
  id: {module}:long
  far: 9
  max_episode_steps: 40
runtime: {{send_weights_frequency: 1}}
run:
  evaluation_env: {{far: 3}}
"""


@pytest.fixture
def walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes the module and the experiment; returns the latter."""
    module = f"walk_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(MODULE)
    path = tmp_path / "ppo-walk.yaml"
    path.write_text(EXPERIMENT.format(module=module))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return path


def test_its_settings_are_those_of_the_env_section(walk: Path) -> None:
    loaded = config.load(str(walk), overrides=["env.far=8"])
    assert loaded.experiment.env.far == 8  # type: ignore[attr-defined]
    (described,) = [field for field in config.describe(loaded) if field.path == "env.far"]
    assert (described.value, described.default, described.layer) == (8, 5, "override")
    assert described.meaning == "Steps from the middle to either end."
    assert config.build(yaml.safe_load(config.dump(loaded.experiment)), "again") == loaded.experiment


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("env.far=51", "env.far = 51; it must be less than or equal to 50. Correct it on the command line."),
        ("env.fra=3", "unknown key 'env.fra' on the command line. Did you mean 'far'?"),
        ("env.noop_max=3", "only Atari games have it"),
        ("run.evaluation_env={far: 99}", "run.evaluation_env: far = 99: Input should be less than or equal to 50"),
        ("env.id=no_such_module:walk", "module 'no_such_module' cannot be imported, ModuleNotFoundError"),
    ],
)
def test_they_are_refused_as_all_others_are(walk: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(str(walk), overrides=[override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_keeps_the_contract(walk: Path) -> None:
    env = config.load(str(walk)).experiment.env
    check_environment(env)
    assert env_spec(env).num_actions == 2
    with pytest.raises(EnvError, match=r"env\.kwargs = .* with 'walk_.*:long'; only Atari games"):
        make(env.model_copy(update={"kwargs": {"a": 1}}), 0)


def test_a_name_that_its_module_does_not_know_is_asked_of_gymnasium(walk: Path) -> None:
    env_id = config.load(str(walk)).experiment.env.id.replace(":long", ":longer")
    with pytest.raises(EnvError, match="cannot be made"):
        make(config.EnvConfig(id=env_id), 0)


def test_it_is_trained_and_evaluated_in_and_goes_on(walk: Path) -> None:
    settings = ["debug=true", "run.directory=runs", "run.run_tag=one", "run.video=false", "run.tensorboard=false"]
    loaded = config.load(str(walk), overrides=[*settings, "run.wandb=disabled"])
    assert launch(loaded, inline=True, resume=None, overrides=()) == 0
    assert launch(None, inline=True, resume="runs/ppo-walk/one", overrides=["run.training_steps=30"]) == 0
    assert read_metrics(Path("runs/ppo-walk/one"))[-1]["learner_step"] == 30
