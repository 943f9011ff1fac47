"""How a run begins: from nothing, with the networks of another, from an older checkpoint, with another window."""

import dataclasses
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from support.command_line import rlsys
from support.runs import MakeRecorder, MakeSpec

from rlsys import config
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.config.location import Location, WeightFile
from rlsys.errors import CheckpointError, ConfigError
from rlsys.exports.pretrained import begin_from, read_weights, settle
from rlsys.runs.folder import load
from rlsys.runs.progress import Progress
from rlsys.runs.resume import checkpoint_to_resume, with_replay
from rlsys.runs.spec import RunSpec
from rlsys.runtime.driver.inline import InlineRun

pytestmark = pytest.mark.xdist_group("beginnings")  # the run that is there is trained once

SMALL = ("ppo-cartpole", "--inline", "debug=true", "run.wandb=disabled", "run.tensorboard=false", "run.video=false")
PASSWORD, SIGNATURE = "planted5ecret", "planted5ignature"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run ppo-cartpole/first, whose checkpoints are of steps 10 and 20, and an export of it."""
    folder = tmp_path_factory.mktemp("trained")
    done = rlsys(folder, "launch", *SMALL, "run.run_tag=first")
    assert done.returncode == 0, done.stderr
    (folder / "served").mkdir()
    done = rlsys(folder, "export", "ppo-cartpole/first", "--to", "served/first.zip")
    assert done.returncode == 0, done.stderr
    return folder


def weights_of(source: Path | str) -> dict[str, np.ndarray]:
    return dict(read_weights(str(source)))


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_a_new_run_begins_with_the_networks_of_a_checkpoint_and_is_new_in_all_else(trained: Path) -> None:
    frozen = ("ppo.learning_rate=0", "run.training_steps=3", "run.evaluate_every_learner_steps=0")
    for tag, source in {"latest": "ppo-cartpole/first", "older": "runs/ppo-cartpole/first/#10"}.items():
        begun = (f"run.run_tag={tag}", f"run.init_from={source}")
        done = rlsys(trained, "launch", *SMALL, *frozen[1:], *begun, "ppo.learning_rate=1e-30")
        assert done.returncode == 0, done.stderr
        step = {"latest": 20, "older": 10}[tag]
        first = trained / "runs" / "ppo-cartpole" / "first"
        assert f"it begins with the networks of {first}#{step}" in done.stdout
        run = trained / "runs" / "ppo-cartpole" / tag
        assert load(run).experiment.run.init_from == Location(f"{first}#{step}")
        assert same(weights_of(run), weights_of(f"{first}#{step}"))
        assert Checkpoints(run / "checkpoints", keep=1).list() == (3,)
    done = rlsys(trained, "launch", "--resume", "ppo-cartpole/older", "--inline", "run.training_steps=4")
    assert done.returncode == 0, done.stderr
    assert "begins with" not in done.stdout
    done = rlsys(trained, "launch", "--resume", "ppo-cartpole/older", "run.init_from=ppo-cartpole/first")
    assert done.returncode == 2
    assert "run.init_from = ppo-cartpole/first with --resume; a run that has begun goes on from its own" in done.stderr


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.init_from=ppo-cartpol/first", "run.init_from = ppo-cartpol/first: no run 'ppo-cartpol/first' under runs"),
        ("run.init_from=ppo-cartpole/first#11", "no checkpoint '11' in"),
        ("run.init_from=ppo-cartpole/first ppo.hidden_size=24", "is (16,) there and (24,) here"),
        ("run.init_from=ppo-cartpole/first env.id=Acrobot-v1", "has other networks: "),
    ],
)
def test_weights_that_are_not_there_or_do_not_fit_are_one_line(trained: Path, override: str, message: str) -> None:
    done = rlsys(trained, "launch", *SMALL, *override.split())
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: run.init_from = ")]
    assert len(lines) == 1, done.stderr
    assert message in lines[0]
    assert "Traceback" not in done.stderr


def test_a_file_of_weights_is_found_again_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "vgg.pt").touch()
    given = [
        "iris.world_model.pretrained=gpt2",
        "iris.tokenizer.perceptual=vgg",
        "iris.tokenizer.vgg_path=vgg.pt",
        "iris.tokenizer.initial=/elsewhere/of/the/learner.pt",
    ]
    settled = settle(config.load("iris-gpt2-pretrained", overrides=given)).experiment
    assert settled.section.world_model.pretrained == WeightFile(str(tmp_path / "gpt2"))
    assert settled.section.tokenizer.vgg_path == WeightFile(str(tmp_path / "vgg.pt"))
    assert settled.section.tokenizer.initial == WeightFile("/elsewhere/of/the/learner.pt")


@pytest.mark.parametrize("path", ["gpt2", "s3://bucket/gpt2"])
def test_a_file_of_weights_that_is_not_there_is_refused_before_anything_begins(path: str) -> None:
    with pytest.raises(ConfigError, match=f"iris.world_model.pretrained = {path}: there is no such file or folder"):
        settle(config.load("iris-gpt2-pretrained", overrides=[f"iris.world_model.pretrained={path}"]))


def test_a_learner_says_which_arrays_do_not_fit(trained: Path) -> None:
    class Other:
        def weights(self) -> dict[str, np.ndarray]:
            return {"core": np.zeros(3)}

    source = Location(str(trained / "runs" / "ppo-cartpole" / "first"))
    with pytest.raises(CheckpointError, match=r"core is missing there and \(3,\) here; hidden.*and \d+ more\. Give"):
        begin_from(Other(), source)  # type: ignore[arg-type]


@pytest.fixture
def address(trained: Path) -> Iterator[str]:
    """Serves the export to who knows name, password and signature, and turns all others away."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None: ...

        def do_GET(self) -> None:
            login = b64encode(f"user:{PASSWORD}".encode()).decode()
            if self.headers["Authorization"] == f"Basic {login}" and SIGNATURE in self.path:
                super().do_GET()
            else:
                self.send_error(403)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(trained / "served"))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{http.server_port}/first.zip"
        http.shutdown()


def test_a_secret_in_a_uri_opens_it_and_is_in_nothing_that_a_run_writes(
    trained: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    uri = f"http://user:{PASSWORD}@{address}?X-Amz-Signature={SIGNATURE}"
    tracked = [word for word in SMALL if not word.startswith(("run.wandb", "run.tensorboard"))]
    done = rlsys(tmp_path, "launch", *tracked, "run.run_tag=begun", f"run.init_from={uri}", "run.wandb=offline")
    assert done.returncode == 0, done.stderr
    shown = f"http://***@{address}?X-Amz-Signature=***"
    assert f"it begins with the networks of {shown}" in done.stdout
    assert str(load(tmp_path / "runs/ppo-cartpole/begun").experiment.run.init_from) == shown
    wrong = uri.replace(PASSWORD, "other5ecret")
    refused = rlsys(tmp_path, "launch", *tracked, f"run.init_from={wrong}", "run.wandb=disabled")
    assert refused.returncode == 2
    assert "cannot be fetched: HTTP Error 403" in refused.stderr
    resumed = rlsys(tmp_path, "launch", "--resume", "ppo-cartpole/begun", "--inline", "run.training_steps=22")
    assert resumed.returncode == 0, resumed.stderr
    shows = [rlsys(tmp_path, command, "ppo-cartpole", f"run.init_from={uri}") for command in ("show",)]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.suffix == ".wandb" for path in files)
    texts = [path.read_bytes() for path in files]
    texts += [text.encode() for one in (done, refused, resumed, *shows) for text in (one.stdout, one.stderr)]
    for secret in (PASSWORD, SIGNATURE, "other5ecret"):
        assert not [text for text in texts if secret.encode() in text]
    again = rlsys(tmp_path, "launch", "runs/ppo-cartpole/begun/config.yaml", "--inline")
    assert again.returncode == 2
    assert "run.init_from = " in again.stderr
    assert "has lost its secret: none is ever written down. Give it again" in again.stderr


def run_inline(spec: RunSpec, make_recorder: MakeRecorder, step: int | None = None) -> tuple[RunSpec, Progress]:
    progress = Progress(spec.run)
    checkpoints = Checkpoints(spec.folder / "checkpoints", keep=spec.run.keep_checkpoints)
    if step is not None:
        progress.load(checkpoints.open(step, ["progress"]).read("progress"))
        spec = with_replay(spec, progress.replay_form, step)
        checkpoints.go_back(step)
    progress.replay_form = spec.replay_form
    runner = InlineRun(spec, progress, make_recorder(spec, progress), checkpoints)
    runner.start(step)
    runner.run()
    return spec, progress


@pytest.mark.parametrize(
    ("change", "begins_episodes"), [({"window_size": 1_000}, False), ({"segment_length": 10}, True)]
)
def test_replay_of_another_form_is_filled_anew_and_all_else_goes_on(
    make_spec: MakeSpec, make_recorder: MakeRecorder, change: dict[str, int], begins_episodes: bool
) -> None:
    run = {"training_steps": 40, "log_every_learner_steps": 10}
    run_inline(make_spec(run=run), make_recorder)
    longer = {**run, "training_steps": 60}
    spec, progress = run_inline(make_spec(change, run=longer), make_recorder, step=40)
    assert spec.refills(40)
    assert spec.refill is not None
    assert spec.refill.begins_episodes == begins_episodes
    assert progress.learner_steps == 60
    inline = Checkpoints(spec.folder / "checkpoints", keep=1).open(60).read("inline")
    assert inline["replay"]["limiter"]["sampled"] == 20 * 16, "replay counts from its new beginning"
    assert inline["learner"]["learner"]["steps"] == 60
    spec, progress = run_inline(make_spec(change, run={**run, "training_steps": 80}), make_recorder, step=60)
    assert spec.refill is None, "a checkpoint in the new form is taken over whole"
    assert progress.learner_steps == 80


def test_another_budget_of_bytes_fills_replay_anew(make_spec: MakeSpec) -> None:
    form = json.loads(json.dumps(make_spec().replay_form))
    assert with_replay(make_spec(runtime={"replay_bytes": 10**8}), form, 40).refill is not None


def test_what_does_not_change_the_form_of_replay_keeps_it(make_spec: MakeSpec) -> None:
    spec = make_spec()
    form = json.loads(json.dumps(spec.replay_form))
    same_form = make_spec({"stored_before_train": 100, "samples_per_insert": 2.0})
    assert with_replay(same_form, form, 40).refill is None
    assert with_replay(dataclasses.replace(spec, name="other"), form, 40).refill is None


def test_a_run_goes_back_to_an_older_checkpoint_and_gives_up_later_ones_with_its_next(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    run = {"training_steps": 60, "checkpoint_every_learner_steps": 20, "keep_checkpoints": 9}
    spec = make_spec(run={**run, "save_extra_checkpoint": [500]})
    run_inline(spec, make_recorder)
    checkpoints = Checkpoints(spec.folder / "checkpoints", keep=9)
    before = checkpoints.list()
    assert {20, 40, 60} <= set(before)
    assert checkpoint_to_resume(checkpoints, "20").learner_step == 20
    checkpoints.go_back(20)
    assert checkpoints.latest() == 20
    assert Checkpoints(spec.folder / "checkpoints", keep=9).list() == before, "nothing is lost before the next one"
    changed = {**run, "training_steps": 50, "checkpoint_every_learner_steps": 25}
    run_inline(make_spec(run=changed), make_recorder, step=20)
    assert Checkpoints(spec.folder / "checkpoints", keep=9).list() == (20, 25, 50)
