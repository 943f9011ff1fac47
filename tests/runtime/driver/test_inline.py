"""One process: what comes out of the pipe continues what went in, and stopping changes nothing."""

from typing import Any

import pytest
from support.runs import MakeRecorder, MakeSpec, rows_by_step, run_inline

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.errors import CheckpointError, WorkerError


def test_every_sampled_window_is_an_unbroken_run_and_the_ratio_is_held(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    spec = make_spec(run={"training_steps": 300, "log_every_learner_steps": 50})
    progress = run_inline(spec, make_recorder)
    assert progress.learner_steps == 300
    rows = rows_by_step(spec)
    last = rows[300]
    allowed = 4.0 * (last["replay/inserted"] - 200) + spec.store.error_buffer
    assert last["replay/sampled"] == 300 * 16
    assert last["replay/sampled"] <= allowed
    assert last["replay/sampled"] + 4.0 * 200 >= 4.0 * (last["replay/inserted"] - 200) - spec.store.error_buffer
    assert last["episodes/return"] > 0


def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(
    make_spec: MakeSpec, make_recorder: MakeRecorder, tmp_path: Any
) -> None:
    import dataclasses

    whole = make_spec(run={"training_steps": 120, "log_every_learner_steps": 10, "checkpoint_every_learner_steps": 0})
    run_inline(whole, make_recorder)

    first = make_spec(run={"training_steps": 50, "log_every_learner_steps": 10, "checkpoint_every_learner_steps": 0})
    first = dataclasses.replace(first, folder=tmp_path / "parts")
    run_inline(first, make_recorder)
    second = dataclasses.replace(first, run=whole.run)
    progress = run_inline(second, make_recorder, step=50)

    assert progress.learner_steps == 120
    assert rows_by_step(second) == rows_by_step(whole)


def test_checkpoints_come_at_their_steps_and_old_ones_go(make_spec: MakeSpec, make_recorder: MakeRecorder) -> None:
    spec = make_spec(run={"training_steps": 70, "checkpoint_every_learner_steps": 20, "keep_checkpoints": 2})
    run_inline(spec, make_recorder)
    assert Checkpoints(spec.folder / "checkpoints", keep=2).list() == (60, 70)


def test_a_number_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    spec = make_spec({"fail_at_step": 45}, run={"checkpoint_every_learner_steps": 20})
    with pytest.raises(WorkerError, match="loss/total is not finite at learner step 45"):
        run_inline(spec, make_recorder)
    assert Checkpoints(spec.folder / "checkpoints", keep=2).latest() == 40


def test_more_than_one_shard_is_refused(make_spec: MakeSpec, make_recorder: MakeRecorder) -> None:
    with pytest.raises(WorkerError, match="--inline has one learner and one shard"):
        run_inline(make_spec(runtime={"replay_shards": 2}), make_recorder)


def test_a_damaged_checkpoint_is_refused_by_name(make_spec: MakeSpec, make_recorder: MakeRecorder) -> None:
    spec = make_spec(run={"checkpoint_every_learner_steps": 20, "keep_checkpoints": 3})
    run_inline(spec, make_recorder)
    victim = spec.folder / "checkpoints" / "000000060" / "inline.safetensors"
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"inline\.safetensors.*Use --checkpoint 40, which is whole"):
        run_inline(spec, make_recorder, step=60)


def test_distributions_of_weights_are_tracked_where_that_is_asked_for(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    settings = {"training_steps": 20, "log_every_learner_steps": 10, "debug_histograms": True, "tensorboard": True}
    spec = make_spec(run=settings)
    run_inline(spec, make_recorder)
    written = b"".join(path.read_bytes() for path in (spec.folder / "tensorboard").rglob("*tfevents*"))
    assert b"weights/steps" in written
