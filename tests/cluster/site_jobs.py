"""Jobs of launch/slurm.sh and pbs.sh, with stand-ins for the schedulers' commands: there is no Slurm and no PBS here.

    python tests/cluster/site_jobs.py [slurm|pbs]...     # as root: a minute each on a quiet machine

trains on two machines, which are two raylets of this one, warns the job that its time is nearly over, and looks at what
it did. What is tried is what the scripts do, not how a scheduler starts commands on machines, limits or ends them.
"""

import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from rlsys import config

PATIENCE_S = 300.0
LAUNCH = config.data_folder("launch")
JOB = "4711"
SETTINGS = ["debug=true", "run.training_steps=100000", "run.evaluate_every_learner_steps=0", "run.wandb=disabled"]

SCHEDULER = {
    # srun and pbsdsh run the command here, and write down which machine it was meant for.
    "srun": r'''while [[ $1 == --* ]]; do said+="$1 "; shift; done; echo "$said${*//$'\n'/ }" >> started; exec "$@"''',
    "scontrol": 'case $1 in show) tr , "\\n" <<< "$3" ;; requeue) echo "$2" >> requeued ;; esac',
    "pbsdsh": r'''echo "${*//$'\n'/ }" >> started; shift 3; exec env -i "$@"''',
    # The job's time is five minutes as soon as there is a file `warn`, and the script wants five to end.
    "qstat": 'until [[ -e warn ]]; do sleep 0.1; done; echo "    Resource_List.walltime = 00:05:00"',
}


class Job:
    """One start of a job's script, in namespaces of its own: what it leaves behind ends with it."""

    def __init__(self, folder: Path, scheduler: str, launch: list[str], machines: list[list[str]]) -> None:
        self.folder = folder
        self._log = (folder / "log").open("a")
        nodes = folder / "nodes"
        nodes.write_text("\n".join(name for part in machines for name in part) + "\n")
        variables = {"PATH": f"{folder / 'bin'}:{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}
        variables |= {"HOME": str(folder), "PBS_JOBID": f"{JOB}.server", "PBS_O_WORKDIR": str(folder)}
        variables |= {"PBS_NODEFILE": str(nodes), "LAUNCH": " ".join(launch), "SLURM_JOB_ID": JOB}
        variables |= {"SLURM_JOB_NODELIST": ",".join(machines[0]), "SLURM_HET_SIZE": str(len(machines))}
        for index, part in enumerate(machines):
            variables[f"SLURM_JOB_NODELIST_HET_GROUP_{index}"] = ",".join(part)
        arguments = launch if scheduler == "slurm" else []
        unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net"]
        inner = ["sh", "-c", 'ip link set lo up && exec bash "$@"', "sh", str(LAUNCH / f"{scheduler}.sh"), *arguments]
        self._process = subprocess.Popen(
            [*unshare, *inner], cwd=folder, env=os.environ | variables, stdout=self._log, stderr=subprocess.STDOUT
        )

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self._process.poll() is None, self.log[-3000:]
            assert time.monotonic() < deadline, f"no {what} within {PATIENCE_S:.0f} s: {self.log[-3000:]}"
            time.sleep(0.1)

    def signal(self, number: signal.Signals) -> None:
        (script,) = psutil.Process(self._process.pid).children()
        script.send_signal(number)

    def ended(self) -> int:
        return self._process.wait(timeout=PATIENCE_S)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(timeout=PATIENCE_S)
        self._log.close()


def install(folder: Path, programs: dict[str, str]) -> None:
    """Puts stand-ins into `folder/bin`, which a job finds first."""
    (folder / "bin").mkdir(exist_ok=True)
    for name, text in programs.items():
        path = folder / "bin" / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o700)


def warn(job: Job, scheduler: str) -> None:
    """Tells a job that its time is nearly over."""
    (job.folder / "warn").touch()
    if scheduler == "slurm":
        job.signal(signal.SIGUSR1)


def train(folder: Path, scheduler: str) -> None:
    """Runs a job on two raylets until it has a checkpoint, and then warns it."""
    install(folder, SCHEDULER)
    job = Job(folder, scheduler, ["muzero-cartpole", *SETTINGS], [["a", "b"]])
    try:
        run = folder / "runs" / "muzero-cartpole" / f"job-{JOB}"
        job.wait_for(lambda: list((run / "checkpoints").glob("0*")), "checkpoint")
        warn(job, scheduler)
        assert job.ended() == 130, job.log[-3000:]
        assert "interrupted; a checkpoint was written" in job.log
        assert "Traceback" not in job.log
        assert len(job.lines("started")) == 1
        assert (folder / ".ray" / "auth_token").stat().st_mode & 0o077 == 0
        assert not Path(f"/tmp/rlsys-{os.getuid()}-{20_000 + int(JOB)}").exists()
        assert not list(folder.glob(".rlsys-node-*"))
    finally:
        job.kill()


def main() -> None:
    """Runs one job per scheduler, or of those that are named."""
    for scheduler in sys.argv[1:] or ["slurm", "pbs"]:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            train(Path(folder), scheduler)
        sys.stdout.write(f"{scheduler}: trained, warned, ended with a checkpoint ({time.monotonic() - begun:.0f} s)\n")


if __name__ == "__main__":
    main()
