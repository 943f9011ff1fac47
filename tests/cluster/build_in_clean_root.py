"""Builds an image without an engine: the steps of docker/cpu.Dockerfile one by one, in clean roots, and what it runs.

    python tests/cluster/build_in_clean_root.py [--bind PATH]... [--env NAME=VALUE]... [--folder DIR]

Needs root on a Debian with debootstrap, 10 GB below DIR and ten minutes. --bind shows a file or folder of this machine
to every step at the same place, read-only: a pip.conf, a folder of wheels, certificates; --env is seen by every step.

Then, as the image's user in its last stage: `rlsys doctor`; a minute of training; and, in the login shells that
`ray up` works in, a Ray cluster on which a run trains. It ends with how large the image is, and what makes it so.

What differs from an engine: the base image is Debian bookworm of its own with Debian's Python 3.11; a stage begins as a
copy of the one before, so there are no layers; the kernel's limits are this machine's.

Each step runs in namespaces of its own for mounts and processes. What is mounted into a root is seen by that step alone
and is gone with it, as are the processes that it leaves behind: nothing of this machine ever lies below the folder that
is deleted at the end. What is tried with the image has no network either.
"""

import argparse
import os
import shlex
import shutil
import string
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from dockerfiles import ROOT, Stage, stages

FILE = "cpu.Dockerfile"
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
# Debian's bookworm has the Python 3.11 that the base image has; the rest is what that image has besides.
PACKAGES = "python3,python3-venv,python-is-python3,ca-certificates,netbase,tzdata"
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
SHARED_MEMORY = "4g"
STEP_S = 1800

TRAIN = "rlsys launch muzero-cartpole --minutes 1 run.checkpoint_every_learner_steps=100 run.wandb=disabled"
LOGIN_SHELL = """
export RAY_AUTH_MODE=disabled
ray stop && ray start --head --num-cpus=2 --dashboard-host=127.0.0.1
rlsys launch muzero-cartpole --address auto debug=true run.wandb=disabled
ray stop
"""
"""What cluster/cpu.yaml does in a container, and a run on it."""


@dataclass
class Root:
    """A folder that becomes a system's root, with what its Dockerfile has set so far."""

    path: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    arguments: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    workdir: str = "/"

    def run(self, script: str, binds: list[Path], environment: dict[str, str]) -> None:
        """Runs a step, with what it shall see besides the root; ends this program if it fails."""
        self._run(script, "/bin/sh -c", [Path("/etc/resolv.conf"), *binds], environment, [])

    def use(self, script: str, *, shell: str = "/bin/sh -c") -> None:
        """Runs a script without a network, as in a container with nothing but the image; ends this program likewise."""
        self._run(script, shell, [], {}, ["--net"])

    def _run(
        self, script: str, shell: str, binds: list[Path], environment: dict[str, str], namespaces: list[str]
    ) -> None:
        mounts = [f"mount -t proc proc {self.path}/proc", f"mount -t tmpfs -o size=64k tmpfs {self.path}/sys"]
        mounts += [f"mount -t tmpfs -o size={SHARED_MEMORY},mode=1777 tmpfs {self.path}/dev/shm"]
        mounts += ["ip link set lo up"] if namespaces else []
        for bind in binds:
            place = self.path / bind.relative_to("/")
            if not place.exists():
                (place if bind.is_dir() else place.parent).mkdir(parents=True, exist_ok=True)
                if not bind.is_dir():
                    place.touch()
            mounts += [f"mount --bind {bind} {place}", f"mount -o remount,bind,ro {place}"]
        variables = {"HOME": self._home(), **environment, **self.arguments, **self.environment}
        inner = shlex.join(
            ["chroot", f"--userspec={self.user}", str(self.path), "/usr/bin/env", "-i"]
            + [f"{name}={value}" for name, value in variables.items()]
            + [*shell.split(), f"cd {self.workdir} && {script.strip()}"]
        )
        outer = "\n".join(["set -e", *mounts, f"exec {inner}"])
        unshare = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", *namespaces]
        status = subprocess.run([*unshare, "sh", "-c", outer], timeout=STEP_S, check=False).returncode
        if status:
            sys.exit(f"ended with {status}: {script.strip()}")

    def substituted(self, text: str) -> str:
        """Returns a text with the variables that ENV and ARG have set."""
        return string.Template(text).safe_substitute(self.arguments | self.environment)

    def _home(self) -> str:
        number = self.user.partition(":")[0]
        rows = [row.split(":") for row in (self.path / "etc" / "passwd").read_text().splitlines()]
        return next(row[5] for row in rows if row[2] == number)


def say(line: str) -> None:
    """Writes a line now."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def first_root(folder: Path) -> Root:
    """Makes what stands in for the base image."""
    path = folder / "image"
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(path), MIRROR]
    unshare = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run([*unshare, *command], capture_output=True, text=True, timeout=STEP_S, check=False)
    if done.returncode:
        sys.exit(f"debootstrap ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return Root(path)


def build(stage: Stage, roots: dict[str, Root], folder: Path, binds: list[Path], environment: dict[str, str]) -> Root:
    """Runs a stage's steps in a copy of the root that it begins from."""
    base = roots[stage.base if stage.base in roots else "image"]
    root = Root(folder / stage.name, dict(base.environment), user=base.user, workdir=base.workdir)
    subprocess.run(["cp", "--archive", "--reflink=auto", base.path, root.path], check=True)
    for word, rest in stage.steps:
        say(f"--- {stage.name}: {word} {rest[:100]}")
        match word:
            case "ENV":
                for pair in shlex.split(rest):
                    name, _, value = pair.partition("=")
                    root.environment[name] = root.substituted(value)
            case "ARG":
                name, _, value = shlex.split(rest)[0].partition("=")
                root.arguments[name] = environment.get(name, value)
            case "RUN":
                root.run(rest, binds, environment)
            case "COPY":
                copy(rest, root, roots)
            case "USER":
                root.user = rest
            case "WORKDIR":
                root.workdir = rest
            case "CMD":
                pass
            case other:
                sys.exit(f"no stand-in for {other}; teach this script what it does.")
    return root


def copy(rest: str, root: Root, roots: dict[str, Root]) -> None:
    """Does what COPY does, with one source, and with or without --from."""
    words = rest.split()
    stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
    source, target = words
    origin = ROOT / source if stage is None else roots[stage].path / source.lstrip("/")
    place = root.path / target.lstrip("/")
    if origin.is_dir():
        ignored = shutil.ignore_patterns("__pycache__") if stage is None else None
        shutil.copytree(origin, place, symlinks=True, ignore=ignored, dirs_exist_ok=True)
    else:
        place = place / origin.name if target.endswith("/") else place
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(origin, place)


def delete(folder: Path) -> None:
    """Deletes the roots, unless something is mounted there: it would be emptied with them."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    below = [point for point in mounted if Path(point).is_relative_to(folder)]
    if below:
        sys.exit(f"left alone, because something is mounted there: {', '.join(below)}")
    shutil.rmtree(folder)


def size(path: Path) -> int:
    """Megabytes that a folder takes on its file system, without others mounted below."""
    return int(subprocess.run(["du", "-sxm", path], capture_output=True, text=True, check=True).stdout.split()[0])


def report(base: Root, last: Root) -> None:
    """Says how large the image is, and which packages make it so."""
    say(f"base: {size(base.path)} MB. image: {size(last.path)} MB, of which")
    (packages,) = (last.path / "opt" / "rlsys" / "lib").glob("python3.*/site-packages")
    sizes = {path.name: size(path) for path in packages.iterdir() if path.is_dir()}
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True)[:12]:
        say(f"  {sizes[name]:5} MB {name}")


def main() -> None:
    """Builds, tries and deletes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bind", type=Path, action="append", default=[], help="show PATH to every step, read-only")
    parser.add_argument("--env", action="append", default=[], help="NAME=VALUE for every step; also a build argument")
    parser.add_argument("--folder", type=Path, help="where the roots are made; the temporary folder if not given")
    options = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        sys.exit("needs root and debootstrap: apt-get install debootstrap, and run it as root.")
    environment = dict(pair.split("=", 1) for pair in options.env)
    folder = Path(tempfile.mkdtemp(prefix="rlsys-clean-root-", dir=options.folder)).resolve()
    try:
        roots = {"image": first_root(folder)}
        for stage in stages(FILE):
            roots[stage.name] = build(stage, roots, folder, options.bind, environment)
        last = roots["runtime"]
        report(roots["image"], last)
        for script, shell in (
            ("id && rlsys doctor", "/bin/sh -c"),
            (TRAIN, "/bin/sh -c"),
            (LOGIN_SHELL, "/bin/bash --login -e -c"),
        ):
            say(f"--- as {last.user}: {script.strip()}")
            last.use(script, shell=shell)
        say("the image works")
    finally:
        delete(folder)


if __name__ == "__main__":
    main()
