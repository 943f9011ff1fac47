"""`rlsys export --format web`: what is in the page, and what is refused in one line."""

import base64
import gzip
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlsys.algorithms.iris.config import IrisConfig
from rlsys.config import build, load
from rlsys.errors import CheckpointError, ConfigError
from rlsys.exports.web import export, graphs, runtime
from rlsys.exports.web.export import export_page, in_full_precision


def part(page: str, name: str) -> str:
    found = re.search(rf'<script id="{name}" type="[\w/-]+">(.*?)</script>', page)
    assert found is not None, name
    return found[1]


def unpacked(page: str, name: str) -> bytes:
    return gzip.decompress(base64.b64decode(part(page, name)))


def test_one_file_has_all_that_is_needed(page_folder: Path) -> None:
    assert [path.name for path in page_folder.iterdir()] == ["index.html"]
    page = (page_folder / "index.html").read_text(encoding="utf-8")
    about = json.loads(part(page, "world"))
    assert about["title"] == "catch dreamed by simple at learner step 1,599"
    assert ["C", "wait for keys / real time"] in about["legend"] and ["A", "left"] in about["legend"]
    assert about["action"] == [1] and about["counted"] == ""
    assert {draw["kind"] for draw in about["draws"]} == {"uniform"}
    assert len(about["starts"]) == 8
    content = unpacked(page, "starts")
    assert (
        len({content[at["offset"] : at["offset"] + at["size"]] for at in (s["picture"] for s in about["starts"])}) > 1
    )
    assert unpacked(page, "runtime-wasm").startswith(b"\0asm")
    assert len(unpacked(page, "weights")) < 1_000_000
    assert not re.search(r"(src|href)=\"(?!data:)", page), "nothing from outside"
    assert not re.search(r"INCLUDE|PARTS\n", page)


def test_what_cannot_be_dreamed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").touch()
    with pytest.raises(CheckpointError, match=r"full is not empty, and exports never overwrite. Remove it, or choose"):
        export_page("simple-catch", tmp_path / "full")
    with pytest.raises(CheckpointError, match=r"no run"):
        export_page("nowhere", tmp_path / "page")
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize("algorithm", ["muzero", "ppo", "impala"])
def test_what_foretells_no_pictures_is_refused_in_one_line(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = SimpleNamespace(loaded=load(f"{algorithm}-cartpole"))
    monkeypatch.setattr(export, "find", lambda *arguments, **options: trained)
    with pytest.raises(
        ConfigError, match=rf"{algorithm}, whose networks foretell nothing.*: iris, planet, simple\."
    ) as found:
        export_page("RUN", tmp_path / "page")
    assert "\n" not in str(found.value)


def test_a_model_of_numbers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = SimpleNamespace(
        loaded=SimpleNamespace(experiment=build({"algorithm": "planet", "env": {"id": "CartPole-v1"}}, where="a test"))
    )
    monkeypatch.setattr(export, "find", lambda *arguments, **options: trained)
    with pytest.raises(ConfigError, match=r"--format web with CartPole-v1, whose observations \(4,\) are no pictures"):
        export_page("RUN", tmp_path / "page")


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        ConfigError, match=r"--format web needs onnxscript, which is not installed. Install rlsys\[web\]"
    ):
        graphs._graph(lambda tensors: tensors, [], [], [])


def test_networks_compute_with_32_bits_whatever_the_machine_can() -> None:
    section = in_full_precision(IrisConfig())
    assert isinstance(section, IrisConfig)
    assert (section.precision, section.world_model.precision) == ("fp32", "fp32")
    assert section.tokenizer == IrisConfig().tokenizer


def test_without_npm_it_is_said_what_brings_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"--format web needs onnxruntime-web-1.30.0, .*Install npm, or put ort.wasm"):
        runtime.read_runtime()


def test_a_runtime_that_is_another_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(runtime, "_bring", lambda folder: [(folder / name).touch() for name in runtime._DIGESTS])
    with pytest.raises(ConfigError, match=r"is not the one that is known here"):
        runtime.read_runtime()
    for name in runtime._DIGESTS:
        (tmp_path / "rlsys" / runtime._PACKAGE / name).write_bytes(name.encode())
    digests = {name: runtime.hashlib.sha256(name.encode()).hexdigest() for name in runtime._DIGESTS}
    monkeypatch.setattr(runtime, "_DIGESTS", digests)
    assert runtime.read_runtime() == {name: name.encode() for name in digests}


def test_what_npm_says_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho no network >&2\nexit 1\n", encoding="utf-8")
    npm.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: str(npm))
    with pytest.raises(ConfigError, match=r"npm cannot bring onnxruntime-web-1.30.0: no network. Look at"):
        runtime.read_runtime()
