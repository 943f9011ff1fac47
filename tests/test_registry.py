"""The folders of algorithms, and which of them can handle an environment."""

import dataclasses
from pathlib import Path

import pytest

from rlsys import config, registry
from rlsys.api import Spaces
from rlsys.api.spaces import actions_of
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError
from rlsys.testing.algorithm import CHECKING
from rlsys.types import ArraySpec, EnvSpec


def test_a_space_that_an_algorithm_cannot_handle_is_refused_in_one_line_that_names_those_that_can() -> None:
    env = env_spec(EnvConfig(id="Pendulum-v1"))
    able = [name for name in registry.names() if not registry.get(name).spaces.refusal(env)]
    advice = f"These can: {', '.join(able)}." if able else "No algorithm here can. Choose another environment."
    with pytest.raises(ConfigError) as caught:
        registry.check_spaces(CHECKING, env)
    assert (
        str(caught.value)
        == f"'checking' acts in Discrete spaces only; 'Pendulum-v1' acts with Box(-2, 2, (1,)). {advice}"
    )
    registry.check_spaces(dataclasses.replace(CHECKING, spaces=Spaces(("numbers",))), env)


def test_what_no_algorithm_can_handle_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "names", lambda: [])
    env = EnvSpec("x", ArraySpec((4,), "float32"), ArraySpec((2,), "int64"), 0, action_choices=(2, 3))
    assert actions_of(env) == "MultiDiscrete([2, 3])"
    with pytest.raises(ConfigError, match=r"No algorithm here can\. Choose another environment"):
        registry.check_spaces(CHECKING, env)


@pytest.mark.parametrize("name", registry.baseline_names())
def test_a_baseline_is_refused_spaces_like_an_algorithm(name: str) -> None:
    registry.check_spaces(registry.get(name), env_spec(EnvConfig(id="CartPole-v1")))
    with pytest.raises(
        ConfigError, match=rf"'{name}' reads .*; 'rlsys/Tuple-v0' observes|'{name}' acts in .* These can"
    ):
        registry.check_spaces(registry.get(name), env_spec(EnvConfig(id="rlsys/Tuple-v0")))


@pytest.mark.parametrize("name", registry.names())
def test_an_algorithm_can_handle_its_own_example(name: str) -> None:
    algorithm = registry.get_algorithm(name, "a test")
    registry.check_spaces(algorithm, env_spec(EnvConfig(**algorithm.example_env)))


OWN = """
from dataclasses import replace
from rlsys.testing.algorithm import CHECKING

COUNTING = replace(CHECKING, name="counting")
SHADY = [replace(CHECKING, name=name) for name in ("env", "section", "model_dump", "_hidden", "two words")]
ENV, SECTION, DUMP, HIDDEN, WORDS = SHADY
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Writes a module with algorithms, where Python finds it, and one that cannot be imported; returns its name."""
    name = f"counting_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / f"broken_{name}.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_an_algorithm_of_ones_own_is_found_in_its_module_by_its_name(module: str, tmp_path: Path) -> None:
    assert registry.get_algorithm(f"{module}:counting", "a test").name == "counting"
    assert registry.section_of(f"{module}:counting") == "counting"
    (tmp_path / "mine.yaml").write_text(f"algorithm: {module}:counting\nenv: {{id: CartPole-v1}}\n")
    loaded = config.load(str(tmp_path / "mine.yaml"), overrides=["counting.batch_size=7", "debug=true"])
    assert loaded.experiment.section.batch_size == 7
    (described,) = [field for field in config.describe(loaded) if field.path == "counting.batch_size"]
    assert (described.value, described.default, described.layer) == (7, 16, "override")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{0}:count", "module '{0}' has no algorithm of that name; it has checking, counting, env, section, "),
        ("rlsys.types:x", "module 'rlsys.types' has no algorithm of that name; it has none. Correct it."),
        ("no_such_{0}:x", "module 'no_such_{0}' cannot be imported, ModuleNotFoundError: No module named"),
        ("broken_{0}:x", "module 'broken_{0}' cannot be imported, ZeroDivisionError: division by zero. Add the folder"),
        (":x", "module '' cannot be imported, ValueError: Empty module name. Add"),
        ("{0}:env", "'env' cannot be the name of a section beside algorithm, env, runtime, run. Give"),
        ("{0}:section", "'section' cannot be the name of a section"),
        ("{0}:model_dump", "'model_dump' cannot be the name of a section"),
        ("{0}:_hidden", "'_hidden' cannot be the name of a section"),
        ("{0}:two words", "'two words' cannot be the name of a section"),
        ("qqqq", "no algorithm 'qqqq'. Known: impala, "),
    ],
)
def test_one_that_is_not_there_or_cannot_have_its_name_is_one_line(
    module: str, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "mine.yaml").write_text(f"algorithm: '{name.format(module)}'\nenv: {{id: CartPole-v1}}\n")
    with pytest.raises(ConfigError) as caught:
        config.load(str(tmp_path / "mine.yaml"))
    assert message.format(module) in str(caught.value)
    assert "\n" not in str(caught.value)
