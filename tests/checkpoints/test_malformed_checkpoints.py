"""Checkpoints whose checksums fit and whose content does not: one line each, whatever it is."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.damage import MALFORMED, MALFORMED_TENSORS, change_manifest, replace_file

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.checkpoints.manifest import Manifest
from rlsys.checkpoints.saved import decode
from rlsys.checkpoints.storage import FileRecord, join
from rlsys.errors import CheckpointError
from rlsys.testing.object_store import serving

DIGEST = "0" * 64
WRONG = r"part 'learner' of checkpoint 2 does not fit this run \(\w+Error: "


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """A whole checkpoint of step 1, and one of step 2 that is to be damaged."""
    found = Checkpoints(tmp_path, keep=2)
    for step in (1, 2):
        with found.begin(step) as draft:
            draft.write("learner", {"weight": np.arange(2, dtype=np.float32), "step": step})
            draft.commit({"env_steps": 10})
    return found


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(CheckpointError) as refused:
        call()
    text = str(refused.value)
    assert "\n" not in text and len(text) < 700, text
    return text


@pytest.mark.parametrize("name", MALFORMED)
def test_a_part_that_is_no_json_of_ours_is_refused_by_name_with_a_whole_checkpoint(
    checkpoints: Checkpoints, tmp_path: Path, name: str
) -> None:
    replace_file(tmp_path / "000000002", "learner.json", MALFORMED[name])
    text = refusal(lambda: checkpoints.open(2).read("learner"))
    assert text.startswith(f"checkpoint 2 in {tmp_path} is damaged: learner.json ")
    assert text.endswith("Use --checkpoint 1, which is whole.")


@pytest.mark.parametrize("name", MALFORMED_TENSORS)
def test_arrays_that_are_no_safetensors_of_ours_are_refused_by_name(
    checkpoints: Checkpoints, tmp_path: Path, name: str
) -> None:
    replace_file(tmp_path / "000000002", "learner.safetensors", MALFORMED_TENSORS[name])
    text = refusal(lambda: checkpoints.open(2).read("learner"))
    assert text.startswith(f"checkpoint 2 in {tmp_path} is damaged: learner.")
    assert text.endswith("Use --checkpoint 1, which is whole.")


def test_a_checkpoint_of_malformed_content_is_not_offered_instead_of_another(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    for step in ("000000001", "000000002"):
        replace_file(tmp_path / step, "learner.safetensors", b"")
    assert "No other checkpoint of this run is whole" in refusal(lambda: checkpoints.open(2).read("learner"))


@pytest.mark.parametrize(
    "tree",
    [
        {"$array": "/a", "dtype": "|O", "shape": [1]},
        {"$array": "/a", "dtype": "object", "shape": [1]},
        {"$array": "/a", "dtype": "<f4", "shape": [3]},
        {"$array": "/a", "dtype": [["x", "|O", []]], "shape": [1]},
        {"$array": "/a", "dtype": [["x", "<i2", []], ["x", "<i2", []]], "shape": [1]},
        {"$array": "/a", "dtype": [["", "<f4", []]], "shape": [1]},
        {"$array": "/a", "dtype": [["x", "<f4", [2**40]]], "shape": [1]},
        {"$array": "/a", "dtype": [["x", "<f4", [0]]], "shape": [2**70]},
        {"$array": "/a", "dtype": [["x", "<f4"]], "shape": [1]},
        {"$array": "/a", "dtype": [], "shape": [4]},
        {"$array": "/a", "dtype": "<f4", "shape": [-1]},
        {"$array": "/a", "dtype": "<f4", "shape": [2**70, 0.5]},
        {"$array": "/a", "dtype": "<f4", "shape": None},
        {"$array": "/a", "dtype": "<f4"},
        {"$array": "/a", "dtype": "<V4", "shape": [2]},
        {"$array": "/a", "dtype": "<f3", "shape": [2]},
        {"$array": "/a", "dtype": "<U999999999", "shape": [1]},
        {"$array": "/a", "dtype": {"names": ["x"]}, "shape": [2]},
        {"$array": "/a", "cast": "|O"},
        {"$array": "/a", "cast": "<f4"},
        {"$array": "/a", "evil": 1},
        {"$array": ["/a"]},
        {"$float": "1e3"},
        {"$float": 1.0},
        {"$float": None},
        {"$": 1},
        {"$array": "/a", "$float": "nan"},
        [[{"deep": {"$tuple": []}}]],
        float("inf"),
    ],
)
def test_a_tag_that_no_version_writes_is_refused(tree: Any) -> None:
    assert refusal(lambda: decode(tree, {"/a": np.zeros(8, np.uint8)})).startswith("holds ")


@pytest.mark.parametrize(
    "path",
    [
        "../evil.json",
        "/etc/evil.json",
        "a/../../evil.json",
        "a/../b.json",
        "./a.json",
        "a//b.json",
        "a/b/c.json",
        "a\\b.json",
        "C:evil.json",
        "C:\\evil.json",
        "~/evil.json",
        ".hidden.json",
        "a.json\0",
        "a.json\n",
        "a.py",
        "a",
        "",
        ".",
        "..",
        "a/",
        "manifest.json",
        "score.json",
        "ä.json",
        "x" * 300 + ".json",
    ],
)
def test_a_manifest_names_only_files_that_checkpoints_have(path: str) -> None:
    text = Manifest(1, {}, False, [FileRecord(path, 1, DIGEST)]).format()
    assert "names a file outside of the checkpoint" in refusal(lambda: Manifest.parse(text.encode(), 1))


@pytest.mark.parametrize(
    "source", ["../x.json", "parts/../../x/a.json", "/a.json", "parts/000000001-0011aabb/../a.json"]
)
def test_a_manifest_names_only_objects_below_its_checkpoints(source: str) -> None:
    text = Manifest(1, {}, False, [FileRecord("a.json", 1, DIGEST, source)]).format()
    assert "names an object outside of the checkpoints" in refusal(lambda: Manifest.parse(text.encode(), 1))


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "null": lambda body: None if body.clear() else {"version": 2},
    "a list": lambda body: [body],
    "an extra key": lambda body: body | {"more": 1},
    "no files": lambda body: {**body, "files": None},
    "files that are a mapping": lambda body: {**body, "files": {"a": 1}},
    "a file that is null": lambda body: {**body, "files": [None]},
    "a file without size": lambda body: body["files"][0].pop("size") and None,
    "a file with another key": lambda body: body["files"][0].update(mode=7),
    "a size of text": lambda body: body["files"][0].update(size="1"),
    "a size of true": lambda body: body["files"][0].update(size=True),
    "a negative size": lambda body: body["files"][0].update(size=-1),
    "a huge size": lambda body: body["files"][0].update(size=10**400),
    "a path that is null": lambda body: body["files"][0].update(path=None),
    "no checksum": lambda body: body["files"][0].update(sha256=""),
    "a checksum of null": lambda body: body["files"][0].update(sha256=None),
    "a file twice": lambda body: body["files"].append(body["files"][0]),
    "metrics that are a list": lambda body: {**body, "metrics": []},
    "metrics that are not finite": lambda body: body["metrics"].update(loss=float("nan")),
    "metrics with a tag": lambda body: body["metrics"].update(loss={"$array": "/a"}),
    "extra of text": lambda body: {**body, "extra": "no"},
    "a step of text": lambda body: {**body, "learner_step": "2"},
    "a step of null": lambda body: {**body, "learner_step": None},
    "another step": lambda body: {**body, "learner_step": 3},
    "another version": lambda body: {**body, "version": 9},
    "no version": lambda body: body.pop("version") and None,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_manifest_with_other_keys_or_types_is_refused(checkpoints: Checkpoints, tmp_path: Path, name: str) -> None:
    change_manifest(tmp_path / "000000002", CHANGES[name])
    text = refusal(lambda: checkpoints.open(2))
    assert text.startswith(f"checkpoint 2 in {tmp_path} is damaged: ")
    assert text.endswith("Use --checkpoint 1, which is whole.")


@pytest.mark.parametrize("name", MALFORMED)
def test_a_manifest_or_score_that_is_something_else_is_one_line(
    checkpoints: Checkpoints, tmp_path: Path, name: str
) -> None:
    (tmp_path / "000000002" / "score.json").write_bytes(MALFORMED[name])
    assert checkpoints.best() is None
    (tmp_path / "000000002" / "manifest.json").write_bytes(MALFORMED[name])
    assert "manifest.json does not match its checksum. Use --checkpoint 1" in refusal(lambda: checkpoints.open(2))


def test_a_link_out_of_a_checkpoint_and_a_pipe_in_it_are_not_read(checkpoints: Checkpoints, tmp_path: Path) -> None:
    path = tmp_path / "000000002" / "learner.json"
    outside = path.rename(tmp_path / "outside.json")
    path.symlink_to(outside)
    assert "learner.json is a link to a file outside of the checkpoint" in refusal(lambda: checkpoints.open(2))
    path.unlink()
    os.mkfifo(path)
    assert "learner.json is missing" in refusal(lambda: checkpoints.open(2))


def test_nothing_is_written_outside_of_the_folder_that_objects_are_fetched_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serving() as store:
        location = join(store.uri, "runs", "a")
        with Checkpoints(location, keep=1).begin(5) as draft:
            draft.write("learner", {"weight": 1})
            draft.commit({})
        key = "runs/a/000000005.manifest.json"
        files = json.loads(store.objects[key])["files"]
        for path in ("../../evil.json", f"{tmp_path}/evil.json"):
            record = FileRecord(**{**files[0], "path": path})
            store.objects[key] = Manifest(5, {}, False, [record]).format().encode()
            assert "names a file outside of the checkpoint" in refusal(lambda: Checkpoints(location, keep=1).open(5))
    assert list(tmp_path.rglob("evil*")) == []


def test_what_does_not_fit_its_reader_is_the_checkpoints_fault(checkpoints: Checkpoints) -> None:
    opened = checkpoints.open(2)
    for use in (
        lambda saved: saved["other"],
        lambda saved: saved["weight"].reshape(9),
        lambda saved: saved["step"] + "",
    ):
        with pytest.raises(CheckpointError, match=WRONG), opened.loading("learner") as saved:
            use(saved)
    with pytest.raises(CheckpointError, match=r"^as it is$"), opened.loading("learner"):
        raise CheckpointError("as it is")
