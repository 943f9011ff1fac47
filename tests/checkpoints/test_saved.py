"""What is saved comes back bit by bit, and loading it runs no code."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file
from support.checkpoints import same, write

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.checkpoints.part import write_part
from rlsys.errors import CheckpointError

DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">f4", ">i8", "c8", "c16", "S3", "U2"]
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
PARTS = [("picture", "u1", (2, 3)), ("speed", ">f8"), ("cell", "i8", (2,)), ("name", "U3"), ("flag", "?", ())]
STRUCTURED = st.lists(st.sampled_from(PARTS), min_size=1, unique=True).flatmap(
    lambda fields: hnp.arrays(np.uint8, (2, 3, np.dtype(fields).itemsize)).map(lambda raw: raw.view(np.dtype(fields)))
)
UNSAVED = [
    (np.zeros(2, [("a", "O")]), r"dtype \[\('a', 'O'\)\]"),
    (np.zeros(2, [("a", [("b", "f4")])]), r"dtype \[\('a', \[\('b'"),
    (np.zeros(2, np.dtype([("a", "u1"), ("b", "f8")], align=True)), "dtype {'names'"),
]
SCALARS = st.none() | st.booleans() | st.integers(-(2**140), 2**140) | st.floats() | st.text(max_size=5)
KEYS = st.text(max_size=4) | st.sampled_from(
    ["$array", "$float", "$$x", "a/b", "a", "~", "~1", "", "__metadata__", "0"]
)
TREES = st.recursive(
    SCALARS | ARRAYS | STRUCTURED,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=12,
)
SAVED = st.dictionaries(KEYS, TREES, max_size=5)


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
    [
        (object(), "object"),
        ({1: 2}, "dict"),
        ({1, 2}, "set"),
        (b"x", "bytes"),
        (np.array([None]), "dtype object"),
        *UNSAVED,
    ],
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
