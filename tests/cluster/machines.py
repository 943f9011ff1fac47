"""Machines of our own on this one: Linux namespaces joined by a bridge, each with SSH, a home, /tmp and /dev/shm.

Whoever builds them should be `apart` first, in namespaces of its own: then the bridge is not in the host's network, no
process outside can be seen from inside, so none can be killed, and everything ends with the first process inside.
"""

import contextlib
import re
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NETWORK = "10.117.0"
"""The first three numbers of every address; unroutable, and in no network but that of the machines."""
SHARED = "/mnt/shared"
"""A folder that all machines see and write, as one of a file server."""
_HOME = "/root"
"""The home of each machine's one user."""
_COVERED = ("/mnt", _HOME, "/tmp")  # the last hides where machines lie
_BRIDGE = "bridge"
_UNSHARE = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PATIENCE_S = 20.0


def apart(command: Sequence[str]) -> list[str]:
    """Returns a command that runs `command` in namespaces of its own, and ends with whoever calls it."""
    return ["setpriv", "--pdeathsig", "KILL", *_UNSHARE, "--mount-proc", *command]


def fetch(folder: Path, packages: Sequence[str]) -> None:
    """Unpacks Debian packages, with those they need and this machine lacks, into a folder; installs nothing."""
    simulated = ["apt-get", "install", "--simulate", "--no-install-recommends", *packages]
    plan = subprocess.run(simulated, check=True, capture_output=True, text=True).stdout
    missing = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
    downloads = folder.with_name("downloads")
    downloads.mkdir()
    (folder / "usr").mkdir(parents=True)
    if missing:
        command = ["apt-get", "download", "-o", "APT::Sandbox::User=root", *missing]
        subprocess.run(command, check=True, cwd=downloads, capture_output=True)
    for package in sorted(downloads.glob("*.deb")):
        subprocess.run(["dpkg", "-x", package, folder], check=True)


@dataclass(frozen=True)
class Machine:
    """One machine that runs.

    Attributes:
      name: its host name, and that of its link at the bridge.
      address: in the machines' network.
      folder: where its home, /tmp and /mnt lie, seen from outside.
      process: its first process, of which all others are children; a process number here.
    """

    name: str
    address: str
    folder: Path
    process: int

    def command(self, text: str) -> list[str]:
        """Returns a command that runs a line of shell on the machine."""
        namespaces = ["--mount", "--net", "--pid", "--uts", "--ipc"]
        environment = ["env", "-i", f"PATH={_PATH}", f"HOME={_HOME}", "LANG=C.UTF-8"]
        return ["nsenter", "--target", str(self.process), *namespaces, *environment, "bash", "-c", text]

    def link(self, state: str) -> None:
        """Sets its link to the other machines "up" or "down"."""
        _run("ip", "link", "set", self.name, state)

    def processes(self) -> list[str]:
        """Returns the command lines of all processes on the machine but its first."""
        here = Path(f"/proc/{self.process}/ns/pid").readlink()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "ns" / "pid").readlink() == here and int(entry.name) != self.process:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    found += [line] if line else []  # none: a process that has ended
            except OSError:
                continue
        return sorted(found)


def build(folder: Path, names: Sequence[str], programs: Path, visible: Sequence[Path]) -> list[Machine]:
    """Starts machines and joins them by a bridge.

    Args:
      folder: where their files go.
      names: of the machines.
      programs: a root folder with an SSH server and rsync, laid over the host's.
      visible: what all machines must see of the host below the folders that are their own; the rest of the
        host's files they see read-only.
    """
    (folder / "shared").mkdir()
    (folder / "passwd").write_text(f"root:x:0:0:root:{_HOME}:/bin/bash\nsshd:x:65533:65533::/run/sshd:/bin/false\n")
    (folder / "shadow").write_text("root:none:::::::\n")  # no password, yet not locked: keys are let in
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", _BRIDGE, "type", "bridge")
    _run("ip", "address", "add", f"{NETWORK}.1/24", "dev", _BRIDGE)
    _run("ip", "link", "set", _BRIDGE, "up")
    machines = [
        _start(folder / name, name, f"{NETWORK}.{10 + index}", programs, visible) for index, name in enumerate(names)
    ]
    ours = {name for process in ("self", *(machine.process for machine in machines)) for name in _namespaces(process)}
    (folder / "namespaces").write_text("\n".join(ours))
    keys = [machine.folder / _HOME[1:] / ".ssh" for machine in machines]
    _make_key(keys[0] / "id_ed25519")
    for machine, folder_of_keys in zip(machines, keys, strict=True):
        shutil.copy(keys[0] / "id_ed25519.pub", folder_of_keys / "authorized_keys")
        _await_ssh(machine)
    return machines


def left(folder: Path, names: Sequence[str]) -> list[str]:
    """Returns what of machines that were built in a folder is still there, seen from the host."""
    found = []
    ours = set((folder / "namespaces").read_text().split()) if (folder / "namespaces").exists() else set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if ours & set(_namespaces(process.name)):
                found.append(f"process {process.name}")
    found += [
        line for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines() if str(folder) in line
    ]
    links = subprocess.run(["ip", "-brief", "link"], check=True, capture_output=True, text=True).stdout
    return found + [line for line in links.splitlines() if re.split(r"[@\s]", line)[0] in (_BRIDGE, *names)]


def _namespaces(process: int | str) -> list[str]:
    """Returns what the kernel calls the namespaces of a process."""
    return [str(Path(f"/proc/{process}/ns/{kind}").readlink()) for kind in ("mnt", "net", "pid", "uts", "ipc")]


def _start(folder: Path, name: str, address: str, programs: Path, visible: Sequence[Path]) -> Machine:
    for covered in _COVERED:
        (folder / covered[1:]).mkdir(parents=True, mode=0o700)
    shutil.copytree("/etc/skel", folder / _HOME[1:], dirs_exist_ok=True)
    keys = folder / _HOME[1:] / ".ssh"
    keys.mkdir(mode=0o700)
    _make_key(keys / "host")
    script = _script(folder, name, programs, visible)
    log = (folder / "log").open("w")
    environment = {"PATH": _PATH, "HOME": _HOME, "LANG": "C.UTF-8"}
    outer = subprocess.Popen([*_UNSHARE, "bash", "-c", script], stdout=log, stderr=log, env=environment)
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    deadline = time.monotonic() + _PATIENCE_S
    while not (first := children.read_text(encoding="utf-8").split()):
        assert time.monotonic() < deadline and outer.poll() is None, (folder / "log").read_text()
        time.sleep(0.05)
    _run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", first[0])
    _run("ip", "link", "set", name, "master", _BRIDGE, "up")
    inside = ["nsenter", "--target", first[0], "--net", "ip"]
    _run(*inside, "address", "add", f"{address}/24", "dev", "eth0")
    _run(*inside, "link", "set", "lo", "up")
    _run(*inside, "link", "set", "eth0", "up")
    _run(*inside, "route", "add", "default", "via", f"{NETWORK}.1")  # Ray asks by which way the world is reached
    return Machine(name, address, folder, int(first[0]))


def _script(folder: Path, name: str, programs: Path, visible: Sequence[Path]) -> str:
    """Returns what makes a machine of fresh namespaces; its last line is the machine's first process."""
    lines = [
        "set -eu",
        f"hostname {name}",
        "mount -t proc proc /proc",
        "mount -t tmpfs tmpfs /dev/shm",
        f"mount -t overlay overlay -o lowerdir={shlex.quote(str(programs / 'usr'))}:/usr /usr",
        f"mount --bind {shlex.quote(str(folder.parent / 'passwd'))} /etc/passwd",
        f"mount --bind {shlex.quote(str(folder.parent / 'shadow'))} /etc/shadow",
        "mount -t tmpfs tmpfs /run && mkdir /run/sshd",
    ]

    def bind(source: Path | str, target: Path | str) -> None:
        lines.append(f"mkdir -p {shlex.quote(str(target))}")
        lines.append(f"mount --rbind {shlex.quote(str(source))} {shlex.quote(str(target))}")

    bind(folder.parent / "shared", folder / SHARED[1:])
    for path in visible:
        if any(path.is_relative_to(covered) for covered in _COVERED):
            bind(path, folder / str(path)[1:])
    for covered in _COVERED:
        bind(folder / covered[1:], covered)
    lines.append("mount -o remount,bind,ro /")  # mounts made before stay writable
    options = ["-f", "/dev/null", "-h", f"{_HOME}/.ssh/host", "-o", "UsePAM=no", "-o", "MaxStartups=100"]
    lines.append(shlex.join(["exec", "/usr/sbin/sshd", "-D", "-e", *options]))
    return "\n".join(lines)


def _make_key(file: Path) -> None:
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file))


def _await_ssh(machine: Machine) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            socket.create_connection((machine.address, 22), timeout=1.0).close()
            return
        except OSError:
            assert time.monotonic() < deadline, (machine.folder / "log").read_text()
            time.sleep(0.1)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
