"""What a run may change when it goes on from its checkpoint, and what is refused before any worker starts."""

from pathlib import Path

import pytest

from rlsys import registry
from rlsys.checkpoints.checkpoint import Opened
from rlsys.checkpoints.storage import Fetched, FileRecord
from rlsys.config import load, override
from rlsys.errors import CheckpointError, RlsysError
from rlsys.metrics.rows import read_metrics
from rlsys.runs.continuation import check_continues
from rlsys.runtime.launch.launch import launch

SETTINGS = ("debug=true", "run.final_evaluation=[]", "run.wandb=disabled", "run.tensorboard=false", "run.run_tag=here")


def opened(*parts: str) -> Opened:
    """A checkpoint of these parts."""
    return Opened(10, {}, [FileRecord(f"{part}.json", 0, "") for part in parts], Fetched(Path()), CheckpointError)


@pytest.mark.parametrize(
    ("experiment", "change", "expected"),
    [
        (
            "ppo-cartpole",
            "ppo.hidden_size=32",
            r"ppo.hidden_size = 32 is not the 16 .*: .* \(32, 4\) instead of .*\(16, 4\)",
        ),
        (
            "ppo-cartpole",
            "ppo.num_environments=8",
            r"ppo.num_environments = 8 is not the 4 .*turn would be 8 instead of 4",
        ),
        ("ppo-cartpole", "ppo.epoch_length=20", r"ppo.epoch_length = 20 is not the 10 .*: segments.length would be 20"),
        ("impala-cartpole", "impala.network=lstm", r"impala.network = lstm is not the feedforward "),
        (
            "muzero-cartpole",
            "muzero.value_support=[-16, 14]",
            r"value_support = \[-16, 14\] is .* would mean something else",
        ),
        ("muzero-cartpole", "muzero.optimizer=SGD", r"optimizer = SGD is not the \w+ that the checkpoint was made wi"),
        ("simple-catch", "simple.world_model.hidden_size=24", r"simple.world_model.hidden_size = 24 is not the \d+ "),
        ("simple-catch", "simple.ppo_epochs_num=11", r"simple.ppo_epochs_num = 11 is not the \d+ .*updates in all"),
        (
            "ppo-cartpole",
            "runtime.learners=2",
            r"runtime.learners = 2 is not the 1 of checkpoint 10; .*learners=1, or launch",
        ),
        ("muzero-cartpole", "runtime.replay_shards=2", r"runtime.replay_shards = 2 is not the 1 of checkpoint 10"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_name_of_the_setting(experiment: str, change: str, expected: str) -> None:
    saved = load(experiment, overrides=SETTINGS)
    algorithm = registry.get_algorithm(saved.experiment.algorithm, "a test")
    loaded = override(saved, [change, "run.training_steps=1000", f"{algorithm.name}.eval_temperature=0.25"])
    with pytest.raises(CheckpointError, match=expected) as error:
        check_continues(saved, loaded, algorithm, opened("learner", "replay-0", "rollout-0"), inline=False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("inline", "advice"), [(True, "Leave --inline out"), (False, "Add --inline")])
def test_a_run_goes_on_in_one_process_or_in_many_as_it_began(inline: bool, advice: str) -> None:
    saved = load("ppo-cartpole", overrides=SETTINGS)
    parts = ["learner", "replay-0"] if inline else ["inline"]
    with pytest.raises(CheckpointError, match=advice):
        check_continues(saved, saved, registry.get_algorithm("ppo", "a test"), opened(*parts), inline=inline)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A run of PPO that has ended."""
    settings = [*SETTINGS, f"run.directory={tmp_path}", "run.training_steps=4", "run.log_every_learner_steps=1"]
    assert launch(load("ppo-cartpole", overrides=settings), inline=True, resume=None, overrides=()) == 0
    return tmp_path / "ppo-cartpole" / "here"


def test_budgets_rates_and_the_number_of_rollout_workers_may_change(trained: Path) -> None:
    for steps, change in (
        (6, "ppo.learning_rate=0.01"),
        (8, "runtime.rollout_workers=4"),
        (10, "runtime.rollout_workers=2"),
    ):
        changes = [f"run.training_steps={steps}", change]
        assert launch(None, inline=True, resume=str(trained), overrides=changes) == 0
    assert [row["learner_step"] for row in read_metrics(trained) if "loss/total" in row] == list(range(1, 11))


def test_another_algorithm_is_refused_and_nothing_is_written(trained: Path) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file() and path.parent.name != "lease"}
    for change, expected in (
        ("algorithm=impala", "algorithm = impala is not the ppo that the checkpoint was made with"),
        ("env.id=LunarLander-v3", r"env\.id = LunarLander-v3 is not the CartPole-v1 "),
        ("ppo.hidden_size=32", r"ppo\.hidden_size = 32 is not the 16 "),
    ):
        with pytest.raises(RlsysError, match=expected):
            launch(None, inline=True, resume=str(trained), overrides=[change])
    assert {path: path.read_bytes() for path in before} == before
