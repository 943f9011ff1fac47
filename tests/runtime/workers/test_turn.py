"""Collecting and learning in turns: who has collected its share waits for weights that learned from it."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs import MakeRecorder, MakeSpec, run_inline, started

from rlsys import config
from rlsys.algorithms import ppo
from rlsys.api import Algorithm, Cut, Segments, Turns, Unrolls
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.errors import ConfigError
from rlsys.replay.stores import LocalReplay, make_store
from rlsys.runs.progress import Progress
from rlsys.runs.resolve import check, resolve
from rlsys.runs.spec import RunSpec
from rlsys.runs.workers import Worker, WorkerKind
from rlsys.runtime.driver.inline import InlineRun
from rlsys.runtime.workers import learning
from rlsys.runtime.workers.learning import LearnerWorker
from rlsys.runtime.workers.rollout import RolloutWorker
from rlsys.testing.algorithm import CHECKING
from rlsys.testing.unrolls import CHECKING_UNROLLS
from rlsys.types import Weights
from rlsys.weights import Packed, unpack

LENGTH = 7


def make_turn_spec(
    make_spec: MakeSpec,
    runtime: dict | None = None,
    run: dict | None = None,
    unrolls: int = 1,
    section: dict | None = None,
) -> RunSpec:
    section = {"length": LENGTH, "on_policy": unrolls, **(section or {})}
    settled = {"rollout_workers": 2, **(runtime or {})}
    return make_spec(section, settled, run, algorithm=CHECKING_UNROLLS, max_episode_steps=12)


def make_table_spec(
    make_spec: MakeSpec, turns: Turns, runtime: dict | None = None, stored_before_train: int = 1
) -> RunSpec:
    algorithm = replace(CHECKING, turns=lambda config, env: turns)
    section = {"stored_before_train": stored_before_train}
    settled = {"rollout_workers": 2, **(runtime or {})}
    return make_spec(section, settled, {"training_steps": 20}, algorithm=algorithm, max_episode_steps=12)


def weights(turn: int, version: int = 0) -> Weights:
    return Weights(version, 10 * turn, {"steps": np.zeros(1, np.int64)}, turn)


def collect(worker: RolloutWorker) -> int:
    """Steps until the turn is over; returns the unrolls."""
    unrolls = 0
    while not worker.awaits_weights:
        unrolls += sum(block.num_items for block in worker.step())
        assert unrolls < 100
    return unrolls


def test_a_worker_collects_its_share_and_waits_for_the_next_turn(make_spec: MakeSpec) -> None:
    worker = RolloutWorker(make_turn_spec(make_spec, unrolls=2), 0)
    worker.set_weights(weights(0))
    unrolls = collect(worker)
    assert 8 <= unrolls <= 12
    worker.set_weights(weights(0, version=1))
    assert worker.awaits_weights, "the same weights once more are not newer ones"
    worker.set_weights(weights(1, version=2))
    for step in range(1, 6):
        unrolls += collect(worker)
        worker.set_weights(weights(step + 1, version=step + 2))
        assert 0 <= unrolls - 8 * (step + 1) <= 4, "an environment that is ahead collects less the next time"


def local_replay(spec: RunSpec) -> LocalReplay:
    """A replay in this process to which no worker has brought its share of a turn."""
    store = make_store(spec.store, spec.stored_env, spec.cut)
    return LocalReplay(store, spec.num_environments, lambda turn: False)


def test_a_learner_whose_batch_is_lost_asks_for_another(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_turn_spec(make_spec)
    worker, published = RolloutWorker(spec, 0), []
    learner = LearnerWorker(spec, local_replay(spec), published.append)
    learner.publish()
    worker.set_weights(unpack(published[-1]))
    collect(worker)
    learner.train(time.monotonic() + 0.1, 10)
    assert len(published) == 1
    monkeypatch.setattr(learning, "_STARVED_S", 0.0)
    learner.train(time.monotonic() + 0.1, 10)
    worker.set_weights(unpack(published[-1]))
    assert not worker.awaits_weights
    assert learner.learner_step == 0


def test_a_worker_goes_on_within_its_turn_from_a_checkpoint(make_spec: MakeSpec) -> None:
    worker, resumed = (RolloutWorker(make_turn_spec(make_spec), 0) for _ in range(2))
    worker.set_weights(weights(0))
    collect(worker)
    resumed.load(worker.save())
    resumed.set_weights(weights(0, version=5))
    assert resumed.awaits_weights
    resumed.set_weights(weights(1, version=6))
    assert not resumed.awaits_weights


def test_a_learner_with_phases_says_when_it_wants_data_and_when_it_is_done(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    spec = make_turn_spec(make_spec, section={"rest_steps": 9, "batches": 5})
    progress = Progress(spec.run)
    run = InlineRun(spec, progress, make_recorder(spec, progress), Checkpoints(spec.folder / "checkpoints", keep=2))
    run.start(None)
    assert run.run() == "the learner has gone through all its phases"
    assert progress.learner_steps == 4 * 10 + 1
    assert 4 * 8 * LENGTH < progress.env_steps <= 6 * 8 * LENGTH, "nobody collects while the learner is busy otherwise"


@pytest.mark.parametrize(
    ("num_environments", "shared"), [(1, (200, 16)), (2, (200, 8)), (48, (67, 1)), (3, (200, 6)), (5_000, (1, 1))]
)
def test_a_turn_is_as_long_however_many_environments_share_it(num_environments: int, shared: tuple[int, int]) -> None:
    cut, turns = Turns(rows=3_200).shared_out(Unrolls(length=200), num_environments)
    assert (cut.length, turns.unrolls) == shared
    assert cut.length * turns.unrolls * num_environments >= 3_200
    assert Turns(unrolls=3).shared_out(Unrolls(length=7), num_environments) == (Unrolls(length=7), Turns(unrolls=3))
    assert Turns(rows=9).shared_out(Segments(length=7), num_environments) == (Segments(length=7), Turns(rows=9))


@pytest.mark.parametrize(
    ("turns", "cut", "message"),
    [
        (Turns(unrolls=2), Segments(length=7), "a turn of unrolls = 2 that is cut into Segments; Segments are counted"),
        (Turns(episodes=1), Unrolls(length=7), "a turn of episodes = 1 that is cut into Unrolls; Segments are counted"),
    ],
)
def test_turns_that_cannot_be_counted_are_refused(turns: Turns, cut: Cut, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        turns.shared_out(cut, 4)


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 9])
def test_an_iteration_of_ppo_learns_from_the_same_rows_whatever_the_number_of_workers(workers: int) -> None:
    overrides = ["debug=true", f"runtime.rollout_workers={workers}"]
    spec = resolve(config.load("ppo-cartpole", overrides=overrides), ppo.ALGORITHM, num_cpus=1, num_gpus=0)
    published: list[Packed] = []
    queue = local_replay(spec)
    learner = LearnerWorker(spec, queue, published.append)
    learner.publish()
    for index in range(spec.num_rollout_workers):
        worker = RolloutWorker(spec, index)
        worker.set_weights(unpack(published[-1]))
        while not worker.awaits_weights:
            for block in worker.step():
                queue.store.insert(block)
    batch = queue.sample(spec.store.batch_size, spec.cut.length)
    assert batch.reward.shape == (4, 10)
    assert len(np.unique(batch.environment)) == 4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["runtime.environments_per_worker=8"],
            r"environments_per_worker = 8 with ppo.num_environments = 16, which",
        ),
        (["runtime.learners=3"], r"ppo.num_environments = 16 cannot be divided among runtime.learners = 3"),
        (
            ["runtime.learners=2", "runtime.rollout_workers=1"],
            r"rollout_workers = 1 with runtime.learners = 2; ppo needs",
        ),
    ],
)
def test_environments_that_cannot_be_shared_as_asked_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(config.load("ppo-cartpole", overrides=overrides), ppo.ALGORITHM, num_cpus=1, num_gpus=0)


@pytest.mark.parametrize(
    ("algorithm", "turns", "stored_before_train"),
    [
        (CHECKING_UNROLLS, Turns(unrolls=1), 1),
        (CHECKING_UNROLLS, Turns(rows=50), 1),
        (CHECKING, Turns(rows=50), 1),
        (CHECKING, Turns(rows=50), 200),
        (CHECKING, Turns(episodes=1), 200),
    ],
)
def test_an_inline_run_that_takes_turns_equals_itself_when_it_is_stopped_and_resumed(
    algorithm: Algorithm,
    turns: Turns,
    stored_before_train: int,
    make_spec: MakeSpec,
    make_recorder: MakeRecorder,
    tmp_path: Path,
) -> None:
    if algorithm is CHECKING:
        spec = make_table_spec(make_spec, turns, stored_before_train=stored_before_train)
    else:
        spec = replace(make_turn_spec(make_spec), algorithm=replace(algorithm, turns=lambda config, env: turns))

    def learn(name: str, until: int) -> tuple[int, list[Any]]:
        settings = {"training_steps": until, "checkpoint_every_learner_steps": 0}
        mine = replace(spec, folder=tmp_path / name, run=spec.run.model_copy(update=settings))
        checkpoints = Checkpoints(mine.checkpoints, keep=2)
        progress = run_inline(mine, make_recorder, checkpoints.latest())
        saved, own = checkpoints.open(until).read("inline"), ("env", "policy", "state", "turn")
        workers = [{part: worker[part] for part in own} for worker in saved["workers"]]
        return progress.env_steps, [saved["learner"], saved["acting"], workers]

    learn("parts", 7)
    whole, parts = learn("whole", 20), learn("parts", 20)
    np.testing.assert_equal(parts, whole)
    assert whole[0] <= (20 + 5) * 12 * spec.num_environments, "nobody collects while it is the learner's turn"


@pytest.mark.parametrize(("turns", "decisions"), [(Turns(rows=50), 7), (Turns(episodes=1), 12)])
def test_turns_work_on_tables_which_are_drawn_from_when_all_have_collected(
    turns: Turns, decisions: int, make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    spec = make_table_spec(make_spec, turns)
    progress = run_inline(spec, make_recorder)
    environments = spec.num_environments
    assert 19 * environments <= progress.env_steps <= 20 * decisions * environments
    if turns.rows:
        assert progress.env_steps == 20 * decisions * environments, (
            "each update waits for a turn, and asks for the next"
        )


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        ({"replay_shards": 2}, "replay_shards = 2 with 1 learners and 2 rollout workers; checking needs one shard for"),
        ({"replay_shards": 2, "learners": 2, "rollout_workers": 3}, "3 rollout workers; checking needs one shard for"),
    ],
)
def test_what_would_wait_for_ever_is_refused(runtime: dict, message: str, make_spec: MakeSpec) -> None:
    with pytest.raises(ConfigError, match=message):
        check(make_turn_spec(make_spec, runtime))


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.xdist_group("ray")
class TestOnRay:
    """The same as processes."""

    def test_ranks_take_turns_on_a_table_and_ask_for_more_of_them_until_it_holds_enough(
        self, make_spec: MakeSpec, make_recorder: MakeRecorder
    ) -> None:
        runtime = {"learners": 2, "replay_shards": 2}
        spec = make_table_spec(make_spec, Turns(episodes=1), runtime, stored_before_train=200)
        with started(spec, make_recorder) as run:
            run.supervisor.run()
        assert run.progress.learner_steps == 20
        assert run.progress.env_steps <= (3 + 21) * 12 * spec.num_environments, "workers rest meanwhile"

    def test_workers_rest_while_the_learner_is_in_another_phase(
        self, make_spec: MakeSpec, make_recorder: MakeRecorder
    ) -> None:
        spec = make_turn_spec(make_spec, run={"training_steps": 1_000}, section={"rest_steps": 29, "batches": 5})
        with started(spec, make_recorder) as run:
            assert run.supervisor.run() == "the learner has gone through all its phases"
            assert run.progress.learner_steps == 4 * 30 + 1
            assert 4 * 8 * LENGTH < run.progress.env_steps <= 6 * 8 * LENGTH

    def test_ranks_take_turns_with_the_workers_of_their_shards(
        self, make_spec: MakeSpec, make_recorder: MakeRecorder
    ) -> None:
        spec = make_turn_spec(make_spec, {"replay_shards": 2, "learners": 2}, {"training_steps": 60})
        with started(spec, make_recorder) as run:
            with pytest.raises(ConfigError, match=r"rollout_workers = 4 of a run that .* End it with"):
                run.supervisor.scale(4)
            assert run.supervisor.run() == "60 learner steps are done"
            assert run.progress.env_steps <= 62 * 8 * LENGTH
            with pytest.raises(ConfigError, match="it is about to end: 60 learner steps are done"):
                run.supervisor.scale(4)

    def test_turns_go_on_when_a_process_is_killed(self, make_spec: MakeSpec, make_recorder: MakeRecorder) -> None:
        spec = make_turn_spec(make_spec, run={"training_steps": 10_000, "checkpoint_every_learner_steps": 10})
        with started(spec, make_recorder) as run:
            run.work_until(lambda: run.checkpoints.latest() is not None)
            for victim in (Worker.rollout(0), Worker(WorkerKind.LEARNER, 0)):
                os.kill(run.pid_of(victim.kind.value), signal.SIGKILL)
                run.work_until(lambda victim=victim: run.supervisor.restarts(victim) == 1)
                before = run.progress.learner_steps
                run.work_until(lambda before=before: run.progress.learner_steps > before + 20)
