"""Exports that are damaged, made up, or made to do harm: one line each, and nothing of them is used."""

import json
import shutil
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.damage import MALFORMED, MALFORMED_TENSORS, replace_file, seal_export
from support.games import making_runs

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.commands.play import PlayOptions, play_run
from rlsys.errors import RlsysError
from rlsys.evaluation.options import EvaluationOptions
from rlsys.evaluation.run import evaluate_run
from rlsys.exports import archive, cache, transport
from rlsys.exports.export import export_run
from rlsys.exports.find import find
from rlsys.exports.pretrained import read_weights

STEP = "checkpoints/000000020"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an export of step 20, made once."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = making_runs(folder, patch)("searching")
        with Checkpoints(run / "checkpoints", keep=2).begin(20) as draft:
            arrays = {"w": np.array([1.0, 2.0], np.float32)}
            draft.write("weights", {"version": 2, "learner_step": 20, "arrays": arrays})
            draft.commit({"env_steps": 2_000})
        export_run(str(run), folder / "out")
    return folder / "out"


@pytest.fixture
def export(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be damaged, in the present folder; its algorithm is known."""
    making_runs(tmp_path, monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole, tmp_path / "out")
    return tmp_path / "out"


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RlsysError) as refused:
        call()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def pack(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as opened:
        for path in sorted(folder.rglob("*")):
            opened.write(path, path.relative_to(folder).as_posix())


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("file", ["export.json", "config.yaml", f"{STEP}/manifest.json", f"{STEP}/weights.json"])
def test_a_file_that_is_something_else_is_one_line(export: Path, name: str, file: str) -> None:
    if file.endswith("weights.json"):
        replace_file(export / STEP, "weights.json", MALFORMED[name])
    else:
        (export / file).write_bytes(MALFORMED[name])
    if file != "export.json":
        seal_export(export)
    refusal(lambda: evaluate_run(EvaluationOptions("out", episodes=1)))


@pytest.mark.parametrize("name", MALFORMED_TENSORS)
def test_weights_that_are_no_arrays_of_ours_are_one_line(export: Path, name: str) -> None:
    replace_file(export / STEP, "weights.safetensors", MALFORMED_TENSORS[name])
    seal_export(export)
    assert "weights" in refusal(lambda: evaluate_run(EvaluationOptions("out", episodes=1)))


@pytest.mark.parametrize(
    "content",
    [
        b"algorithm: &a [" + b"x," * 10 + b"]\nenv: *a\n",
        b"a: &a {b: &b {c: 1}}\nd: [" + b"*a, " * 1000 + b"]\n",
        b"a: " + b"[" * 5000,
        b"a: " + b"{b: " * 500 + b"1" + b"}" * 500,
        b"- " * 3000 + b"1",
        b"a: !!python/object/apply:os.system ['true']\n",
        b"a: !!int abc\n",
        b"a: !!float abc\n",
        b"a: !!timestamp abc\n",
        b"a: !!binary '?'\n",
        b"a: " + b"9" * 6000 + b"\n",
        b"algorithm: searching\n1: 2\n",
        b"algorithm: searching\n? [1]\n: 2\n",
        b"algorithm: searching\nenv: {1: 2}\n",
        b"algorithm: searching\nenv: [1]\n",
        b"algorithm: searching\nenv: null\n",
        b"algorithm: searching\nsearching: {a: {}}\n",
        b"a" * 5_000_000,
        b"".join(b"k%d: 1\n" % number for number in range(200_000)),
        b"\xff\xfe",
        b"\x00",
    ],
    ids=lambda content: content[:20].decode("latin-1").encode("unicode_escape").decode(),
)
def test_settings_that_are_no_settings_are_one_line_soon(export: Path, content: bytes) -> None:
    (export / "config.yaml").write_bytes(content)
    seal_export(export)
    before = time.process_time()
    refusal(lambda: find("out"))
    assert time.process_time() - before < 10


LISTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a list": lambda body: [body],
    "null": lambda body: body | {"files": None},
    "an extra key": lambda body: body | {"more": 1},
    "a missing key": lambda body: body.pop("made_by") and None,
    "a step of text": lambda body: body | {"learner_step": "20"},
    "a step below 0": lambda body: body | {"learner_step": -1},
    "a name of two lines": lambda body: body | {"name": "a\nalgorithm: evil"},
    "a file that is null": lambda body: body["files"].append(None),
    "a file without checksum": lambda body: body["files"][0].pop("sha256") and None,
    "a file twice": lambda body: body["files"].append(body["files"][0]),
    "another file": lambda body: body["files"][0].update(path="setup.py"),
    "a part of two folders": lambda body: body["files"][0].update(path=f"{STEP}/a/b/c.json"),
    "a backslash": lambda body: body["files"][0].update(path="checkpoints\\000000020\\manifest.json"),
    "a drive": lambda body: body["files"][0].update(path="C:config.yaml"),
    "NUL": lambda body: body["files"][0].update(path="config.yaml\0"),
    "a line break": lambda body: body["files"][0].update(path="config.yaml\n"),
    "two dots": lambda body: body["files"][0].update(path="checkpoints/../config.yaml"),
    "a size of text": lambda body: body["files"][0].update(size="1"),
    "a huge size": lambda body: body["files"][0].update(size=10**30),
    "many files": lambda body: body.update(
        files=[{"path": f"{STEP}/p{number}.json", "size": 1, "sha256": "0" * 64} for number in range(5_000)]
    ),
    "no settings": lambda body: body.update(files=body["files"][:1]),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_files_with_other_keys_types_or_paths_is_one_line(export: Path, name: str) -> None:
    for path in export.rglob("*.yaml") if name == "no settings" else ():
        path.unlink()
    seal_export(export, LISTS[name])
    refusal(lambda: find("out"))
    pack(export, export.parent / "out.zip")
    refusal(lambda: find("out.zip"))


def test_links_out_of_an_export_are_not_followed(export: Path) -> None:
    settings = (export / "config.yaml").rename(export.parent / "outside.yaml")
    (export / "config.yaml").symlink_to(settings)
    assert "config.yaml is a link to a file outside of the export" in refusal(lambda: find("out"))
    (export / "config.yaml").unlink()
    shutil.copy(settings, export / "config.yaml")
    (export / "checkpoints").rename(export.parent / "elsewhere")
    (export / "checkpoints").symlink_to(export.parent / "elsewhere")
    assert "is a link to a file outside of the export" in refusal(lambda: find("out"))


def test_an_archive_with_strange_members_is_refused(export: Path, tmp_path: Path) -> None:
    for member in ("../evil", "/evil", "a\\..\\evil", "C:evil", "a/../../evil", ".hidden", "a//b", "ä"):
        pack(export, tmp_path / "out.zip")
        with zipfile.ZipFile(tmp_path / "out.zip", "a") as opened:
            opened.writestr(member, "x")
        assert "names a file outside of the export" in refusal(lambda: find("out.zip"))
    pack(export, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip", "a") as opened, pytest.warns(UserWarning, match="Duplicate name"):
        opened.writestr("config.yaml", "x")
    assert "names a file twice" in refusal(lambda: find("out.zip"))
    link = zipfile.ZipInfo("checkpoints/link")
    link.external_attr = 0o120777 << 16
    pack(export, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip", "a") as opened:
        opened.writestr(link, "/etc/passwd")
    assert "names a file outside of the export" in refusal(lambda: find("out.zip"))
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        pack(export, tmp_path / "out.zip")
        with zipfile.ZipFile(tmp_path / "out.zip", "a") as opened:
            opened.writestr("more.json", "x", compress_type=method)
        assert "packed in a way that exports are not" in refusal(lambda: find("out.zip"))


def test_an_archive_that_would_fill_the_disk_is_refused_before_it_is_unpacked(export: Path, tmp_path: Path) -> None:
    with (export / STEP / "weights.safetensors").open("r+b") as file:
        file.truncate(200 << 20)
    seal_export(export)
    pack(export, tmp_path / "out.zip")
    assert (tmp_path / "out.zip").stat().st_size < 1 << 20
    assert "would unpack to 209,7" in refusal(lambda: find("out.zip"))
    assert not list(cache.cache_folder().glob("*.part/*"))


def test_a_member_larger_than_its_list_says_and_too_many_members_are_refused(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal_export(export)
    with (export / STEP / "weights.json").open("ab") as file:
        file.write(b" " * 1000)
    pack(export, tmp_path / "out.zip")
    assert "weights.json has " in refusal(lambda: find("out.zip"))
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as opened:
        for number in range(1_001):
            opened.writestr(f"f{number}", "")
    assert "holds 1,001 files; an export has 1,000 at most" in refusal(lambda: find("many.zip"))
    shutil.rmtree(cache.cache_folder())
    monkeypatch.setattr(cache, "MOST_BYTES", 1_000)
    monkeypatch.setattr(archive, "_ANY_RATIO_BYTES", 0)
    seal_export(export)
    pack(export, tmp_path / "large.zip")
    assert "what comes from elsewhere has 1,000 at most" in refusal(lambda: find("large.zip"))
    assert find("out").name == "out", "a folder of this machine has no such limit"


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None: ...

        def do_GET(self) -> None:
            try:
                answer(self)
            except OSError:
                self.close_connection = True  # the other side has had enough

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def raw(text: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(text)
        handler.close_connection = True

    return answer


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}more",
        b"HTTP/1.0 200 OK\r\nContent-Length: many\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: -5\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 999999999999\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{}",
        b"HTTP/1.0 204 No Content\r\n\r\n",
        b"HTTP/1.0 206 Partial Content\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 403 Forbidden\r\n\r\nno",
        b"HTTP/1.0 500 Oops\r\n\r\nno",
        b"HTTP/1.0 999 What\r\n\r\nno",
        b"HTTP/1.0 302 Found\r\nLocation: /again\r\n\r\n",
        b"HTTP/1.0 302 Found\r\nLocation: http://[::1\r\n\r\n",
        b"HTTP/1.0 302 Found\r\nLocation: ftp://127.0.0.1/x\r\n\r\n",
        b"HTTP/1.0 302 Found\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n{}",
        b"HTTP/1.0 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n{}",
    ],
    ids=lambda text: text[:80].decode("latin-1").encode("unicode_escape").decode(),
)
@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_answers_that_are_wrong_are_one_line(export: Path, text: bytes, name: str) -> None:
    with answering(raw(text)) as url:
        assert url in refusal(lambda: find(f"{url}/{name}"))
    assert not list(cache.cache_folder().glob("*.zip.part"))


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_an_answer_without_end_and_one_that_drips_come_to_one(
    export: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b" " * (1 << 20))

    def dripping(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b" ")
            threading.Event().wait(0.01)

    def never(handler: BaseHTTPRequestHandler) -> None:
        while True:
            handler.wfile.write(b"H")
            threading.Event().wait(0.01)

    monkeypatch.setattr(transport, "MOST_BYTES", 10 << 20)
    monkeypatch.setattr(transport, "_ANSWER_S", 0.5)
    for answer, words in {endless: "at most|larger than", dripping: "bytes came in", never: "no answer within"}.items():
        with answering(answer) as url:
            text = refusal(lambda url=url: find(f"{url}/{name}"))  # type: ignore[misc]
        assert any(part in text for part in words.split("|")), text
    assert not list(cache.cache_folder().glob("*.zip.part"))


@pytest.mark.parametrize(
    "address", ["http://[::1", "http://host:port/x", "http://", "http:///x", "https://ä b/x", "s3://"]
)
def test_an_address_that_is_none_is_one_line(export: Path, address: str) -> None:
    refusal(lambda: find(address))


def test_an_export_imports_no_module_unless_it_is_trusted(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "module_of_an_export"
    (tmp_path / f"{module}.py").write_text(
        "import pathlib, gymnasium\npathlib.Path('imported').touch()\n"
        "gymnasium.register('Mine-v0', entry_point='rlsys.testing.environments:CountingEnv')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = export / "config.yaml"
    whole = settings.read_text()
    for place in ("env", "evaluation_env", "final_evaluation"):
        changed = whole.replace("id: rlsys/Counting-v0", f"id: {module}:Mine-v0", 1)
        if place == "evaluation_env":
            changed = whole.replace("evaluation_env: {}", f"evaluation_env: {{id: '{module}:Mine-v0'}}")
        if place == "final_evaluation":
            changed = whole.replace(
                "final_evaluation: []", f"final_evaluation: [{{name: a, env: {{id: '{module}:Mine-v0'}}}}]"
            )
        assert changed != whole
        settings.write_text(changed)
        seal_export(export)
        pack(export, tmp_path / "out.zip")
        for source in ("out", "out.zip"):
            for use in (
                lambda source=source: evaluate_run(EvaluationOptions(source, episodes=1)),
                lambda source=source: play_run(PlayOptions(source, watch=True)),
                lambda source=source: export_run(source, tmp_path / "again"),
            ):
                assert f"would import the module '{module}' on this machine. Give --trust" in refusal(use)
        assert read_weights("out")["w"].tolist() == [1.0, 2.0], "which needs no environment"
        assert not (tmp_path / "imported").exists() and module not in sys.modules
    settings.write_text(whole.replace("id: rlsys/Counting-v0", f"id: {module}:Mine-v0", 1))
    seal_export(export)
    assert evaluate_run(EvaluationOptions("out", episodes=1, trust=True)) == 0
    assert (tmp_path / "imported").exists()


def test_an_export_imports_no_module_for_its_algorithm_either(export: Path, tmp_path: Path) -> None:
    settings = export / "config.yaml"
    settings.write_text(settings.read_text().replace("algorithm: searching", "algorithm: never_imported:searching"))
    seal_export(export)
    for use in (
        lambda: evaluate_run(EvaluationOptions("out", episodes=1)),
        lambda: play_run(PlayOptions("out", watch=True)),
        lambda: export_run("out", tmp_path / "again"),
        lambda: read_weights("out"),
    ):
        assert "would import the module 'never_imported' on this machine. Give --trust" in refusal(use)


def test_an_export_does_not_say_what_is_read_or_written_here(export: Path, tmp_path: Path) -> None:
    tree = (export / "config.yaml").read_text()
    tree = tree.replace("directory: runs", f"directory: {tmp_path}/elsewhere")
    tree = tree.replace("checkpoints: null", "checkpoints: s3://bucket/path?scheme=http&endpoint_override=127.0.0.1:9")
    tree = tree.replace("address: null", "address: 10.0.0.1:6379").replace("wandb: offline", "wandb: online")
    (export / "config.yaml").write_text(tree)
    seal_export(export)
    experiment = find("out").loaded.experiment
    assert (experiment.run.directory, experiment.run.checkpoints) == ("runs", None)
    assert experiment.runtime.address is None
    assert evaluate_run(EvaluationOptions("out", episodes=1)) == 0
    assert not (tmp_path / "elsewhere").exists()
    assert json.loads((tmp_path / "runs/exports/out/eval.json").read_text())["checkpoint"] == 20
