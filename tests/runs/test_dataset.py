"""Replay begins with a data set: all of it once, cut as rollout workers do; what does not fit is refused."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.runs import MakeRecorder, MakeSpec, rows_by_step, run_inline, started

from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError
from rlsys.replay.stores import LimitedTable
from rlsys.runs.dataset import check_dataset, segments_of
from rlsys.runs.spec import RunSpec
from rlsys.testing.algorithm import PATIENT
from rlsys.types import EpisodeRecord
from rlsys.viewer.episodes import write_episodes

_LENGTHS = (7, 45, 20, 1, 30)


def episode(number: int, length: int, *, is_cut: bool = False) -> EpisodeRecord:
    """As the counting environment shows it."""
    step = np.arange(length + 1)
    seen = np.stack([np.full(length + 1, 9), np.full(length + 1, number), step], axis=1).astype(np.float32)
    terminated = (step[1:] == length) & (not is_cut)
    return EpisodeRecord(seen, step[:-1] % 3, step[1:].astype(np.float32), terminated)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "episodes"
    write_episodes(found, [episode(number, length, is_cut=number == 2) for number, length in enumerate(_LENGTHS)])
    return found


def offline(make_spec: MakeSpec, source: Path | str, share: float = 1.0, **options: object) -> RunSpec:
    section = {"refreshed_share": share, "stored_before_train": 50, **options.pop("section", {})}
    run = {"dataset": str(source), "training_steps": 40, "log_every_learner_steps": 10, **options.pop("run", {})}
    return make_spec(section=section, run=run, **options)


@pytest.mark.parametrize("shards", [1, 2])
def test_each_decision_is_an_item_once_and_time_limits_are_no_ends(
    make_spec: MakeSpec, folder: Path, shards: int
) -> None:
    spec = offline(make_spec, folder, runtime={"replay_shards": shards})
    rewards, cut = [], 0
    for shard in range(shards):
        store = LimitedTable(spec.store, spec.stored_env, spec.cut, share=shards)
        store.begin_with(segments_of(spec, shard))
        assert store.inserted_items == -(-50 // shards), "ratios count what is waited for, and no more"
        size = store.num_items
        batch = store.table.sample(size, 3, None, (np.arange(size) + 0.5) / size)
        rewards += batch.reward[:, 0].tolist()
        cut += int(batch.truncated[:, 0].sum())
        assert (batch.weights_version == -1).all()
        assert not batch.extras["value"].any()
        assert np.array_equal(batch.observation[:, 0, 2] + 1, batch.reward[:, 0])
    assert sorted(rewards) == sorted(step + 1.0 for length in _LENGTHS for step in range(length))
    assert cut == 1


def test_where_rewards_are_clipped_those_of_a_data_set_are(make_spec: MakeSpec, folder: Path) -> None:
    spec = offline(make_spec, folder)
    spec = replace(spec, env_spec=env_spec(EnvConfig(id="rlsys/Counting-v0", clip_rewards=True)))
    assert {reward for segment in segments_of(spec) for reward in segment.reward.tolist()} == {1.0}


@pytest.mark.parametrize("ratio", [None, 4.0])
def test_without_environments_a_run_refreshes_and_learns_and_goes_on_alike(
    make_spec: MakeSpec, make_recorder: MakeRecorder, folder: Path, ratio: float | None
) -> None:
    section = {"samples_per_insert": ratio}
    spec = offline(make_spec, folder, section=section, run={"training_steps": 300}, algorithm=PATIENT)
    check_dataset(spec)
    assert run_inline(spec, make_recorder).env_steps == 0
    rows = rows_by_step(spec)
    assert rows[300]["loss/known"] == 1.0
    assert rows[300]["replay/refreshed_share"] == 1.0
    searched = rows[300]["replay/refreshed_rows"]
    if ratio is None:
        assert searched == 300 * 128, "an update for each batch of rows"
    else:
        assert 300 * 16 - spec.store.error_buffer <= ratio * searched <= 300 * 16 + spec.store.error_buffer
    parts = replace(spec, folder=spec.folder.parent / "parts")
    run_inline(replace(parts, run=parts.run.model_copy(update={"training_steps": 100})), make_recorder)
    run_inline(parts, make_recorder, step=100)
    assert rows_by_step(parts) == rows


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.xdist_group("ray")
def test_reanalyse_workers_do_without_environments(
    make_spec: MakeSpec, make_recorder: MakeRecorder, folder: Path
) -> None:
    runtime = {"reanalyse_workers": 1, "replay_shards": 2}
    run = {"training_steps": 400, "log_every_learner_steps": 0}
    spec = offline(make_spec, folder, runtime=runtime, run=run, algorithm=PATIENT)
    with started(spec, make_recorder) as started_run:
        assert started_run.supervisor.run() == "400 learner steps are done"
        assert started_run.progress.env_steps == 0
        started_run.recorder.write()
    assert rows_by_step(spec)[400]["replay/refreshed_rows"] > 128


@pytest.mark.parametrize(
    ("share", "section", "message"),
    [
        (0.0, {}, "of which nothing finds out targets for its rows; .* Set checking.refreshed_share"),
        (1.0, {"stored_before_train": 200}, "has 103 decisions; .* waits for 200 before"),
        (0.5, {"window_size": 100, "stored_before_train": 10}, "has 103 decisions; the table keeps 100"),
    ],
)
def test_a_data_set_that_replay_cannot_take_is_refused(
    make_spec: MakeSpec, folder: Path, share: float, section: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_dataset(offline(make_spec, folder, share, section=section))


@pytest.mark.parametrize(
    "changes",
    [
        {"observation": np.zeros((3, 4), np.float32)},
        {"observation": np.zeros((3, 3), np.complex64)},
        {"action": np.array([0, 3])},
        {"action": np.zeros((2, 1), np.int64)},
        {"action": np.array([0.5, 0.0])},
    ],
)
def test_one_of_other_spaces_is_refused(make_spec: MakeSpec, tmp_path: Path, changes: dict[str, np.ndarray]) -> None:
    write_episodes(tmp_path / "other", [replace(episode(0, 2), **changes)])
    with pytest.raises(
        ConfigError, match=r"'rlsys/Counting-v0' has observations of float32 \(3,\) and 3 actions"
    ) as caught:
        check_dataset(offline(make_spec, tmp_path / "other"))
    assert "\n" not in str(caught.value)


def test_one_that_is_not_there_or_damaged_is_refused(make_spec: MakeSpec, tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ConfigError, match="holds no episodes"):
        check_dataset(offline(make_spec, tmp_path / "nowhere"))
    (folder / "episode_000003_step_000000000.npz").write_bytes(b"PK")
    with pytest.raises(ConfigError, match="cannot be read"):
        check_dataset(offline(make_spec, folder))


def test_minari_s_are_read_where_it_is_installed(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minari", None)
    spec = offline(make_spec, "minari:counting/some-v0")
    with pytest.raises(ConfigError, match=r"needs minari, which is not installed. Install rlsys\[minari\]"):
        check_dataset(spec)
    record = episode(0, 60)
    theirs = SimpleNamespace(
        observations=record.observation.astype(np.float64),
        actions=record.action,
        rewards=record.reward.astype(np.float64),
        terminations=record.terminated,
    )
    load = {"counting/some-v0": SimpleNamespace(iterate_episodes=lambda: iter([theirs]))}
    monkeypatch.setitem(sys.modules, "minari", SimpleNamespace(load_dataset=load.__getitem__))
    check_dataset(spec)
    assert sum(segment.num_items for segment in segments_of(spec)) == 60
    with pytest.raises(ConfigError, match="cannot be read"):
        check_dataset(offline(make_spec, "minari:another"))
