"""A launch as a Ray job: it goes on without the terminal, and ends with a checkpoint when the job is stopped."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import PATIENCE_S, rlsys, wait_for

from rlsys.config import data_folder, load
from rlsys.runtime.cluster import submit

pytestmark = pytest.mark.xdist_group("ray")

HEAD = Path(__file__).parents[2] / "cluster" / "head_with_dashboard.py"
SETTINGS = ["debug=true", "run.training_steps=100000", "run.evaluate_every_learner_steps=0", "run.wandb=disabled"]


@pytest.fixture(scope="module")
def head() -> Iterator[tuple[str, str]]:
    """A cluster that takes jobs: its address and its dashboard's."""
    process = subprocess.Popen([sys.executable, str(HEAD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        address, dashboard = process.stdout.readline().split()
        yield address, dashboard
    finally:
        process.communicate(timeout=PATIENCE_S)


def test_a_file_is_submitted_followed_stopped_with_a_checkpoint_and_resumed(
    head: tuple[str, str], tmp_path: Path
) -> None:
    from ray.job_submission import JobStatus, JobSubmissionClient

    address, dashboard = head
    shutil.copy(data_folder("configs") / "muzero-cartpole.yaml", tmp_path / "mine.yaml")
    submitted = rlsys(tmp_path, "launch", "mine.yaml", *SETTINGS, "--submit", "--address", address)
    assert (submitted.returncode, submitted.stderr) == (0, "")
    first, *_, last = submitted.stdout.splitlines()
    run, job = first.split()[0], first.split()[5]
    assert last == f"its log:   ray job logs {job} --address {dashboard} --follow"
    (tmp_path / "mine.yaml").unlink()  # the job has its own

    folder = tmp_path / "runs" / run
    wait_for(lambda: list((folder / "checkpoints").glob("0*")), "checkpoint")
    assert "training" in rlsys(tmp_path, "status", run).stdout
    client = JobSubmissionClient(dashboard)
    assert client.get_job_info(job).metadata == {"rlsys_run": run}
    client.stop_job(job)
    wait_for(lambda: client.get_job_status(job) == JobStatus.STOPPED, "end of the job")
    log = client.get_job_logs(job)
    assert "interrupted; a checkpoint was written" in log
    assert "Traceback" not in log

    resumed = rlsys(tmp_path, "launch", "--resume", run, "--submit", "--address", dashboard, "run.training_steps=1")
    assert resumed.returncode == 0, resumed.stderr
    command = client.get_job_info(resumed.stdout.split()[5]).entrypoint
    assert command.endswith(f"launch run.training_steps=1 --resume {folder} runtime.address=auto")


def test_what_cannot_be_submitted_is_one_line(ray_cluster: None, head: tuple[str, str], tmp_path: Path) -> None:
    import ray

    assert _is_taken(8265)  # by head's; a cluster without a dashboard names this port all the same

    without_dashboard = ray.get_runtime_context().gcs_address
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = f"127.0.0.1:{probe.getsockname()[1]}"
    for address, expected in (
        (without_dashboard, f"no Ray job server answers for runtime.address = {without_dashboard} ("),
        (f"http://{free}", f"no Ray job server answers for runtime.address = http://{free} ("),
        (free, f"nobody listens at runtime.address = {free}"),
    ):
        done = rlsys(tmp_path, "launch", "muzero-cartpole", "--submit", "--address", address)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), (address, done.stdout, done.stderr)
        assert expected in done.stderr
    (tmp_path / "runs" / "muzero-cartpole" / "here").mkdir(parents=True)
    taken = rlsys(tmp_path, "launch", "muzero-cartpole", "--submit", "--address", free, "run.run_tag=here")
    assert "here exists already, and runs are never overwritten" in taken.stderr


def test_several_runs_are_one_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[list[str]] = []

    def hand_over(command: list[str], address: str, working_dir: str | None, run: str) -> tuple[str, str]:
        handed.append([*command, address, run])
        return "job_1", "http://there"

    monkeypatch.setattr(submit, "_hand_over", hand_over)
    monkeypatch.chdir(tmp_path)
    given = ["run.num_runs=3", "run.checkpoints=kept", "runtime.address=there:1"]
    loaded = load("iris-atari100k", overrides=given)
    said = submit.submit(submit.Order("iris-atari100k", None, None, given, resumes=False), loaded)
    here = [f"run.directory={tmp_path / 'runs'}", f"run.checkpoints={tmp_path / 'kept'}"]
    job = ["rlsys", "launch", "iris-atari100k", "run.num_runs=3", *here, "--no-resume-runs", "runtime.address=auto"]
    assert handed == [[*job, "there:1", "iris-atari100k"]]
    assert said.splitlines() == [
        "iris-atari100k goes on as job job_1 of the cluster at there:1, without this terminal.",
        f"its state: rlsys status --directory {tmp_path / 'runs'}",
        "stop it:   ray job stop job_1 --address http://there",
        "its log:   ray job logs job_1 --address http://there --follow",
    ]


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
