"""Damage of any kind at any file of a real run: whoever reads it gets one line or a result, never a traceback."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.damage import MALFORMED, MALFORMED_TENSORS, change_manifest

from rlsys import config
from rlsys.commands.follow import attach_to, show_run, show_runs
from rlsys.commands.top import show_top
from rlsys.errors import RlsysError
from rlsys.evaluation.options import EvaluationOptions
from rlsys.evaluation.run import evaluate_run
from rlsys.exports.export import export_run
from rlsys.runtime.launch.launch import launch

RUN = Path("runs", "ppo-cartpole", "here")
SETTINGS = (
    "debug=true",
    "run.training_steps=4",
    "run.checkpoint_every_learner_steps=2",
    "run.evaluate_every_learner_steps=0",
    "run.wandb=disabled",
    "run.tensorboard=false",
    "run.video=false",
    "run.run_tag=here",
)
VALUES = (None, True, -1, 2**80, 1.5, "text", [], {}, [None], {"$array": "/x"}, {"$float": "nan"}, "\n", 10**400)
"""What stands in the place of a value of JSON."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of four updates, an evaluation and an export of it."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        launch(config.load("ppo-cartpole", overrides=SETTINGS), inline=True, resume=None, overrides=())
        evaluate_run(EvaluationOptions(str(RUN), episodes=1))
        export_run(str(RUN), folder / "out")
    return folder


@pytest.fixture
def present(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies of it are damaged."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def paths_in(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from paths_in(value, (*path, key))


def changed(content: bytes, data: st.DataObject) -> bytes:
    """Returns JSON with one value replaced, removed or added."""
    tree = {"": json.loads(content)}
    path = data.draw(st.sampled_from(list(paths_in(tree))[1:]))
    holder: Any = tree
    for key in path[:-1]:
        holder = holder[key]
    match data.draw(st.sampled_from(["replace", "replace", "remove", "add"])):
        case "remove" if len(path) > 1:
            del holder[path[-1]]
        case "add" if isinstance(holder[path[-1]], dict):
            holder[path[-1]]["more"] = 1
        case _:
            holder[path[-1]] = data.draw(st.sampled_from(VALUES))
    return json.dumps(tree[""]).encode()


def damaged(path: Path, data: st.DataObject) -> bytes:
    content = path.read_bytes()
    kinds = ["other", "cut", "flip", "swap"] + (["change"] * 4 if path.suffix == ".json" else [])
    match data.draw(st.sampled_from(kinds)):
        case "change":
            return changed(content, data)
        case "cut":
            return content[: data.draw(st.integers(0, max(0, len(content) - 1)))]
        case "flip" if content:
            position = data.draw(st.integers(0, len(content) - 1))
            flipped = bytes([content[position] ^ (1 << data.draw(st.integers(0, 7)))])
            return content[:position] + flipped + content[position + 1 :]
        case "swap" if content:
            middle = data.draw(st.integers(0, len(content)))
            return content[middle:] + content[:middle]
    known = MALFORMED_TENSORS if path.suffix == ".safetensors" else MALFORMED
    return known[data.draw(st.sampled_from(sorted(known)))]


def one_line(call: Callable[[], object]) -> None:
    try:
        call()
    except RlsysError as error:
        assert "\n" not in str(error)


READERS: dict[str, Callable[[], object]] = {
    "status of all": lambda: show_runs(Path("runs")),
    "status": lambda: show_run(str(RUN), Path("runs")),
    "top": lambda: show_top(str(RUN), Path("runs"), once=True),
    "attach": lambda: attach_to(str(RUN), Path("runs")),
    "eval": lambda: evaluate_run(EvaluationOptions(str(RUN), episodes=1, max_steps=5)),
    "eval of an export": lambda: evaluate_run(EvaluationOptions("out", episodes=1, max_steps=5)),
    "export": lambda: export_run(str(RUN), Path("again")),
    "resume": lambda: launch(None, inline=True, resume=str(RUN), overrides=("run.training_steps=6",)),
}


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_every_reader_survives_damage_at_any_file(whole: Path, present: Path, data: st.DataObject) -> None:
    for name in ("runs", "out", "again"):
        shutil.rmtree(present / name, ignore_errors=True)
    for name in ("runs", "out"):
        shutil.copytree(whole / name, present / name)
    files = sorted(path.relative_to(present) for path in present.rglob("*") if path.is_file())
    path = present / data.draw(st.sampled_from([file for file in files if file.suffix in (".json", ".safetensors")]))
    path.write_bytes(damaged(path, data))
    if path.name != "manifest.json" and (path.parent / "manifest.json").exists():
        change_manifest(path.parent, lambda body: None)
    for read in READERS.values():
        one_line(read)
