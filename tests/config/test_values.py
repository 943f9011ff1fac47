"""What is written after KEY= or in a file is read by the type of its field."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.refusals import refusal

from rlsys import config
from rlsys.config.values import given
from rlsys.files.yaml_tree import read_written

pytestmark = pytest.mark.usefixtures("folders")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1e6", 1e6),
        ("-2", -2),
        ("1_000", 1000),
        (".5", 0.5),
        ("true", True),
        ("null", None),
        ("", None),
        ("[0, 255]", [0, 255]),
        ("{a: 1}", {"a": 1}),
        ("off", "off"),
        ("2026-01-31", "2026-01-31"),
        ("12:30", "12:30"),
        ("a=b", "a=b"),
        ("ALE/Breakout-v5", "ALE/Breakout-v5"),
    ],
)
def test_values_are_read_as_yaml_where_the_field_says_no_more(text: str, value: object) -> None:
    assert given(Any, text) == value


@pytest.mark.parametrize("text", ["run.seed", "=1", "run..seed=1", ".seed=1", "a.b.c.d.e.f.g.h.i.j.k.l.m=1"])
def test_what_is_not_key_equals_value_is_refused(text: str) -> None:
    assert refusal("checking-cartpole", "laptop", text).startswith(f"override '{text}")


@pytest.mark.parametrize("value", ["{a", "[1", "!!python/name:os.system", "&a [*a]", "[" * 3_000, "@"])
def test_a_value_that_is_no_plain_yaml_is_refused(value: str) -> None:
    assert " is not a YAML value: " in refusal("checking-cartpole", "laptop", f"run.seed={value}")


TEXTS = ["3e563", "1_000", "017", "0o17", "0x1F", "true", "Null", "~", "=", "<<", "2026-01-31", "12:30", " a ", "a: b"]
TEXTS += [
    "[1",
    "'quoted'",
    "#",
    "-",
    "é…",
    "a\nb",
    "\t",
    "1.50",
    ".inf",
    "!x",
    "*y",
    "&z",
    "%",
    "@",
    "a  b" * 40,
    "\u2028",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_arrives_verbatim_and_survives_config_yaml(text: str, tmp_path: Path) -> None:
    loaded = config.load("checking-cartpole", overrides=[f"run.wandb_project={text}", f"run.group_tag={text}"])
    assert (loaded.experiment.run.wandb_project, loaded.experiment.run.group_tag) == (text, text)
    path = tmp_path / "config.yaml"
    path.write_text(config.dump(loaded.experiment), encoding="utf-8")
    assert config.build(read_written(path), str(path)) == loaded.experiment


@pytest.mark.parametrize("text", ["3e563", "1_000", "017", "true", "2026-01-31", "=", "12:30", "0x1F"])
def test_a_text_without_quotes_in_a_file_arrives_verbatim(text: str, folders: Callable[[str, str], Path]) -> None:
    path = folders("mine", f"algorithm: checking\nrun: {{run_tag: {text}, group_tag: {text}}}")
    run = config.load(str(path)).experiment.run
    assert (run.run_tag, run.group_tag) == (text, text)


def test_null_is_nothing_where_there_may_be_nothing_and_else_a_text() -> None:
    run = config.load("checking-cartpole", overrides=["run.run_tag=null", "run.group_tag=null"]).experiment.run
    assert (run.run_tag, run.group_tag) == (None, "null")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.seed=true", "run.seed = True; it must be a valid integer"),
        ("run.seed='1'", "run.seed = '1'; it must be a valid integer"),
        ("run.minutes=true", "run.minutes = True; it must be a valid number"),
        ("run.video=1", "run.video = 1; it must be a valid boolean"),
        ("run.video=yes", "run.video = 'yes'; it must be a valid boolean"),
        ("runtime.rollout_workers=true", "runtime.rollout_workers = True; it must be a valid integer or 'auto'"),
        ("run.evaluation_temperatures=[false]", "run.evaluation_temperatures = [False]; it must be a valid number"),
        ("env.kwargs=3", "env.kwargs = 3; it must be a valid dictionary"),
        ("run.evaluation_env={norm_states: 1}", "norm_states = 1: Input should be a valid boolean"),
        ("run.evaluation_env.stack_states=true", "stack_states = True: Input should be a valid integer"),
        ("run.evaluation_env={stack_stats: 2}", "unknown key 'stack_stats'. Did you mean 'stack_states'?"),
        ("run.evaluation_env={num_levels: 2}", "unknown key 'num_levels'."),
        ("run.final_evaluation=[{name: a, env: {stack_states: true}}]", "stack_states = True: Input should be"),
        ("run.group_tag=a\0b", "it must be a text without NUL characters"),
        ("env.id=\udcff", "it must be valid UTF-8"),
        ("run.seed=-1", "it must be greater than or equal to 0"),
        ("run.seed=2147483648", "it must be less than or equal to 2147483647"),
        ("run.training_steps=1e21", "it must be less than or equal to 1000000000000"),
        ("run.minutes=1e308", "it must be less than or equal to 10000000"),
        (f"run.seed={'9' * 9_000}", "it must be a valid integer"),
        (f"run.minutes={'9' * 9_000}", "it must be a finite number"),
    ],
)
def test_a_value_of_another_kind_or_size_is_refused(override: str, message: str) -> None:
    assert message in refusal("checking-cartpole", "laptop", override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("env.frame_size=[true, 84]", "env.frame_size = [True, 84]; it must be a valid integer"),
        ("env.noop_mx=3", "unknown key 'env.noop_mx' on the command line. Did you mean 'noop_max'?"),
        ("env.num_levels=3", "env.num_levels = 3 with 'PongNoFrameskip-v4'; only ProcGen games have it. Leave it out."),
        ("run.evaluation_env={grayscale: 1}", "grayscale = 1: Input should be a valid boolean"),
        ("run.evaluation_env.frame_skip=true", "frame_skip = True: Input should be a valid integer"),
        ("run.evaluation_env={frame_skpi: 2}", "unknown key 'frame_skpi'. Did you mean 'frame_skip'?"),
        ("run.evaluation_env={id: procgen-maze, num_levels: true}", "num_levels = True: Input should be"),
        ("run.final_evaluation=[{name: a, env: {frame_skip: true}}]", "frame_skip = True: Input should be"),
    ],
)
def test_a_familys_own_settings_are_read_and_refused_as_all_others(override: str, message: str) -> None:
    assert message in refusal("checking-cartpole", "laptop", "env.id=PongNoFrameskip-v4", override)


def test_what_only_others_have_says_nothing_as_long_as_it_is_their_default() -> None:
    overrides = ["env.id=catch", "env.frame_size=[96, 96]", "env.dmlab_renderer=software"]
    loaded = config.load("checking-cartpole", overrides=overrides)
    assert type(loaded.experiment.env) is config.EnvConfig


def test_texts_within_other_settings_are_texts_too() -> None:
    overrides = ["run.evaluation_env={id: 1e3}", "run.final_evaluation=[{name: 017, env: {id: true}}]"]
    run = config.load("checking-cartpole", overrides=overrides).experiment.run
    assert run.evaluation_env == {"id": "1e3"}
    assert (run.final_evaluation[0].name, run.final_evaluation[0].env) == ("017", {"id": "true"})


def test_numbers_in_scientific_notation_fit_integer_fields() -> None:
    assert (
        config.load("checking-cartpole", overrides=["run.training_steps=2e5"]).experiment.run.training_steps == 200_000
    )


def test_a_tag_that_looks_like_a_number_is_text() -> None:
    assert config.load("checking-cartpole", overrides=["run.run_tag=17"]).experiment.run.run_tag == "17"
