import errno
import hashlib
import json
import math
import os
import random
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file

from rlsys.checkpoints import local_storage, storage
from rlsys.checkpoints.checkpoint import Checkpoints, Draft
from rlsys.checkpoints.local_storage import LocalStorage
from rlsys.checkpoints.part import write_part
from rlsys.checkpoints.storage import FileRecord
from rlsys.errors import CheckpointError

DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">f4", ">i8", "c8", "c16", "S3", "U2"]
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**140), 2**140) | st.floats() | st.text(max_size=5)
KEYS = st.text(max_size=4) | st.sampled_from(
    ["$array", "$float", "$$x", "a/b", "a", "~", "~1", "", "__metadata__", "0"]
)
TREES = st.recursive(
    SCALARS | ARRAYS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=12,
)
SAVED = st.dictionaries(KEYS, TREES, max_size=5)


def same(a: object, b: object) -> bool:
    """Equality of type, dtype, shape and bits, NaN equal to NaN."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return a == b


def write(checkpoints: Checkpoints, step: int) -> Path:
    with checkpoints.begin(step) as draft:
        draft.write("learner", {"weight": np.full(100, step, np.float32), "step": step})
        draft.write("replay/0", {"row": np.arange(step, dtype=np.uint8)})
        draft.commit({"env_steps": 10 * step})
    return checkpoints.open(step).fetched.folder


def assert_whole(checkpoints: Checkpoints, step: int) -> None:
    opened = checkpoints.open(step)
    assert opened.learner_step == step
    assert opened.metrics == {"env_steps": 10 * step}
    assert opened.parts == ("learner", "replay/0")
    assert same(opened.read("learner"), {"weight": np.full(100, step, np.float32), "step": step})
    assert same(opened.read("replay/0"), {"row": np.arange(step, dtype=np.uint8)})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(saved=SAVED)
def test_whatever_is_saved_comes_back_bit_by_bit(saved, tmp_path_factory):
    checkpoints = Checkpoints(tmp_path_factory.mktemp("run"), keep=1)
    with checkpoints.begin(7) as draft:
        draft.write("part", saved)
        draft.commit({})
    assert same(checkpoints.open(7).read("part"), saved)


def test_tuples_numpy_scalars_and_strided_arrays_come_back_in_their_plain_form(tmp_path):
    strided = np.arange(24, dtype=np.int32).reshape(4, 6).T[::2]
    saved = {"tuple": (1, (2.5, np.float32(0.1))), "count": np.int64(-3), "flag": np.bool_(True), "strided": strided}
    checkpoints = Checkpoints(tmp_path, keep=1)
    with checkpoints.begin(1) as draft:
        draft.write("part", saved)
        draft.commit({"loss": float("nan"), "count": np.uint64(2**63)})
    opened = checkpoints.open("latest")
    expected = {"tuple": [1, [2.5, float(np.float32(0.1))]], "count": -3, "flag": True, "strided": strided.copy()}
    assert same(opened.read("part"), expected)
    assert same(dict(opened.metrics), {"loss": float("nan"), "count": 2**63})


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.SFC64, np.random.Philox])
def test_a_random_generator_goes_on_with_the_same_numbers_after_a_round_trip(kind, tmp_path):
    generator = np.random.Generator(kind(3))
    generator.random(5)
    checkpoints = Checkpoints(tmp_path, keep=1)
    with checkpoints.begin(0) as draft:
        draft.write("random", {"state": generator.bit_generator.state})
        draft.commit({})
    again = np.random.Generator(kind(99))
    again.bit_generator.state = checkpoints.open(0).read("random")["state"]
    assert np.array_equal(generator.random(50), again.random(50))


def test_arrays_that_were_read_can_be_written_to(tmp_path):
    write(Checkpoints(tmp_path, keep=1), 3)
    weight = Checkpoints(tmp_path, keep=1).open(3).read("learner")["weight"]
    weight += 1
    assert (weight == 4).all()


def test_arrays_lie_in_a_standard_safetensors_file_and_the_rest_in_standard_json(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    with checkpoints.begin(0) as draft:
        draft.write("part", {"net": {"fc.weight": np.ones((2, 3), np.float32)}, "bad": float("inf")})
        draft.commit({})
    folder = tmp_path / "000000000"
    assert same(load_file(folder / "part.safetensors"), {"/net/fc.weight": np.ones((2, 3), np.float32)})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not standard JSON")

    tree = json.loads((folder / "part.json").read_text(), parse_constant=refuse)
    assert tree == {"net": {"fc.weight": {"$array": "/net/fc.weight"}}, "bad": {"$float": "inf"}}


@pytest.mark.parametrize(
    ("value", "named"),
    [(object(), "object"), ({1: 2}, "dict"), ({1, 2}, "set"), (b"x", "bytes"), (np.array([None]), "dtype object")],
)
def test_what_cannot_be_saved_without_running_code_is_refused_with_its_place(value, named, tmp_path):
    with pytest.raises(TypeError, match=rf"'/outer/1' (is|has) {named}"):
        write_part(str(tmp_path), "part", {"outer": [0, value]})
    assert list(tmp_path.iterdir()) == []


def test_loading_runs_no_code_that_a_pickle_in_disguise_would_run(tmp_path):
    target = tmp_path / "touched"
    pickle = b"cposix\nsystem\n(S'touch " + str(target).encode() + b"'\ntR."
    checkpoints = Checkpoints(tmp_path / "run", keep=1)
    folder = write(checkpoints, 1)
    (folder / "learner.json").write_bytes(pickle)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop("sha256")
    for entry in manifest["files"]:
        if entry["path"] == "learner.json":
            entry["size"], entry["sha256"] = len(pickle), hashlib.sha256(pickle).hexdigest()
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({**manifest, "sha256": digest}))
    with pytest.raises(CheckpointError, match=r"checkpoint 1 in .* is damaged: learner\.json is no valid JSON"):
        checkpoints.open(1).read("learner")
    assert not target.exists()


def test_a_part_written_by_another_process_belongs_to_the_checkpoint(tmp_path):
    program = (
        "import sys, json, numpy as np; from dataclasses import asdict;"
        "from rlsys.checkpoints.part import write_part;"
        "records = write_part(sys.argv[1], 'replay/1', {'row': np.arange(9)});"
        "print(json.dumps([asdict(record) for record in records]))"
    )
    checkpoints = Checkpoints(tmp_path, keep=1)
    with checkpoints.begin(5) as draft:
        command = [sys.executable, "-c", program, draft.place]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        draft.add(FileRecord(**record) for record in json.loads(output))
        draft.commit({})
    assert same(checkpoints.open(5).read("replay/1"), {"row": np.arange(9)})


def test_a_part_that_was_written_on_a_machine_without_the_folder_stops_the_commit(tmp_path):
    checkpoints = Checkpoints(tmp_path / "here", keep=1)
    (tmp_path / "elsewhere").mkdir()
    with checkpoints.begin(5) as draft:
        draft.add(write_part(str(tmp_path / "elsewhere"), "replay-0", {"row": np.zeros(3)}))
        with pytest.raises(CheckpointError, match=r"replay-0\.json was written but is not in .*run\.checkpoints"):
            draft.commit({})
    assert checkpoints.list() == ()


def test_files_and_folders_are_private_to_the_user(tmp_path):
    folder = write(Checkpoints(tmp_path / "checkpoints", keep=1), 1)
    for path in [folder, *folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("file", ["learner.json", "learner.safetensors", "replay/0.safetensors", "manifest.json"])
def test_a_flipped_byte_is_refused_by_file_name_with_the_previous_checkpoint_offered(file, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (1, 2, 3):
        write(checkpoints, step)
    path = tmp_path / "000000002" / file
    content, rng = path.read_bytes(), random.Random(0)
    for position in {0, len(content) - 2, *rng.choices(range(len(content)), k=12)}:
        damaged = bytearray(content)
        damaged[position] ^= 0x80
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError) as error:
            checkpoints.open(2)
        assert str(error.value) == (
            f"checkpoint 2 in {tmp_path} is damaged: {file} does not match its checksum. "
            "Use --checkpoint 1, which is whole."
        )
    path.write_bytes(content)
    assert_whole(checkpoints, 2)


@pytest.mark.parametrize("file", ["learner.json", "learner.safetensors", "replay/0.json", "manifest.json"])
def test_a_truncated_or_missing_file_is_refused_by_name(file, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    write(checkpoints, 1)
    path = write(checkpoints, 2) / file
    size = path.stat().st_size
    with path.open("r+b") as opened:
        opened.truncate(size - 1)
    expected = "does not match" if file == "manifest.json" else f"has {size - 1} bytes, expected {size}"
    with pytest.raises(CheckpointError, match=f"{file} {expected}.* Use --checkpoint 1, which is whole"):
        checkpoints.open("latest")
    path.unlink()
    with pytest.raises(CheckpointError, match=f"{file} is missing. Use --checkpoint 1, which is whole"):
        checkpoints.open("latest")


def test_a_damaged_checkpoint_is_never_offered_instead_of_another(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=4)
    folders = [write(checkpoints, step) for step in (1, 2, 3, 4)]
    for folder in (folders[0], folders[1], folders[2]):
        (folder / "learner.json").write_text("{}")
    with pytest.raises(CheckpointError, match="Use --checkpoint 4, which is whole"):
        checkpoints.open(3)
    (folders[3] / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="No other checkpoint of this run is whole"):
        checkpoints.open(4)


def test_a_checkpoint_under_another_step_or_of_another_format_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    write(checkpoints, 1).rename(tmp_path / "000000009")
    with pytest.raises(CheckpointError, match=r"of format 2 and step 1, expected format 2 and step 9\."):
        checkpoints.open(9)


def test_one_part_can_be_opened_without_reading_the_others(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    folder = write(checkpoints, 6)
    content = bytearray((folder / "learner.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "learner.safetensors").write_bytes(content)
    assert same(checkpoints.open(6, parts=["replay/0"]).read("replay/0"), {"row": np.arange(6, dtype=np.uint8)})
    with pytest.raises(CheckpointError, match=r"learner\.safetensors does not match"):
        checkpoints.open(6, parts=["learner"])


def test_unknown_steps_and_parts_are_refused_with_what_there_is(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    with pytest.raises(CheckpointError, match=r"no checkpoint 'latest' in .*; there is none yet\."):
        checkpoints.open("latest")
    write(checkpoints, 1)
    write(checkpoints, 2)
    for which in (3, "3", "newest", "-1", "1.0"):
        with pytest.raises(CheckpointError, match=rf"no checkpoint '{which}' in .*; there are 1, 2\."):
            checkpoints.open(which)
    with pytest.raises(CheckpointError, match="None has been evaluated"):
        checkpoints.open("best")
    assert checkpoints.open("2").learner_step == checkpoints.open("000000002").learner_step == 2
    with pytest.raises(CheckpointError, match=r"has no part 'replay/1'; it has learner, replay\."):
        checkpoints.open(1).read("replay/1")


@pytest.mark.parametrize("moment", ["after a part", "before the rename"])
def test_a_crash_before_the_rename_leaves_earlier_checkpoints_and_the_next_draft_clears_up(
    moment, tmp_path, monkeypatch
):
    checkpoints = Checkpoints(tmp_path, keep=2)
    write(checkpoints, 1)
    draft = checkpoints.begin(2)
    draft.write("learner", {"weight": np.zeros(4)})
    if moment == "before the rename":

        class PowerCut(BaseException):
            pass

        def cut(*_: object) -> None:
            raise PowerCut

        with monkeypatch.context() as patch:
            patch.setattr(LocalStorage, "_install", cut)
            patch.setattr(Draft, "discard", lambda self: None)
            with pytest.raises(PowerCut):
                draft.commit({})
        assert Path(draft.place, "manifest.json").exists()
    after = Checkpoints(tmp_path, keep=2)
    assert after.list() == (1,)
    assert_whole(after, 1)
    write(after, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000001", "000000003"]


def test_a_process_killed_while_it_writes_leaves_only_whole_checkpoints(tmp_path):
    program = (
        "import sys, numpy as np; from pathlib import Path;"
        "from rlsys.checkpoints.checkpoint import Checkpoints;"
        "checkpoints = Checkpoints(Path(sys.argv[1]), keep=2); first = int(sys.argv[2])\n"
        "for step in range(first, first + 10_000):\n"
        "    draft = checkpoints.begin(step // 2)\n"
        "    print(step, flush=True)\n"
        "    draft.write('learner', {'weight': np.full(50_000, step // 2)})\n"
        "    draft.commit({'step': step // 2})\n"
    )
    rng, next_step = random.Random(0), 0
    for _ in range(4):
        command = [sys.executable, "-c", program, str(tmp_path), str(next_step)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(rng.randint(3, 12)):
                next_step = int(process.stdout.readline()) + 1
            process.kill()
        checkpoints = Checkpoints(tmp_path, keep=2)
        steps = checkpoints.list()
        assert steps[-1] >= next_step // 2 - 1
        for step in steps:
            opened = checkpoints.open(step)
            assert opened.metrics == {"step": step}
            assert (opened.read("learner")["weight"] == step).all()


def test_a_second_checkpoint_of_the_same_step_takes_the_place_and_the_score_of_the_first(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    write(checkpoints, 4)
    checkpoints.mark_best(4, 2.0)
    with checkpoints.begin(4) as draft:
        draft.write("learner", {"second": True})
        draft.commit({})
    assert checkpoints.open("best").read("learner") == {"second": True}
    assert [path.name for path in tmp_path.iterdir()] == ["000000004"]


def test_a_crash_between_the_two_renames_of_a_replacement_loses_neither(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    write(checkpoints, 4).rename(tmp_path / ".replaced-000000004")
    after = Checkpoints(tmp_path, keep=1)
    assert after.latest() == 4
    assert_whole(after, 4)
    after.begin(5).discard()
    assert [path.name for path in tmp_path.iterdir()] == ["000000004"]
    assert_whole(after, 4)


def test_an_error_inside_the_context_discards_the_draft(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    with pytest.raises(ZeroDivisionError), checkpoints.begin(1) as draft:
        draft.write("learner", {})
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_the_last_k_the_best_and_those_whose_scores_are_expected_are_kept(tmp_path):
    rng = random.Random(1)
    for trial in range(20):
        keep = rng.randint(1, 3)
        checkpoints = Checkpoints(tmp_path / str(trial), keep)
        scores: dict[int, float] = {}
        expected: set[int] = set()
        alive: set[int] = set()
        for step in range(1, 12):
            write(checkpoints, step)
            alive.add(step)
            best = max(scores, key=lambda s: (scores[s], s)) if scores else None
            alive = {s for s in alive if s in sorted(alive)[-keep:] or s == best or s in expected}
            scores = {s: value for s, value in scores.items() if s in alive}
            assert checkpoints.list() == tuple(sorted(alive))
            if rng.random() < 0.3:
                expected.add(step)
                checkpoints.expect_score(step)
            if rng.random() < 0.5:
                scored, score = rng.choice(sorted(alive)), rng.choice([1.0, 2.0, 3.0])
                scores[scored] = score
                expected.discard(scored)
                best = max(scores, key=lambda s: (scores[s], s))
                assert checkpoints.mark_best(scored, score) == (scored == best)
                assert checkpoints.best() == Checkpoints(tmp_path / str(trial), keep).best() == best


def test_a_checkpoint_whose_score_is_expected_no_more_goes_with_the_next(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    for step in (1, 2, 3):
        checkpoints.expect_score(step)
        write(checkpoints, step)
    checkpoints.expect_no_score(2)
    write(checkpoints, 4)
    assert checkpoints.list() == (1, 3, 4)


def test_what_a_run_that_went_back_has_given_up_counts_no_more(tmp_path):
    before = Checkpoints(tmp_path, keep=9)
    for step in (5, 7, 8, 9):
        write(before, step)
        before.mark_best(step, float(step))
    checkpoints = Checkpoints(tmp_path, keep=9)
    checkpoints.go_back(7)
    assert (checkpoints.latest(), checkpoints.best(), checkpoints.best_score()) == (7, 7, 7.0)
    assert checkpoints.score(9) is None and not checkpoints.mark_best(9, 99.0)
    assert checkpoints.list() == (5, 7, 8, 9), "until there is one from here, the way back is open"
    write(checkpoints, 9)
    assert checkpoints.list() == (5, 7, 9), "8 was of what was given up"
    assert checkpoints.score(9) is None, "its score was of other weights"


def test_an_extra_checkpoint_is_never_pruned(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    for step in range(1, 6):
        with checkpoints.begin(step, extra=step in (2, 3)) as draft:
            draft.write("learner", {"step": step})
            draft.commit({})
    assert checkpoints.list() == (2, 3, 5)
    assert checkpoints.open(2).read("learner") == {"step": 2}


def test_a_run_that_went_back_keeps_its_new_checkpoints_rather_than_those_of_later_steps(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    write(checkpoints, 5)
    checkpoints.mark_best(5, 1.0)
    write(checkpoints, 9)
    checkpoints.mark_best(9, 2.0)
    write(Checkpoints(tmp_path, keep=1), 7)
    assert checkpoints.list() == (5, 7)
    assert checkpoints.latest() == 7
    assert checkpoints.best() == 5


def test_a_score_that_is_not_finite_or_comes_too_late_is_not_noted(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    write(checkpoints, 1)
    assert not checkpoints.mark_best(1, float("nan"))
    assert not checkpoints.mark_best(2, 5.0)
    assert checkpoints.best() is None
    assert checkpoints.mark_best(1, -3.0)


def test_a_full_disk_is_one_line_removes_the_draft_and_spares_earlier_checkpoints(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=2)
    write(checkpoints, 1)

    def full_from(name: str) -> Callable[..., FileRecord]:
        def write_hashed(path: str, *arguments: Any) -> FileRecord:
            if name in path:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return storage.write_hashed(path, *arguments)

        return write_hashed

    for name in ("json", "safetensors", "manifest"):
        with monkeypatch.context() as patch:
            draft = checkpoints.begin(2)
            if name == "manifest":
                draft.write("learner", {"weight": np.zeros(3)})
            patch.setattr(local_storage, "write_hashed", full_from(name))
            with pytest.raises(
                CheckpointError, match=r"cannot write .*: No space left on device; .*untouched"
            ) as error:
                draft.commit({}) if name == "manifest" else draft.write("learner", {"weight": np.zeros(3)})
            assert "\n" not in str(error.value)
        assert [path.name for path in tmp_path.iterdir()] == ["000000001"]
    assert_whole(checkpoints, 1)


def test_a_write_that_the_operating_system_cuts_short_is_refused_too(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    write(checkpoints, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        draft = checkpoints.begin(2)
        with pytest.raises(CheckpointError, match="File too large"):
            draft.write("learner", {"weight": np.zeros(1 << 21, np.uint8)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["000000001"]
    assert_whole(checkpoints, 1)
