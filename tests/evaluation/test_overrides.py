"""What an evaluation sets for itself: which settings, which values, and what the weights do not fit."""

from pathlib import Path
from typing import Any

import pytest
from support.games import SEARCHING, evaluation_of, making_runs

from rlsys.api import Policy, PolicyContext
from rlsys.config import EnvConfig, Loaded, RunConfig, build
from rlsys.envs.make import env_spec
from rlsys.errors import CheckpointError, ConfigError, RlsysError
from rlsys.evaluation.options import EvaluationOptions
from rlsys.evaluation.overrides import check_policy, with_overrides, words_of
from rlsys.evaluation.run import evaluate_run
from rlsys.exports.find import give_weights
from rlsys.types import Weights

OPTIONS = {"run.seed": "--seed"}


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """A run of the searching algorithm on CartPole."""
    making_runs(tmp_path, monkeypatch)
    sections = {"env": EnvConfig(id="CartPole-v1").model_dump(), "run": RunConfig().model_dump()}
    return Loaded("a", "saved", build({"algorithm": "searching", **sections}, "the test"), {})


def test_settings_of_the_environment_and_of_the_algorithm_differ_and_are_named(loaded: Loaded) -> None:
    overrides = ["searching.num_simulations=9", "searching.only_prior=true", "env.max_episode_steps=7"]
    changed, changes = with_overrides(loaded, SEARCHING, overrides, OPTIONS)
    assert changed.experiment.section.num_simulations == 9
    assert changed.experiment.env.max_episode_steps == 7
    assert changes == {"searching.num_simulations": 9, "env.max_episode_steps": 7, "searching.only_prior": True}
    assert words_of(changes) == overrides
    assert with_overrides(loaded, SEARCHING, [], OPTIONS) == (loaded, {})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.seed=3", "run.seed cannot be changed here; only settings of env and searching can. Use --seed."),
        ("run.minutes=3", "run.minutes cannot be changed here; only settings of env and searching can. Leave it out."),
        (
            "runtime.learners=2",
            "runtime.learners cannot be changed here; only settings of env and searching can. Leave",
        ),
        (
            "algorithm=checking",
            "algorithm cannot be changed here; only settings of env and searching can. Leave it out",
        ),
        ("num_simulations=3", "can. Did you mean 'searching.num_simulations'?"),
        ("muzero.num_simulations=3", "can. Did you mean 'searching.num_simulations'?"),
        ("searching.num_simulation=3", "unknown key 'searching.num_simulation' on the command line. Did you mean 'num"),
        ("searching.num_simulations=0", "searching.num_simulations = 0; it must be greater than or equal to 1"),
        ("searching.num_simulations=x", "searching.num_simulations = 'x'; it must be a valid integer"),
        (
            "searching.support=9",
            "searching.support = 9 is not the 15 of the training; what has been learned would mean",
        ),
        ("env.stack_states=3", "KEY=VALUE of env gives observations 3 × float32 (4,) and actions Discrete(2); the run"),
        (
            "env.id=Pendulum-v1",
            "gives observations float32 (3,) and actions Box(-2, 2, (1,)); the run has float32 (4,) and Discrete(2).",
        ),
        ("env.id=Acrobot-v1", "KEY=VALUE of env gives observations float32 (6,) and actions Discrete(3); the run has "),
        ("env.clip_rewards=true", "KEY=VALUE of env: clip_rewards = True; evaluations count raw rewards"),
        ("only_prior", "override 'only_prior' is not KEY=VALUE."),
    ],
)
def test_what_cannot_differ_is_refused_in_one_line(loaded: Loaded, override: str, message: str) -> None:
    with pytest.raises(RlsysError) as refused:
        with_overrides(loaded, SEARCHING, [override], OPTIONS)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_setting_is_given_once(loaded: Loaded) -> None:
    with pytest.raises(ConfigError, match=r"searching\.num_simulations is given twice"):
        with_overrides(loaded, SEARCHING, ["searching.num_simulations=3", "searching.num_simulations=4"], OPTIONS)


def test_settings_of_which_no_policy_can_be_built_are_refused_by_name() -> None:
    context = PolicyContext(None, env_spec(EnvConfig(id="CartPole-v1")), seed=0)

    def make_policy(context: PolicyContext) -> Policy:
        raise ValueError("not enough\nvalues.")

    with pytest.raises(ConfigError) as refused:
        check_policy(make_policy, context, {"a.b": 1, "a.c": [2]})
    assert str(refused.value) == (
        "with a.b=1, a.c=[2] no policy can be built for 'CartPole-v1': not enough values. Leave out what changes its "
        "networks."
    )
    check_policy(make_policy, context, {})


def test_weights_of_another_network_are_refused_by_what_was_set() -> None:
    class Misfit:
        def set_weights(self, weights: Weights) -> Any:
            raise ValueError("(3,) is not (4,)")

    with pytest.raises(CheckpointError, match=r"Use the version of rlsys, and the settings of networks, that trained"):
        give_weights(Misfit(), Weights(1, 1, {}))  # type: ignore[arg-type]


def test_nothing_is_written_where_an_override_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = making_runs(tmp_path, monkeypatch)("searching")
    evaluate_run(EvaluationOptions(str(folder), episodes=1))
    before = evaluation_of(folder)
    assert before["overrides"] == {}
    with pytest.raises(ConfigError, match=r"run\.evaluation_episodes cannot be changed here; .* Use --episodes\."):
        evaluate_run(EvaluationOptions(str(folder), overrides=("run.evaluation_episodes=3",)))
    assert evaluation_of(folder) == before
