"""Checkpoints in a folder and in an object store: what is written once, what is removed, what failures leave."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.runs import MakeRecorder, MakeSpec
from support.segments import make_segment

from rlsys.checkpoints import table_writer
from rlsys.checkpoints.checkpoint import Checkpoints, Draft
from rlsys.checkpoints.locations import checkpoints_of
from rlsys.checkpoints.storage import join, write_hashed
from rlsys.config import RunConfig
from rlsys.errors import CheckpointError
from rlsys.replay import ring
from rlsys.runs import folder as run_folder
from rlsys.runs.progress import Progress
from rlsys.runs.spec import RunSpec
from rlsys.runtime.driver.inline import InlineRun
from rlsys.runtime.workers.shard import ReplayShard
from rlsys.testing.object_store import ObjectStore, serving


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "simulated-secret")
    with serving() as served:
        yield served


@pytest.fixture(params=["folder", "object store"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "checkpoints")
    return join(request.getfixturevalue("store").uri, "runs", "a")


@pytest.fixture
def spec(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> RunSpec:
    """A shard of it holds about twelve segments, in chunks of two."""
    monkeypatch.setattr(ring, "_CHUNK_BYTES", 2_000)
    return make_spec({"samples_per_insert": None, "stored_before_train": 40, "window_size": 240})


def write(checkpoints: Checkpoints, step: int) -> None:
    with checkpoints.begin(step) as draft:
        draft.write("learner", {"weight": np.full(100, step, np.float32), "step": step})
        draft.write("progress", {"step": step})
        draft.commit({"env_steps": 10 * step})


def assert_whole(checkpoints: Checkpoints, step: int) -> None:
    opened = checkpoints.open(step)
    assert (opened.learner_step, opened.metrics, opened.parts) == (
        step,
        {"env_steps": 10 * step},
        ("learner", "progress"),
    )
    np.testing.assert_array_equal(opened.read("learner")["weight"], np.full(100, step, np.float32))


async def save(shard: ReplayShard, checkpoints: Checkpoints, step: int) -> set[str]:
    """Writes a checkpoint of a shard; returns the names of the files that hold its rows."""
    with checkpoints.begin(step) as draft:
        records = await shard.save_to(draft.place, step, checkpoints.latest())
        draft.add(records)
        draft.commit({})
    return {record.source or record.path for record in records if "/" in record.path}


async def fill(shard: ReplayShard, spec: RunSpec, episodes: range) -> None:
    for episode in episodes:
        assert await shard.insert([make_segment(spec, episode)], 0.0) == ""


async def assert_same_items(one: ReplayShard, other: ReplayShard) -> None:
    positions = (np.arange(256) + 0.5) / 256
    expected, status = await one.sample(positions, 5, None, 0, 0)
    found, other_status = await other.sample(positions, 5, None, 0, 0)
    assert expected is not None
    assert found is not None
    np.testing.assert_array_equal(found.key, expected.key)
    np.testing.assert_array_equal(found.observation, expected.observation)
    np.testing.assert_array_equal(found.probability, expected.probability)
    assert (other_status.num_items, other_status.mass) == (status.num_items, status.mass)


def test_rows_are_written_once_and_stay_for_as_long_as_a_checkpoint_needs_them(spec: RunSpec, location: str) -> None:
    checkpoints = Checkpoints(location, keep=2)

    async def session() -> None:
        shard = ReplayShard(spec, 0)
        await fill(shard, spec, range(12))
        before = await save(shard, checkpoints, 1)
        for step in range(2, 6):
            await fill(shard, spec, range(12 + 2 * step, 14 + 2 * step))
            now = await save(shard, checkpoints, step)
            again = ReplayShard(spec, 0)
            await again.restore(location, step)
            await assert_same_items(shard, again)
            if "://" in location:
                assert len(now - before) <= 6, "new rows, and those of the chunk that was open, two files each"
            else:
                inodes = [
                    {path.name: path.stat().st_ino for path in Path(location, f"{at:09d}", "replay-0").iterdir()}
                    for at in (step - 1, step)
                ]
                assert len(inodes[0].items() & inodes[1].items()) >= 6
            before = now
        assert checkpoints.list() == (4, 5)
        for step in (4, 5):
            await ReplayShard(spec, 0).restore(location, step)

    asyncio.run(session())


def test_a_restored_shard_does_not_write_again_what_it_read(spec: RunSpec, location: str) -> None:
    checkpoints = Checkpoints(location, keep=2)

    async def session() -> None:
        shard = ReplayShard(spec, 0)
        await fill(shard, spec, range(11))
        await save(shard, checkpoints, 1)
        again = ReplayShard(spec, 0)
        await again.restore(location, 1)
        await fill(again, spec, range(20, 21))
        await save(again, checkpoints, 2)
        sources = [{record.path: record for record in checkpoints.open(step).records} for step in (1, 2)]
        shared = [path for path in sources[0] if "/" in path and sources[0][path] == sources[1].get(path)]
        assert len(shared) >= 6
        third = ReplayShard(spec, 0)
        await third.restore(location, 2)
        await assert_same_items(again, third)

    asyncio.run(session())


def test_rows_of_a_checkpoint_that_was_given_up_are_written_again(spec: RunSpec, location: str) -> None:
    checkpoints = Checkpoints(location, keep=2)

    async def session() -> None:
        shard = ReplayShard(spec, 0)
        await fill(shard, spec, range(8))
        await save(shard, checkpoints, 1)
        await fill(shard, spec, range(8, 11))
        draft = checkpoints.begin(2)
        await shard.save_to(draft.place, 2, 1)
        draft.discard()
        await save(shard, checkpoints, 3)
        again = ReplayShard(spec, 0)
        await again.restore(location, 3)
        await assert_same_items(shard, again)

    asyncio.run(session())


def test_a_shard_serves_while_its_rows_are_being_written(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    disk_is_ready, written = threading.Event(), table_writer.write_part

    def write_slowly(*arguments: object) -> object:
        assert disk_is_ready.wait(30)
        return written(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(table_writer, "write_part", write_slowly)

    async def session() -> None:
        shard, of_the_moment = ReplayShard(spec, 0), ReplayShard(spec, 0)
        await fill(shard, spec, range(12))
        await fill(of_the_moment, spec, range(12))
        draft = checkpoints.begin(1)
        saving = asyncio.create_task(shard.save_to(draft.place, 1, None))
        await asyncio.sleep(0)
        await fill(shard, spec, range(12, 60))
        batch, _ = await shard.sample(np.linspace(0, 0.99, 16), 5, None, 0, 0)
        assert batch is not None
        assert batch.observation[:, 0, 1].min() >= 40, "nothing is left of what is being saved"
        assert not saving.done()
        disk_is_ready.set()
        draft.add(await saving)
        draft.commit({})
        again = ReplayShard(spec, 0)
        await again.restore(str(tmp_path), 1)
        await assert_same_items(of_the_moment, again)

    asyncio.run(session())


def test_an_object_store_keeps_what_checkpoints_name_and_nothing_else(store: ObjectStore) -> None:
    checkpoints = Checkpoints(join(store.uri, "runs", "a"), keep=2)
    abandoned = checkpoints.begin(1)
    abandoned.write("learner", {"weight": np.zeros(9)})
    for step in (1, 2, 3, 4):
        write(checkpoints, step)
        checkpoints.mark_best(step, -float(step))
    assert checkpoints.list() == (1, 3, 4)
    assert checkpoints.best() == 1
    for step in (1, 3, 4):
        assert_whole(checkpoints, step)
    objects = sorted(key for key in store.objects if not key.endswith("/"))
    parts = ("learner.json", "learner.safetensors", "progress.json")
    assert [key.rpartition("/")[2] for key in objects] == [
        *(f"{step:09d}.{note}.json" for step in (1, 3, 4) for note in ("manifest", "score")),
        *parts * 3,
    ]


def test_a_second_checkpoint_of_the_same_step_in_an_object_store_keeps_the_score(store: ObjectStore) -> None:
    checkpoints = Checkpoints(join(store.uri, "runs", "a"), keep=1)
    write(checkpoints, 4)
    checkpoints.mark_best(4, 2.0)
    with checkpoints.begin(4) as draft:
        draft.write("learner", {"second": True})
        draft.commit({})
    assert checkpoints.open("best").read("learner") == {"second": True}
    assert len([key for key in store.objects if "/parts/" in key and not key.endswith("/")]) == 1


@pytest.mark.parametrize("name", ["learner.json", "learner.safetensors", "manifest.json"])
def test_a_damaged_object_is_refused_by_name_with_a_whole_checkpoint_offered(name: str, store: ObjectStore) -> None:
    checkpoints = Checkpoints(join(store.uri, "runs", "a"), keep=3)
    for step in (1, 2):
        write(checkpoints, step)
    key = next(key for key in store.objects if "000000002" in key and key.endswith(name))
    content = store.objects[key]
    store.objects[key] = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
    expected = f"checkpoint 2 in .* is damaged: {name} does not match its checksum. Use --checkpoint 1, which is whole"
    with pytest.raises(CheckpointError, match=expected):
        checkpoints.open("latest")
    del store.objects[key]
    with pytest.raises(CheckpointError, match=rf"{name} is missing|no checkpoint '2'.*there are 1\."):
        checkpoints.open(2)


class PowerCut(BaseException):
    """Ends everything at once."""


class Power:
    """Lasts for so many writes."""

    def __init__(self, writes: int) -> None:
        self.left = writes

    def needed_by(self, write: Callable[..., object]) -> Callable[..., object]:
        def write_or_die(*arguments: object) -> object:
            self.left -= 1
            if self.left < 0:
                raise PowerCut
            return write(*arguments)

        return write_or_die


def test_a_draft_that_is_cut_off_at_any_write_leaves_the_checkpoint_before(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(location, keep=1)
    write(checkpoints, 1)
    storage = type(checkpoints._storage)
    for writes in range(10):
        power = Power(writes)
        with monkeypatch.context() as patch:
            patch.setattr("rlsys.checkpoints.local_storage.write_hashed", power.needed_by(write_hashed))
            patch.setattr("rlsys.checkpoints.object_storage.write_hashed", power.needed_by(write_hashed))
            patch.setattr(storage, "note", power.needed_by(storage.note))
            patch.setattr(Draft, "discard", lambda self: None)
            try:
                write(checkpoints, 2)
            except PowerCut:
                assert Checkpoints(location, keep=1).list() == (1,)
                assert_whole(Checkpoints(location, keep=1), 1)
            else:
                break
    assert writes == 4, "three files and the manifest"
    assert Checkpoints(location, keep=1).list() == (2,)
    assert_whole(Checkpoints(location, keep=1), 2)


def test_what_an_object_store_refuses_is_one_line_and_spares_the_checkpoint_before(store: ObjectStore) -> None:
    uri = join(store.uri, "runs", "a")
    checkpoints = Checkpoints(uri, keep=1)
    write(checkpoints, 1)
    draft = checkpoints.begin(2)
    store.fails = (403, "AccessDenied")
    with pytest.raises(CheckpointError, match=r"cannot write learner to s3://.*ACCESS_DENIED.*credentials") as denied:
        draft.write("learner", {"weight": np.zeros(3)})
    with pytest.raises(CheckpointError, match=r"cannot write s3://.*ACCESS_DENIED"):
        checkpoints.check_writable()
    store.fails = None
    missing = Checkpoints(uri.replace("bucket", "other", 1), keep=1)
    with pytest.raises(CheckpointError, match=r"cannot write s3://other/.*NO_SUCH_BUCKET.*the bucket exists") as absent:
        missing.check_writable()
    for error in (denied, absent):
        assert "\n" not in str(error.value)
        assert "simulated-secret" not in str(error.value)
    assert_whole(checkpoints, 1)


def test_an_endpoint_that_is_down_is_one_line() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"s3://bucket/a?scheme=http&endpoint_override=127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(CheckpointError, match=r"cannot write s3://bucket/a.*[Cc]onnect to.*endpoint answers"):
            Checkpoints(uri, keep=1).check_writable()


@pytest.mark.parametrize(
    ("checkpoints", "error"),
    [
        ("s3://key:secret@bucket/path", "a URI with a password"),
        ("http://host/path", "'http://host' is none of s3, gs, gcs"),
        ("s3:///path", "name a bucket"),
    ],
)
def test_a_uri_that_cannot_be_meant_is_refused(checkpoints: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        RunConfig(checkpoints=checkpoints)


def test_every_run_has_a_place_of_its_own_wherever_checkpoints_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "cartpole" / "first"
    assert checkpoints_of(RunConfig(), folder) == f"{folder}/checkpoints"
    assert checkpoints_of(RunConfig(checkpoints="kept"), folder) == f"{tmp_path}/kept/cartpole/first"
    uri = "s3://bucket/path/?region=eu-west-1"
    assert checkpoints_of(RunConfig(checkpoints=uri), folder) == "s3://bucket/path/cartpole/first?region=eu-west-1"


def test_an_option_that_a_uri_cannot_have_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"s3://bucket/a.endpoint=\*\*\*: .*'endpoint'"):
        Checkpoints("s3://bucket/a?endpoint=x", keep=1)


def test_a_run_goes_on_from_an_object_store_and_its_weights_are_found_there(
    make_spec: MakeSpec, make_recorder: MakeRecorder, store: ObjectStore
) -> None:
    spec = make_spec(run={"training_steps": 40, "checkpoints": store.uri})
    progress = Progress(spec.run)
    checkpoints = Checkpoints(spec.checkpoints, keep=2)
    run = InlineRun(spec, progress, make_recorder(spec, progress), checkpoints)
    run.start(None)
    run.run()
    assert checkpoints.list() == (20, 40)
    resumed = InlineRun(spec, progress, make_recorder(spec, progress), checkpoints)
    resumed.start(40)
    assert resumed._learner.learner_step == 40
    assert not (spec.folder / "checkpoints").exists()
    config = f"algorithm: impala\nenv:\n  id: CartPole-v1\nrun:\n  checkpoints: {store.uri}\n"
    (spec.folder / "config.yaml").write_text(config)
    opened = run_folder.checkpoints(spec.folder).open("latest", parts=["weights"])
    assert opened.read("weights")["learner_step"] == 40
    assert sorted(path.name for path in opened.fetched.folder.iterdir()) == ["weights.json", "weights.safetensors"]
