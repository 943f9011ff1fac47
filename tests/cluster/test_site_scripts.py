"""launch/slurm.sh and pbs.sh: what they say to Ray and to rlsys, for both of which there are stand-ins here.

tests/cluster/site_jobs.py has the schedulers' stand-ins, and trains with the real Ray.
"""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from site_jobs import JOB, LAUNCH, SCHEDULER, Job, install, warn

from rlsys import config

SCRIPTS = ["pbs.sh", "site.sh", "slurm.sh"]

RAY = {
    "ray": 'case "$1 $2" in start*) [[ $* == *--head* || ! -e refuse ]] && exec sleep 1000 ;; esac',
    "rlsys": 'echo "$*" >> launched; trap "exit 130" TERM; until [[ -e done ]]; do sleep 0.1; done',
    "python": """
        case $* in
            *get_node_ip_address*) echo 127.0.0.1 ;;
            "- "*/job-*) [[ -e $2/checkpoints ]] ;; # whether a run has a checkpoint
            "- "*) sleep 1 ;; # how many machines there are
            *) exec "$PYTHON" "$@" ;;
        esac""",
}

TRAINING = {
    # Says what it knows of its surroundings, writes a run where it is told to, and ends when the job does.
    "rlsys": """
        echo "$*" >> launched
        printf '%s\\n' "$WANDB_API_KEY" "$TMPDIR" "$WANDB_CACHE_DIR" "$TORCH_HOME" "$OPENBLAS_NUM_THREADS" > seen
        for word in "$@"; do case $word in run.directory=*) directory=${word#*=} ;; esac; done
        run=${directory:-runs}/$2/job-4711
        [[ $2 == --resume ]] && run=$3
        mkdir -p "$run/checkpoints" && touch "$run/config.yaml" && echo "$2" >> "$run/history"
        trap "exit 130" TERM; until [[ -e done ]]; do sleep 0.1; done""",
}

Start = Callable[..., Job]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Returns a function that starts a job on one machine, or on those of the parts of a heterogeneous job."""
    probe = ["unshare", "--pid", "--fork", "--mount", "--net", "true"]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("needs root on Linux, for namespaces of its own")
    monkeypatch.setenv("PYTHON", sys.executable)
    install(tmp_path, SCHEDULER | RAY)
    jobs: list[Job] = []

    def begin(scheduler: str, *launch: str, machines: tuple[list[str], ...] = (["a"],)) -> Job:
        jobs.append(Job(tmp_path, scheduler, list(launch), list(machines)))
        return jobs[-1]

    yield begin
    for job in jobs:
        job.kill()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_linter_has_nothing_to_say(name: str) -> None:
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    shellcheck = shutil.which("shellcheck", path=path)
    assert shellcheck is not None, "shellcheck is missing: pip install -e '.[test]'"
    command = [shellcheck, "--external-sources", f"launch/{name}"]
    done = subprocess.run(command, cwd=LAUNCH.parent, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_scripts_are_no_profiles() -> None:
    assert sorted(path.name for path in LAUNCH.glob("*.sh")) == SCRIPTS
    assert not {"pbs", "site", "slurm"} & set(config.profile_names())


def test_the_first_machine_or_part_learns_and_the_others_act(start: Start) -> None:
    job = start("slurm", "muzero-cartpole", machines=(["a", "b", "c"],))
    job.wait_for(lambda: job.lines("launched"), "launch")
    hosts = sorted(word for line in job.lines("started") for word in line.split() if word.startswith("--nodelist"))
    assert hosts == ["--nodelist=b", "--nodelist=c"]
    assert all("--labels=rlsys.io/role=rollout" in line for line in job.lines("started"))
    job.kill()
    (job.folder / "started").unlink()
    parts = start("slurm", "muzero-cartpole", machines=(["a", "b"], ["c"]))
    parts.wait_for(lambda: len(job.lines("launched")) == 2, "launch")
    learner, rollout = sorted(parts.lines("started"), key=lambda line: "role=rollout" in line)
    assert "--het-group=0 --nodelist=b" in learner and " 0 --address=127.0.0.1:" in learner
    assert "--labels=rlsys.io/role=learner" in learner, "its cores are for learning: none are offered"
    assert "--het-group=1 --nodelist=c" in rollout


@pytest.mark.parametrize("scheduler", ["slurm", "pbs"])
def test_a_warned_job_ends_with_a_checkpoint_and_goes_on_when_it_starts_again(start: Start, scheduler: str) -> None:
    arguments = [scheduler, "muzero-cartpole", "run.directory=here", "--profile", "gpu-48"]
    job = start(*arguments)
    job.wait_for(lambda: job.lines("launched"), "launch")
    warn(job, scheduler)
    assert job.ended() == 130
    if scheduler == "slurm":
        assert job.lines("requeued") == [JOB]
    else:
        assert f'go on with the same qsub and LAUNCH="--resume muzero-cartpole/job-{JOB}"' in job.log
    run = job.folder / "here" / "muzero-cartpole" / f"job-{JOB}"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    (job.folder / "warn").unlink()

    again = start(*arguments)
    again.wait_for(lambda: len(job.lines("launched")) == 2, "second launch")
    again.signal(signal.SIGTERM)
    assert again.ended() == 130
    assert len(job.lines("requeued")) <= 1, "who ends a job does not want it again"
    first, second = (line.split(" --address ")[0] for line in job.lines("launched"))
    assert first == f"launch muzero-cartpole run.directory=here --profile gpu-48 run.run_tag=job-{JOB}"
    assert second == f"launch --resume here/muzero-cartpole/job-{JOB}"


def test_a_run_that_ended_before_its_first_checkpoint_is_put_aside(start: Start, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "muzero-cartpole" / f"job-{JOB}"
    run.mkdir(parents=True)
    (run / "config.yaml").touch()
    job = start("slurm", "muzero-cartpole")
    job.wait_for(lambda: job.lines("launched"), "launch")
    assert job.lines("launched")[0].startswith(f"launch muzero-cartpole run.run_tag=job-{JOB} --address ")
    (aside,) = run.parent.iterdir()
    assert aside.name.startswith(f"job-{JOB}-ended-")


@pytest.mark.parametrize("launch", [["iris-atari100k"], ["muzero-cartpole", "--num-runs", "3"]], ids=" ".join)
@pytest.mark.parametrize("scheduler", ["slurm", "pbs"])
def test_several_runs_keep_their_own_ids_and_the_same_job_goes_on_with_them(
    start: Start, scheduler: str, launch: list[str]
) -> None:
    job = start(scheduler, *launch)
    job.wait_for(lambda: job.lines("launched"), "launch")
    (launched,) = job.lines("launched")
    assert launched.startswith(f"launch {' '.join(launch)} --address ")
    warn(job, scheduler)
    assert job.ended() == 130
    if scheduler == "pbs":
        assert "go on with the same qsub\n" in job.log


def test_a_run_that_is_complete_ends_the_job_and_leaves_nothing(start: Start) -> None:
    job = start("slurm", "muzero-cartpole", machines=(["a", "b"],))
    job.wait_for(lambda: job.lines("launched"), "launch")
    (job.folder / "done").touch()
    assert job.ended() == 0
    assert not job.lines("requeued")


def test_what_cannot_start_is_one_line(start: Start, tmp_path: Path) -> None:
    assert start("slurm", "--profile", "gpu").ended() == 2
    (tmp_path / "refuse").touch()
    job = start("slurm", "muzero-cartpole", machines=(["a", "b"],))
    assert job.ended() == 2
    assert job.log.splitlines() == [
        "error: begin with the name of an experiment, or with --resume RUN.",
        "error: a machine could not join the Ray cluster; see above why.",
    ]
    assert not job.lines("launched")


def test_a_run_on_a_scratch_comes_back_and_is_taken_along_where_it_goes_on(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("SCRATCHDIR", str(scratch))
    (tmp_path / ".env").write_text("WANDB_API_KEY=secret\n", encoding="utf-8")
    install(tmp_path, TRAINING)
    job = start("pbs", "iris-catch", "run.directory=here", "env.id=A\\ B")
    job.wait_for(lambda: (tmp_path / "seen").exists() and list(scratch.rglob("history")), "launch")
    assert job.lines("launched")[0].startswith(
        f"launch iris-catch env.id=A B run.directory={scratch}/runs run.run_tag=job-{JOB} --address "
    )
    assert job.lines("seen") == ["secret", *(f"{scratch}/{name}" for name in ("tmp", "wandb", "torch")), "1"]
    job.signal(signal.SIGTERM)
    assert job.ended() == 130
    run = tmp_path / "here" / "iris-catch" / f"job-{JOB}"
    assert (run / "history").read_text(encoding="utf-8") == "iris-catch\n"
    assert f"the run is in here/iris-catch/job-{JOB}" in job.log and not list(scratch.rglob("history"))

    (run / "old").touch()
    again = start("pbs", "--resume", f"here/iris-catch/job-{JOB}")
    again.wait_for(lambda: len(job.lines("launched")) == 2, "second launch")
    assert f"launch --resume {scratch}/runs/iris-catch/job-{JOB} " in job.lines("launched")[1]
    again.wait_for(lambda: len((scratch / "runs/iris-catch" / run.name / "history").read_text().split()) == 2, "it")
    (scratch / "runs" / "iris-catch" / run.name / "old").unlink()
    (tmp_path / "done").touch()
    assert again.ended() == 0
    assert (run / "history").read_text(encoding="utf-8") == "iris-catch\n--resume\n"
    assert not (run / "old").exists(), "what the run has deleted does not come back"


def test_a_run_that_cannot_be_brought_back_stays(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("SCRATCHDIR", str(scratch))
    (tmp_path / "runs").write_text("in the way", encoding="utf-8")
    install(tmp_path, TRAINING)
    (tmp_path / "done").touch()
    job = start("pbs", "iris-catch")
    job.ended()
    assert f"error: runs/iris-catch/job-{JOB} cannot be written; the run stays in " in job.log
    assert (scratch / "runs" / "iris-catch" / f"job-{JOB}" / "history").exists()


@pytest.mark.parametrize("reason", ["asked", "two machines"])
def test_otherwise_a_scratch_is_left_alone(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setenv("SCRATCHDIR", str(tmp_path / "scratch"))
    if reason == "asked":
        monkeypatch.setenv("RLSYS_SCRATCH", "no")
    job = start("pbs", "iris-catch", machines=(["a"] if reason == "asked" else ["a", "b"],))
    job.wait_for(lambda: job.lines("launched"), "launch")
    assert "run.directory" not in job.lines("launched")[0] and not (tmp_path / "scratch").exists()
