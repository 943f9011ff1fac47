"""Starts cluster/local.yaml for real, on machines made of namespaces: `ray up`, a run, a cut link, `ray down`.

    python tests/cluster/bring_up_local.py [--json FILE]    # as root, on Linux; takes 5 to 15 minutes

Three machines and the desk at which `ray up` is typed (see machines.py) get the file with addresses, user and key
filled in, and with the Python environment of whoever starts this in place of a new one. A run trains there, for 30 s
one of the machines that act loses its link, and what that cost is printed and, with --json, appended to a file. Where
there is no SSH server or rsync, their packages are downloaded (Debian's apt-get) and unpacked into a temporary folder.
Nothing is installed, the host's network stays as it is, and no process outside is seen: `ray stop` ends what runs on
the machines, nothing else. Exit status 0: all of this was verified, and nothing is left.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from link_cut import Cut, read
from machines import SHARED, Machine, apart, build, fetch, left

REPOSITORY = Path(__file__).resolve().parent.parent.parent
NAMES = ("desk", "head", "worker-1", "worker-2")
ROLES = {"head": "learner", "worker-1": "rollout", "worker-2": "rollout"}
PLACES = {"learner": {"LearnerProcess", "ShardProcess", "ParameterServer"}, "rollout": {"RolloutProcess"}}
"""Role of a machine -> which of a run's processes are there, and nowhere else."""
RUN = "muzero-cartpole/here"
SETTINGS = (
    "env.id=rlsys/Sleeping-v0",  # so that speed depends on workers that act, not on cores, which all machines share
    "muzero.num_simulations=4",
    "muzero.sampling_ratio=2",
    "runtime.rollout_workers=4",
    "runtime.rollout_cpus=1",
    "run.checkpoint_every_learner_steps=100",
    "run.evaluate_every_learner_steps=0",
    "run.log_every_s=1",
    "run.wandb=disabled",
    "run.tensorboard=false",
    "run.run_tag=here",
    f"run.directory={SHARED}",
)
CORES = 2
"""Of each worker machine, as Ray is told, so that each has half of the rollout workers."""
TRAINS_BEFORE_S = 30.0
CUT_S = 30.0
COMMAND = "python tests/cluster/bring_up_local.py"


class Scenario:
    """The steps, in order, at machines that run."""

    def __init__(self, folder: Path, machines: list[Machine]) -> None:
        self._folder = folder
        self._log = folder / "desk.log"
        self._run = folder / "shared" / RUN
        self._machines = {machine.name: machine for machine in machines}
        self._began = time.monotonic()
        self.rows: list[dict[str, Any]] = []

    def say(self, text: str) -> None:
        """Prints a line with the time since the beginning."""
        sys.stdout.write(f"{time.monotonic() - self._began:6.1f} s  {text}\n")
        sys.stdout.flush()

    def play(self) -> None:
        """Goes through all steps; an AssertionError or a failed command says what was not as it should be."""
        self._look_around()
        up_s = self._bring_up()
        with self._launched() as run:
            first_s = self._train(run)
            self._cut_link(run)
            self._stop(run)
        down_s = self._bring_down()
        times = {"ray_up_s": up_s, "launch_to_first_checkpoint_s": first_s, "ray_down_until_workers_ended_s": down_s}
        rounded = {name: round(seconds, 1) for name, seconds in times.items()}
        self.rows.insert(0, {"what": "ray up, rlsys launch, ray down with cluster/local.yaml, 3 machines", **rounded})

    def _look_around(self) -> None:
        """Makes sure that `ray stop` can end nothing but what the machines run."""
        for machine in self._machines.values():
            everybody = machine.command("cat /proc/[0-9]*/cmdline")
            seen = subprocess.run(everybody, capture_output=True, text=True, check=False).stdout
            assert "sshd" in seen and Path(__file__).name not in seen, f"{machine.name} sees processes of the host"
        self.say(f"{len(self._machines)} machines run: {', '.join(self._machines)}; none sees a process outside")

    def _bring_up(self) -> float:
        started = time.monotonic()
        tree = yaml.safe_load((REPOSITORY / "cluster" / "local.yaml").read_text())
        addresses = [self._machines[name].address for name in ROLES]
        tree["provider"].update(head_ip=addresses[0], worker_ips=addresses[1:])
        tree["auth"].update(ssh_user="root", ssh_private_key="~/.ssh/id_ed25519")
        made, installed, *others = tree["setup_commands"]
        assert "-m venv" in made and "pip install" in installed, (
            "these two are replaced by the environment that is here"
        )
        here = [f"ln -sfn {shlex.quote(sys.prefix)} ~/rlsys-env", "echo 'export PYTHONPATH=~/rlsys' >> ~/.bashrc"]
        tree["setup_commands"] = [*here, *others]
        tree["worker_start_ray_commands"][-1] += f" --num-cpus={CORES}"
        (self._machines["desk"].folder / "root" / "local.yaml").write_text(yaml.safe_dump(tree))
        self._at_control_server("ray get-auth-token --generate")
        ray_up = "RAY_UP_enable_autoscaler_v2=0 ray up --yes ~/local.yaml"
        try:
            self._at_control_server(ray_up, patience_s=400)
        except AssertionError:
            self.say("ray up failed, as it does where Ray's head takes more than 30 s to start; once more")
            self._at_control_server(ray_up, patience_s=400)
        self.say("ray up has returned")
        wanted = {self._machines[name].address: role for name, role in ROLES.items()}
        self._until(lambda: self._roles() == wanted, "all machines, each with its role", 240)
        self.say(f"Ray has all machines: {', '.join(f'{name} = {role}' for name, role in ROLES.items())}")
        return time.monotonic() - started

    @contextlib.contextmanager
    def _launched(self) -> Iterator[subprocess.Popen[bytes]]:
        launch = " ".join(["rlsys launch muzero-cartpole --address auto", *SETTINGS])
        with (self._folder / "run.log").open("wb") as log:
            command = self._desk_command(f"ray exec ~/local.yaml {shlex.quote(launch)}")
            run = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self.say("rlsys launch")
            try:
                yield run
            finally:
                run.kill()
                run.wait()

    def _train(self, run: subprocess.Popen[bytes]) -> float:
        """Waits for a checkpoint, looks who is where, and lets the run go on undisturbed for a while."""
        started = time.monotonic()
        self._until(lambda: bool(self._checkpoints()), "a first checkpoint", 600, run)
        took_s = time.monotonic() - started
        self.say(f"it trains: checkpoint {self._checkpoints()[0]}")
        for name, role in ROLES.items():
            assert self._workers(name) == PLACES[role], f"{name} has {self._workers(name)}"
        self.say("workers are where they should be: " + self._places())
        begin = read(self._run)[-1]["time_s"]
        self._until(
            lambda: read(self._run)[-1]["time_s"] > begin + TRAINS_BEFORE_S, "an undisturbed half minute", 180, run
        )
        return took_s

    def _cut_link(self, run: subprocess.Popen[bytes]) -> None:
        cut_off = self._machines["worker-2"]
        began = read(self._run)[-1]["time_s"]
        cut_off.link("down")
        self.say(f"the link of {cut_off.name} is down")
        try:
            self._until(lambda: read(self._run)[-1]["time_s"] > began + CUT_S, "the run to go on", 60 + CUT_S, run)
        finally:
            cut_off.link("up")
        cut = Cut(began, read(self._run)[-1]["time_s"])
        self.say("the link is up again")
        self._until(lambda: cut.recovered(read(self._run)) is not None, "the speed of before the cut", 400, run)
        self._until(lambda: self._workers(cut_off.name) == PLACES["rollout"], f"workers on {cut_off.name}", 60, run)
        rows = read(self._run)
        cost = cut.cost(rows)
        self.say(f"the run is as fast as before, with workers on {cut_off.name}; what it cost:")
        sys.stdout.writelines(f"{name:>36}  {value:10,.1f}\n" for name, value in cost.items())
        assert cost["learner_steps_per_s_during"] > 0, "nothing was learned during the cut"
        died = self._at_control_server("ray exec ~/local.yaml 'ray list nodes --format json'").count('"DEAD"')
        self.say(f"Ray declared {died} machines dead meanwhile")
        what = f"a link between machines is cut for {CUT_S:.0f} s while 2 of 4 rollout workers are behind it"
        self.rows.append({"what": what, **cost, "nodes_declared_dead": died})

    def _stop(self, run: subprocess.Popen[bytes]) -> None:
        self._at_control_server(f"ray exec ~/local.yaml 'rlsys stop {RUN} --directory {SHARED}'", patience_s=200)
        assert run.wait(timeout=60) == 0, f"rlsys launch ended with {run.returncode}"
        status = json.loads((self._run / "status.json").read_text())
        last = read(self._run)[-1]["learner_step"]
        assert status["state"] == "done" and self._checkpoints()[-1] == last, (status, self._checkpoints(), last)
        self.say(f"rlsys stop: {last:,} learner steps, the last of them in a checkpoint")

    def _bring_down(self) -> float:
        """Stops Ray as the file says: on the head, which the workers follow but for their log monitors, and there."""
        started = time.monotonic()
        self._at_control_server("ray down --yes ~/local.yaml")
        self.say("ray down has returned; the workers notice after a minute")
        self._until(self._only_monitors_are_left, "Ray to end on all machines", 240)
        self.say(f"Ray has ended; left are {len(self._ray_processes())} log monitors")
        took_s = time.monotonic() - started
        for name in ("worker-1", "worker-2"):
            options = "-i ~/.ssh/id_ed25519 -o StrictHostKeyChecking=no -o BatchMode=yes"
            self._at_control_server(f"ssh {options} root@{self._machines[name].address} '~/rlsys-env/bin/ray stop'")
        assert not self._ray_processes(), self._ray_processes()
        self.say("ray stop on the workers: no Ray process is left on any machine")
        return took_s

    def _roles(self) -> dict[str, str]:
        """Returns address -> role of the machines that Ray has."""
        answer = self._at_control_server("ray exec ~/local.yaml 'ray list nodes --format json'")
        nodes = next(json.loads(line) for line in answer.splitlines() if line.startswith("["))
        return {node["node_ip"]: node["labels"].get("rlsys.io/role") for node in nodes if node["state"] == "ALIVE"}

    def _workers(self, name: str) -> set[str]:
        """Returns the kinds of a run's processes on a machine."""
        titles = "\n".join(self._machines[name].processes())
        return set(re.findall(r"^ray::(\w+Host|ParameterServer)\b", titles, re.MULTILINE))

    def _places(self) -> str:
        return "; ".join(f"{name}: {', '.join(sorted(self._workers(name)))}" for name in ROLES)

    def _ray_processes(self) -> list[str]:
        """Returns the command lines of Ray's processes on all machines."""
        lines = [line for machine in self._machines.values() for line in machine.processes()]
        return [line for line in lines if re.search(r"^ray(::|-)|/ray/", line)]

    def _only_monitors_are_left(self) -> bool:
        return all("log_monitor.py" in line for line in self._ray_processes())

    def _checkpoints(self) -> list[int]:
        """Returns the steps of the checkpoints that are whole."""
        return sorted(int(file.parent.name) for file in self._run.glob("checkpoints/[0-9]*/manifest.json"))

    def _desk_command(self, text: str) -> list[str]:
        path = f"export PATH={shlex.quote(sys.prefix)}/bin:$PATH"
        return self._machines["desk"].command(f"{path}; cd {shlex.quote(str(REPOSITORY))} && {text}")

    def _at_control_server(self, text: str, patience_s: float = 120.0) -> str:
        """Runs a line of shell at the desk and returns what it printed."""
        command = self._desk_command(text)
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience_s, check=False
        )
        with self._log.open("a") as log:
            log.write(f"$ {text}\n{done.stdout}{done.stderr}\n")
        assert done.returncode == 0, f"'{text}' ended with {done.returncode}"
        return done.stdout

    def _until(
        self,
        condition: Callable[[], bool],
        what: str,
        patience_s: float,
        run: subprocess.Popen[bytes] | None = None,
    ) -> None:
        deadline = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < deadline, f"waited {patience_s:.0f} s in vain for {what}"
            assert run is None or run.poll() is None, f"the run ended while it was waited for {what}"
            time.sleep(0.5)


def inside(folder: Path, json_file: Path | None) -> None:
    """Plays the scenario; this process is in namespaces of its own already."""
    visible = [Path(sys.prefix), Path(sys.base_prefix), REPOSITORY]
    machines = build(folder, NAMES, folder / "programs", visible)
    scenario = Scenario(folder, machines)
    try:
        scenario.play()
    except (AssertionError, subprocess.SubprocessError, OSError):
        traceback.print_exc()
        for name in ("desk.log", "run.log"):
            text = (folder / name).read_text(errors="replace") if (folder / name).exists() else ""
            sys.stderr.write(f"--- the end of {name}\n{text[-4000:]}\n")
        sys.exit(1)
    if json_file is not None:
        load = round(os.getloadavg()[2], 1)  # what else the host does decides over these times
        origin = {"command": COMMAND, "cores": os.cpu_count(), "load": load, "python": platform.python_version()}
        with json_file.open("a") as file:
            file.writelines(json.dumps({**row, **origin}) + "\n" for row in scenario.rows)


def main() -> None:
    """Reads the command line; builds, plays, looks whether anything is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="append rows with what was measured to this file")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside is not None:
        inside(options.inside, options.json)
        return
    folder = Path(tempfile.mkdtemp(prefix="rlsys-machines-"))
    again = [sys.executable, __file__, "--inside", str(folder)] + (
        ["--json", str(options.json)] if options.json else []
    )
    before = left(folder, NAMES)
    assert not before, f"links of these names are there already: {before}"
    process = None
    try:
        fetch(folder / "programs", ["openssh-server", "rsync"])
        process = subprocess.Popen(apart(again))
        status = process.wait()
    finally:
        if process is not None:
            process.kill()
            process.wait()
        deadline = time.monotonic() + 10
        while (found := left(folder, NAMES)) and time.monotonic() < deadline:
            time.sleep(0.2)
        if not any(str(folder) in line for line in found):
            shutil.rmtree(folder)
    if found:
        sys.exit("left behind: " + "; ".join(found))
    sys.stdout.write("nothing is left: no process, no namespace, no link, no mount, no file\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
