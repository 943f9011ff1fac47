"""Configuration: which layer wins, who set what, and what a refused value says."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.refusals import refusal

from rlsys import config
from rlsys.config import Experiment, RunConfig, RuntimeConfig
from rlsys.envs.families.classic import GymnasiumConfig
from rlsys.errors import ConfigError
from rlsys.files.yaml_tree import format_yaml, leaves, merge, read_written, read_yaml
from rlsys.testing.algorithm import CHECKING

pytestmark = pytest.mark.usefixtures("folders")
SECTIONS = {"env": GymnasiumConfig, "runtime": RuntimeConfig, "run": RunConfig, "checking": CHECKING.config_type}


def test_later_layers_win_and_the_origin_names_the_winner() -> None:
    loaded = config.load("checking-cartpole", overrides=["run.minutes=2", "checking.batch_size=64"])
    experiment = loaded.experiment
    assert (experiment.run.seed, loaded.origin["run.seed"]) == (3, "experiment")
    assert (experiment.run.evaluation_episodes, loaded.origin["run.evaluation_episodes"]) == (7, "experiment")
    assert (experiment.runtime.rollout_workers, loaded.origin["runtime.rollout_workers"]) == (4, "profile")
    assert (experiment.run.minutes, loaded.origin["run.minutes"]) == (2.0, "override")
    assert (experiment.section.batch_size, loaded.origin["checking.batch_size"]) == (64, "override")
    assert (experiment.section.length, "checking.length" in loaded.origin) == (5, False)


def test_an_experiment_wins_over_the_default_profile_and_loses_against_one_that_is_named(
    folders: Callable[[str, str], Path],
) -> None:
    mine = str(folders("mine", "algorithm: checking\nruntime: {rollout_workers: 1}"))
    layers = {profile: config.load(mine, profile) for profile in (None, "laptop")}
    found = {
        profile: (loaded.experiment.runtime.rollout_workers, loaded.origin["runtime.rollout_workers"])
        for profile, loaded in layers.items()
    }
    assert found == {None: (1, "experiment"), "laptop": (4, "profile")}
    assert {loaded.experiment.runtime.environments_per_worker for loaded in layers.values()} == {8}, "left open"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["run.seed=1", "run.seed=2"], "run.seed is given twice, as '1' and as '2'"),
        (["debug=true", "debug=true"], "debug is given twice"),
        (["run={seed: 1}", "run.seed=2"], "run.seed is given twice, once in what is around it"),
        (["run=3", "run.seed=2"], "run.seed is given twice, once in what is around it"),
    ],
)
def test_a_key_that_is_given_twice_is_refused(overrides: list[str], message: str) -> None:
    assert message in refusal("checking-cartpole", None, *overrides)


def test_an_experiment_and_a_profile_may_be_files(folders: Callable[[str, str], Path]) -> None:
    experiment = folders("mine", "algorithm: checking")
    profile = folders("theirs", "runtime: {learners: 2}")
    loaded = config.load(str(experiment), str(profile))
    assert (loaded.name, loaded.experiment.runtime.learners) == ("mine", 2)


def test_debug_shrinks_the_final_evaluation_and_bounds_every_evaluated_game(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "algorithm: checking\nrun:\n  final_evaluation: [{name: a, episodes: 400, repetitions: 2}, {name: b}]\n"
    )
    run = config.load(str(path), overrides=["debug=true"]).experiment.run
    assert [(final.name, final.episodes, final.repetitions) for final in run.final_evaluation] == [
        ("a", 1, 1),
        ("b", 1, 1),
    ]
    assert run.evaluation_episodes == 1 and run.evaluation_max_steps == 200
    mine = ["debug=true", "run.final_evaluation=[{name: c, episodes: 7}]", "run.evaluation_max_steps=null"]
    run = config.load(str(path), overrides=mine).experiment.run
    assert (run.final_evaluation[0].episodes, run.evaluation_max_steps) == (7, None)
    run = config.load(str(path)).experiment.run
    assert (run.final_evaluation[0].episodes, run.evaluation_max_steps) == (400, None)


def test_debug_shrinks_beneath_other_overrides() -> None:
    loaded = config.load("checking-cartpole", overrides=["run.training_steps=9", "debug=true"])
    assert loaded.experiment.runtime.rollout_workers == 1
    assert loaded.experiment.section.batch_size == 2
    assert loaded.experiment.run.training_steps == 9
    assert loaded.origin["checking.batch_size"] == "debug"
    assert loaded.origin["run.training_steps"] == "override"
    assert config.load("checking-cartpole", overrides=["debug=false"]).experiment.section.batch_size == 32


def test_overrides_of_a_loaded_experiment_keep_the_rest() -> None:
    loaded = config.load("checking-cartpole", overrides=["run.seed=9"])
    changed = config.override(loaded, ["run.minutes=1", "checking.length=2"])
    assert changed.experiment.run == loaded.experiment.run.model_copy(update={"minutes": 1.0})
    assert (changed.experiment.section.length, changed.experiment.section.batch_size) == (2, 32)
    assert changed.origin["run.seed"] == changed.origin["run.minutes"] == "override"
    with pytest.raises(ConfigError, match=r"unknown key 'run\.minuts' on the command line"):
        config.override(loaded, ["run.minuts=1"])


def test_an_unknown_experiment_profile_or_algorithm_gets_a_suggestion() -> None:
    assert refusal("cheking-cartpole") == (
        "no experiment 'cheking-cartpole'. Did you mean 'checking-cartpole'? 'rlsys list' shows all."
    )
    assert "no profile 'laptob'. Did you mean 'laptop'?" in refusal("checking-cartpole", "laptob")
    assert "Known: laptop." in refusal("checking-cartpole", "zzz")
    assert "no experiment file 'there/is/none.yaml'" in refusal("there/is/none.yaml")
    assert "no algorithm 'chequing'. Did you mean 'checking'?" in refusal(
        "checking-cartpole", "laptop", "algorithm=chequing"
    )


def test_an_unknown_key_names_its_source_and_the_nearest_key(folders: Callable[[str, str], Path]) -> None:
    path = folders("configs/typo", "algorithm: checking\nchecking: {batch_sise: 3}\n")
    assert refusal("typo") == f"unknown key 'checking.batch_sise' in {path}. Did you mean 'batch_size'?"
    assert refusal("checking-cartpole", "laptop", "run.sead=1") == (
        "unknown key 'run.sead' on the command line. Did you mean 'seed'?"
    )


def test_a_key_of_another_section_is_found_there() -> None:
    assert "Did you mean 'checking.batch_size'?" in refusal("checking-cartpole", "laptop", "batch_size=3")
    assert "Did you mean 'runtime.learners'?" in refusal("checking-cartpole", "laptop", "env.learners=3")
    assert "Known here: batch_size, " in refusal("checking-cartpole", "laptop", "checking.zzz=3")


def test_a_wrong_type_names_key_value_what_is_allowed_and_where(folders: Callable[[str, str], Path]) -> None:
    path = folders("launch/bad", "runtime: {learners: many}")
    assert refusal("checking-cartpole", "bad") == (
        f"runtime.learners = 'many'; it must be a valid integer. Correct it in {path}."
    )
    assert refusal("checking-cartpole", "laptop", "runtime.rollout_workers=lots") == (
        "runtime.rollout_workers = 'lots'; it must be a valid integer or 'auto'. Correct it on the command line."
    )
    assert refusal("checking-cartpole", "laptop", "run.wandb=offlin") == (
        "run.wandb = 'offlin'; it must be 'auto', 'online', 'offline' or 'disabled'. Correct it on the command line."
    )
    assert refusal("checking-cartpole", "laptop", "run=3").startswith("run = 3; it must be ")


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("run.minutes=0", "it must be greater than 0"),
        ("run.minutes=.inf", "it must be a finite number"),
        ("runtime.environments_per_worker=0", "it must be greater than or equal to 1"),
        ("env.frame_size=[84, 84, 3]", "at most 2 items"),
        ("env.frame_size=[84, wide]", "it must be a valid integer"),
        ("debug=perhaps", "it must be true or false"),
    ],
)
def test_a_value_out_of_bounds_says_what_is_allowed(override: str, allowed: str) -> None:
    text = refusal("checking-cartpole", "laptop", "env.id=PongNoFrameskip-v4", override)
    assert text.startswith(f"{override.partition('=')[0]} = ")
    assert allowed in text


def test_values_that_exclude_each_other_are_refused() -> None:
    text = refusal("checking-cartpole", "laptop", "env.norm_states=true")
    assert text.startswith("env: norm_states = true needs state_range")
    assert "lo < hi" in refusal("checking-cartpole", "laptop", "env.state_range=[3, 1]")


def test_an_experiment_without_an_algorithm_is_refused(folders: Callable[[str, str], Path]) -> None:
    path = folders("configs/none", "run: {seed: 1}")
    assert refusal("none") == f"{path} has no 'algorithm'; it must name one of checking. Add algorithm: NAME."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "must hold a mapping of sections, not a list"),
        ("run: {seed: 1", "is not valid YAML"),
        ("run: {seed: 1, seed: 2}", "key 'seed' is given twice"),
    ],
)
def test_a_broken_file_is_named(folders: Callable[[str, str], Path], text: str, message: str) -> None:
    path = folders("configs/broken", text)
    refused = refusal("broken")
    assert refused.startswith(str(path))
    assert message in refused


def test_a_file_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert refusal(str(path)).startswith(f"{path} cannot be read")


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "empty.yaml") == {}


def test_dump_and_build_are_inverse(tmp_path: Path) -> None:
    experiment = config.load(
        "checking-cartpole",
        overrides=["env.state_range=[0, 255]", "run.run_tag=1e3", "run.group_tag=null", "run.minutes=1e-5"],
    ).experiment
    path = tmp_path / "config.yaml"
    path.write_text(config.dump(experiment))
    assert config.build(read_written(path), str(path)) == experiment


def test_text_that_looks_like_another_type_survives_a_round_trip(tmp_path: Path) -> None:
    tree = {
        "texts": ["1e3", "true", "off", "~", "", "12:30", "0x10", "2026-01-31", "-.inf", "1_0"],
        "numbers": [1e-7, -3],
    }
    (tmp_path / "tree.yaml").write_text(format_yaml(tree))
    assert read_yaml(tmp_path / "tree.yaml") == tree


def test_merge_replaces_leaves_and_changes_neither_side() -> None:
    base, over = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 5}, "d": {"e": 6}}
    assert merge(base, over) == {"a": {"b": 1, "c": 5}, "d": {"e": 6}}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}
    assert list(leaves(merge(base, over))) == ["a.b", "a.c", "d.e"]


def test_describe_lists_every_field_with_value_default_layer_and_meaning() -> None:
    fields = {
        field.path: field for field in config.describe(config.load("checking-cartpole", overrides=["run.seed=4"]))
    }
    expected = {f"{section}.{name}" for section, model in SECTIONS.items() for name in model.model_fields}
    assert set(fields) == expected | {"algorithm"}
    assert all(field.meaning for field in fields.values())
    seed = fields["run.seed"]
    assert (seed.value, seed.default, seed.layer) == (4, 0, "override")
    assert fields["env.stack_states"].value == 1
    assert (fields["checking.length"].layer, fields["checking.batch_size"].layer) == ("default", "experiment")
    assert fields["algorithm"].default is None


def test_experiments_are_immutable() -> None:
    experiment: Experiment = config.load("checking-cartpole").experiment
    with pytest.raises(ValueError, match="frozen"):
        experiment.run.seed = 5  # type: ignore[misc]
