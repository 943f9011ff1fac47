"""Exports: what is in them, where they are found, and what becomes of damaged and interrupted ones."""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from support.games import making_runs

from rlsys import config
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.checkpoints.storage import join
from rlsys.commands.play import PlayOptions, play_run
from rlsys.errors import CheckpointError, RlsysError
from rlsys.evaluation.options import EvaluationOptions
from rlsys.evaluation.run import evaluate_run
from rlsys.exports import cache, manifest, shipped
from rlsys.exports.export import export_run
from rlsys.exports.find import find, find_run, give_weights
from rlsys.exports.pretrained import read_weights
from rlsys.testing.object_store import serving
from rlsys.types import Weights

WEIGHTS = "checkpoints/000000020/weights.safetensors"
WORLD = {"arrays": {"world": np.arange(6, dtype=np.float32)}, "context": 4}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with a checkpoint of many parts at step 20."""
    folder = making_runs(tmp_path, monkeypatch)("searching")
    with Checkpoints(folder / "checkpoints", keep=2).begin(20) as draft:
        draft.write("weights", {"version": 2, "learner_step": 20, "arrays": {"w": np.array([1.0, 2.0], np.float32)}})
        draft.write("world", WORLD)
        draft.write("learner", {"optimizer": np.zeros(10_000)})
        draft.write("replay-0/000000001", {"rows": np.zeros(10_000)})
        draft.commit({"env_steps": 2_000})
    return folder


class Server:
    """Files over HTTP.

    Attributes:
      url: of the folder that is served.
      requests: paths that were asked for.
      cuts: bytes after which the answer to a path that ends so is cut off.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.requests: list[str] = []
        self.cuts: dict[str, int] = {}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "served").mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None: ...

        def do_GET(self) -> None:
            served.requests.append(self.path)
            for name, size in served.cuts.items():
                if self.path.partition("?")[0].endswith(name):
                    content = (tmp_path / "served" / self.path.partition("?")[0][1:]).read_bytes()
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content[:size])
                    return
            super().do_GET()

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "served"))) as http:
        served = Server(http.server_port)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield served
        http.shutdown()


def digest_of(folder: Path) -> str:
    return manifest.digest((folder / manifest.NAME).read_bytes())


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RlsysError) as refused:
        call()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_an_export_is_what_acting_needs_and_nothing_else(run: Path, tmp_path: Path) -> None:
    text = export_run(str(run), tmp_path / "out")
    assert "at learner step 20 is now in" in text and digest_of(tmp_path / "out") in text
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    parts = {f"checkpoints/000000020/{part}.{end}" for part in ("weights", "world") for end in ("json", "safetensors")}
    assert files == {"export.json", "config.yaml", "checkpoints/000000020/manifest.json", *parts}
    found = find(str(tmp_path / "out"))
    opened = found.open("latest", ["weights", "world"])
    assert opened.read("weights")["arrays"]["w"].tolist() == [1.0, 2.0]
    assert opened.read("world")["context"] == 4
    np.testing.assert_array_equal(opened.read("world")["arrays"]["world"], WORLD["arrays"]["world"])
    assert opened.metrics == {"env_steps": 2_000}
    assert found.loaded.name == run.parent.name
    assert str(tmp_path) not in (tmp_path / "out" / "config.yaml").read_text(), "paths of whoever trained it stay there"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_best_checkpoint_of_a_run_without_a_world_is_an_export_too(run: Path, tmp_path: Path) -> None:
    export_run(str(run), tmp_path / "out.zip", checkpoint="best")
    opened = find(str(tmp_path / "out.zip")).open("best", ["weights", "world"])
    assert (opened.learner_step, opened.parts) == (10, ("weights",))


def test_the_same_run_makes_the_same_archive(run: Path, tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        export_run(str(run), tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_half_is_rounded_in_16_bits_and_comes_back_in_32_except_for_what_does_not_fit(
    run: Path, tmp_path: Path
) -> None:
    arrays = {
        "small": np.random.default_rng(0).normal(size=1_000).astype(np.float32),
        "large": np.array([1.0, 1e6], np.float32),
        "infinite": np.array([np.inf], np.float32),
        "double": np.array([0.1]),
        "counts": np.array([70_000]),
        "strided": np.ones((6, 4), np.float32)[::2],
    }
    with Checkpoints(run / "checkpoints", keep=2).begin(30) as draft:
        draft.write("weights", {"version": 3, "learner_step": 30, "arrays": arrays})
        draft.commit({})
    export_run(str(run), tmp_path / "whole")
    export_run(str(run), tmp_path / "half", half=True)
    sizes = [(tmp_path / name / WEIGHTS.replace("20", "30")).stat().st_size for name in ("whole", "half")]
    assert 2 * (1_000 + 12) <= sizes[0] - sizes[1] < 2 * (1_000 + 12) + 16, "the header differs a little, too"
    found = read_weights(str(tmp_path / "half"))
    assert {name: array.dtype for name, array in found.items()} == {name: a.dtype for name, a in arrays.items()}
    np.testing.assert_allclose(found["small"], arrays["small"], rtol=2**-11, atol=1e-7)
    for name in ("large", "infinite", "double", "counts", "strided"):
        np.testing.assert_array_equal(found[name], arrays[name])


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_an_export_is_played_and_evaluated_and_nothing_is_written_into_it(
    run: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    export_run(str(run), tmp_path / name)
    shutil.rmtree(run.parent)
    before = {path: path.stat().st_mtime_ns for path in [tmp_path / name, *(tmp_path / name).rglob("*")]}
    assert evaluate_run(EvaluationOptions(name, episodes=2, films=1)) == 0
    assert "exports/out: rlsys/Counting-v0 at learner step 20, seeds from 5" in capsys.readouterr().out
    kept = tmp_path / "runs" / "exports" / "out"
    assert json.loads((kept / "eval.json").read_text())["checkpoint"] == 20
    assert "at learner step 20" in play_run(PlayOptions(name))
    media = sorted(path.name for path in (kept / "media").iterdir())
    assert media == ["evaluation-000000020-sampling_temp_0.0_max_noops_0-0.mp4", "play.mp4"]
    assert before == {path: path.stat().st_mtime_ns for path in [tmp_path / name, *(tmp_path / name).rglob("*")]}


def test_one_checkpoint_of_a_run_is_named_by_its_folder(run: Path) -> None:
    found = find(str(run / "checkpoints" / "000000010"))
    assert found.open("latest", ["weights"]).learner_step == 10
    assert found.output == run and found.is_run
    assert read_weights(str(run / "checkpoints" / "000000010"))["w"].tolist() == [1.0, 2.0]


def test_what_ships_is_found_by_name_unless_a_run_has_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shipped.rows() == [] or all(len(row) == 4 for row in shipped.rows())
    monkeypatch.setattr("rlsys.config.data_folder", lambda kind: tmp_path / kind)
    export_run(str(run), tmp_path / "trained" / "tiny")
    ((*row, about),) = shipped.rows()
    assert row == ["tiny", "searching", "rlsys/Counting-v0"]
    assert about.startswith("learner step 20, ") and about.endswith(" kB")
    assert not find("tiny").is_run
    assert play_run(PlayOptions("tiny")).startswith("rlsys/Counting-v0 at learner step 20")
    shutil.copytree(run, tmp_path / "runs" / "tiny" / "first")
    assert find("tiny").is_run
    with pytest.raises(CheckpointError, match="no run 'tin' under runs"):
        find("tin")


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_an_export_is_fetched_over_http_once_if_it_is_pinned(
    run: Path, tmp_path: Path, server: Server, name: str
) -> None:
    export_run(str(run), tmp_path / "served" / name)
    export_run(str(run), tmp_path / "plain")
    uri = f"{server.url}/{name}?token=secret#sha256={digest_of(tmp_path / 'plain')}"
    for _ in range(2):
        assert read_weights(uri)["w"].tolist() == [1.0, 2.0]
    assert len(server.requests) == (1 if name.endswith("zip") else 7), "the second time nothing is asked for"
    assert find(uri).name == "out"
    assert read_weights(f"{server.url}/{name}")["w"].tolist() == [1.0, 2.0]


def test_an_export_is_fetched_from_an_object_store(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_run(str(run), tmp_path / "out")
    export_run(str(run), tmp_path / "out.zip")
    with serving() as store:
        for path in [tmp_path / "out.zip", *(path for path in (tmp_path / "out").rglob("*") if path.is_file())]:
            store.objects[f"goods/{path.relative_to(tmp_path)}"] = path.read_bytes()
        for name in ("out", "out.zip"):
            assert read_weights(join(store.uri, "goods", name))["w"].tolist() == [1.0, 2.0]
        text = refusal(lambda: find(join(store.uri, "goods", "nothing")))
    assert text.startswith("s3://bucket/goods/nothing/export.json cannot be fetched: ")


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_a_download_that_was_cut_off_is_not_used_named_and_completed_next_time(
    run: Path, tmp_path: Path, server: Server, name: str
) -> None:
    export_run(str(run), tmp_path / "served" / name)
    cut = WEIGHTS if name == "out" else name
    server.cuts[cut] = 50
    text = refusal(lambda: find(f"{server.url}/{name}"))
    size = (tmp_path / "served" / (f"out/{WEIGHTS}" if name == "out" else name)).stat().st_size
    assert text.endswith(f"{cut} was cut off after 50 of {size:,} bytes; nothing of it is used. Try again.")
    assert [path for path in cache.cache_folder().iterdir() if len(path.name) == 64] == []
    server.cuts.clear()
    before = len(server.requests)
    assert read_weights(f"{server.url}/{name}")["w"].tolist() == [1.0, 2.0]
    again = server.requests[before:]
    assert f"/{name}/checkpoints/000000020/weights.json" not in again, "what had arrived whole is kept"
    assert not [*cache.cache_folder().glob("*.part")]


def test_a_file_that_was_damaged_on_the_way_or_in_the_cache_is_never_used(
    run: Path, tmp_path: Path, server: Server
) -> None:
    export_run(str(run), tmp_path / "served" / "out")
    served = tmp_path / "served" / "out" / WEIGHTS
    whole = served.read_bytes()
    served.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    text = refusal(lambda: find(f"{server.url}/out"))
    assert text == (f"{server.url}/out: {WEIGHTS} does not match its checksum; it is not used. Get the export again.")
    assert f"{WEIGHTS} does not match its checksum" in refusal(lambda: find(str(tmp_path / "served" / "out")))
    served.write_bytes(whole + b"more")
    assert f"{WEIGHTS} has" in refusal(lambda: find(f"{server.url}/out"))
    served.write_bytes(whole)
    pinned = f"{server.url}/out#sha256={digest_of(tmp_path / 'served' / 'out')}"
    find(pinned)
    kept = cache.cache_folder() / digest_of(tmp_path / "served" / "out") / WEIGHTS
    kept.write_bytes(b"?")
    before = len(server.requests)
    assert read_weights(pinned)["w"].tolist() == [1.0, 2.0]
    assert [path.rpartition("/")[2] for path in server.requests[before:]] == ["export.json", "weights.safetensors"]


def test_processes_that_want_the_same_export_at_once_all_get_it(run: Path, tmp_path: Path, server: Server) -> None:
    export_run(str(run), tmp_path / "served" / "out")
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(cache.fetch(f"{server.url}/out"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [cache.cache_folder() / digest_of(tmp_path / "served" / "out")] * 6


def test_bad_addresses_and_archives_are_one_line_each(run: Path, tmp_path: Path, server: Server) -> None:
    export_run(str(run), tmp_path / "out.zip")
    served = tmp_path / "served"
    content = (tmp_path / "out.zip").read_bytes()
    (served / "short.zip").write_bytes(content[: len(content) // 2])
    (served / "empty.zip").write_bytes(b"")
    with zipfile.ZipFile(served / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    (served / "page").mkdir()
    (served / "page" / "export.json").write_text("<html>")
    for name, message in {
        "gone": r"/gone/export.json cannot be fetched: HTTP Error 404: File not found. Check the address",
        "gone.zip": "/gone.zip cannot be fetched: HTTP Error 404",
        "short.zip": "/short.zip is no whole .zip archive. Get the export again.",
        "empty.zip": "/empty.zip is no whole .zip archive.",
        "other.zip": "/other.zip: export.json is missing, so it is no export.",
        "page": "/page is no export: its export.json cannot be read.",
        "page#sha256=12": "'#sha256=12' at the end of",
        f"page#sha256={'0' * 64}": "/page is another export than the one that is pinned: its export.json has sha256",
    }.items():
        assert message in refusal(lambda name=name: find(f"{server.url}/{name}"))  # type: ignore[misc]
    (tmp_path / "short.zip").write_bytes(content[: len(content) // 2])
    assert "short.zip is no whole .zip archive" in refusal(lambda: find("short.zip"))
    assert refusal(lambda: find("ftp://key:secret@host/x")).startswith("'ftp://' in ftp://host/x is none of http://, ")
    assert "Did you mean 'https'?" in refusal(lambda: find("htps://host/x"))
    assert "cannot be fetched" in refusal(lambda: find("http://127.0.0.1:9/out"))


def test_no_export_writes_outside_of_its_folder(run: Path, tmp_path: Path) -> None:
    export_run(str(run), tmp_path / "out")
    path = tmp_path / "out" / "export.json"
    for name in ("../evil", "/etc/evil", "a/../../evil", ".hidden", "a//b"):
        body = json.loads(path.read_text())
        body["files"][0]["path"] = name
        path.write_text(json.dumps(body))
        assert f"names a file outside of the export: {name}" in refusal(lambda: find("out"))


def test_a_redirection_to_a_file_of_this_machine_is_not_followed(server: Server, tmp_path: Path) -> None:
    class Redirect(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None: ...

        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"file://{tmp_path}/secret.zip")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        text = refusal(lambda: find(f"http://127.0.0.1:{http.server_port}/x.zip"))
        http.shutdown()
    assert "cannot be fetched" in text


def test_an_export_of_another_version_is_refused_with_both_versions(run: Path, tmp_path: Path) -> None:
    export_run(str(run), tmp_path / "out")
    path = tmp_path / "out" / "export.json"
    body = json.loads(path.read_text())
    path.write_text(json.dumps({**body, "version": 7}))
    assert "is an export of format 7, expected 1." in refusal(lambda: find("out"))
    settings = tmp_path / "out" / "config.yaml"
    settings.write_text(settings.read_text().replace("num_simulations", "simulations"))
    for record in body["files"]:
        if record["path"] == "config.yaml":
            record["size"] = settings.stat().st_size
            record["sha256"] = manifest.digest(settings.read_bytes())
    path.write_text(json.dumps({**body, "made_by": "9.9"}))
    text = refusal(lambda: find("out"))
    assert "export 'out' was made by rlsys 9.9; this is " in text and "simulations" in text


def test_weights_of_another_network_are_refused(run: Path) -> None:
    from rlsys.algorithms.ppo import ALGORITHM
    from rlsys.api import PolicyContext
    from rlsys.config import EnvConfig
    from rlsys.envs.make import env_spec

    policy = ALGORITHM.make_policy(PolicyContext(ALGORITHM.config_type(), env_spec(EnvConfig()), 0))
    text = refusal(lambda: give_weights(policy, Weights(1, 1, {"w": np.zeros(3, np.float32)})))
    assert text.startswith("the weights do not fit PPOPolicy as rlsys ")


def test_exports_are_neither_resumed_nor_overwritten(run: Path, tmp_path: Path) -> None:
    export_run(str(run), tmp_path / "out")
    for source in ("out", "out.zip", "https://host/out"):
        assert f"'{source}' cannot be resumed: an export has weights" in refusal(lambda: find_run(source))  # noqa: B023
    assert "out exists already" in refusal(lambda: export_run(str(run), tmp_path / "out"))
    assert find_run(str(run)) == run


def test_an_export_can_be_exported_again(run: Path, tmp_path: Path) -> None:
    export_run(str(run), tmp_path / "out")
    export_run("out", tmp_path / "again.zip", half=True)
    assert read_weights("again.zip")["w"].tolist() == [1.0, 2.0]


def test_a_list_of_what_ships_imports_nothing_heavy() -> None:
    code = (
        "import sys; from rlsys.exports import shipped; shipped.rows();"
        "print([name for name in ('torch', 'ray', 'wandb', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with contextlib.suppress(FileNotFoundError):
        assert not (config.data_folder("trained") / manifest.NAME).exists()
