import errno
import json
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
from support.checkpoints import assert_whole, same, write

from rlsys.checkpoints import local_storage, storage
from rlsys.checkpoints.checkpoint import Checkpoints, Draft
from rlsys.checkpoints.local_storage import LocalStorage
from rlsys.checkpoints.part import write_part
from rlsys.checkpoints.storage import FileRecord
from rlsys.errors import CheckpointError


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
    for trial in range(8):
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
