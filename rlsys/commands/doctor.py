"""What is installed, what works here, and what to do about the rest: the findings that `rlsys doctor` prints."""

import importlib
import importlib.metadata
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from rlsys.compiled_cache import VARIABLE, choose_cache
from rlsys.config import EnvConfig, RuntimeConfig, read_env
from rlsys.errors import RlsysError
from rlsys.metrics.sinks import has_wandb_login

Verdict = Literal["ok", "warn", "fail"]

_GIB = 2**30
_FEW_FILES = 4_096
_LITTLE_MEMORY = 4 * _GIB
_LITTLE_SHARED_MEMORY = 1 * _GIB
_LITTLE_DISK = 5 * _GIB
_MUST_WORK = {
    "CartPole": EnvConfig(id="CartPole-v1"),
    "LunarLander": EnvConfig(id="LunarLander-v3"),
    "Atari by RAM": EnvConfig(id="Breakout-ramNoFrameskip-v4"),
    "Atari by pixels": EnvConfig(id="BreakoutNoFrameskip-v4"),
}
_MAY_WORK = {
    "ProcGen": EnvConfig(id="procgen-coinrun"),
    "MuJoCo": EnvConfig(id="HalfCheetah-v5"),
    "dm_control": EnvConfig(id="dm_control/cheetah-run"),
    "dm_control drawn": read_env({"id": "dm_control/cheetah-run", "observation": "pixels"}),
    "DMLab": EnvConfig(id="dmlab-rooms_watermaze"),
}


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
      verdict: ok; warn: something that not everybody needs is missing or scarce; fail: training cannot work.
      subject: what was looked at.
      found: what is there.
      advice: what to do about it, empty if nothing.
    """

    verdict: Verdict
    subject: str
    found: str
    advice: str = ""


def examine(*, full: bool = False) -> list[Finding]:
    """Runs all checks; one that breaks becomes a failed finding.

    Args:
      full: also start Ray and an actor, which takes half a minute.
    """
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("Python", check_python),
        ("packages", check_packages),
        ("imports", check_imports),
        ("GPUs", check_gpus),
        ("machine", check_machine),
        ("numba cache", check_numba_cache),
        ("ffmpeg", check_ffmpeg),
        ("ROMs", check_roms),
        ("Weights & Biases", check_wandb),
        ("environments", check_environments),
        *([("Ray", check_ray)] if full else []),
    ]
    findings = []
    for subject, check in checks:
        try:
            findings += list(check())
        except Exception as error:  # noqa: BLE001 - whatever is broken on this machine is what the user wants to see
            findings.append(Finding("fail", subject, _brief(error), "This check itself broke: see the message."))
    return findings


def worst(findings: list[Finding]) -> Verdict:
    """Returns the gravest verdict."""
    verdicts = {finding.verdict for finding in findings}
    return "fail" if "fail" in verdicts else "warn" if "warn" in verdicts else "ok"


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Iterator[Finding]:
    """The interpreter."""
    text = ".".join(map(str, version))
    if (3, 11) <= version[:2] <= (3, 12):
        yield Finding("ok", "Python", text)
    else:
        yield Finding("fail", "Python", text, "Use Python 3.11 or 3.12.")


def check_packages() -> Iterator[Finding]:
    """Every package that rlsys requires, in a version that it allows; optional ones only where installed."""
    good = 0
    for text in importlib.metadata.requires("rlsys") or ():
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = requirement.name
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("fail", name, "missing", f"pip install '{requirement}'")
            continue
        if requirement.specifier.contains(version, prereleases=True):
            good += 1
        else:
            yield Finding("fail", name, version, f"pip install '{requirement}'")
    yield Finding("ok", "packages", f"{good} in a version that fits")


def check_imports() -> Iterator[Finding]:
    """The packages that are known to break each other: installed is not yet importable."""
    for name in ("numpy", "pyarrow", "torch", "ray", "gymnasium"):
        try:
            module = importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - a broken binary package raises whatever it likes
            advice = "No Ray actor starts without it: pip install 'pyarrow>=17,<26'" if name == "pyarrow" else ""
            yield Finding("fail", name, f"cannot be imported: {_brief(error)}", advice or f"Install {name} again.")
        else:
            yield Finding("ok", name, str(getattr(module, "__version__", "unknown version")))


def check_gpus() -> Iterator[Finding]:
    """GPUs that torch can use."""
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            yield Finding("ok", f"GPU {index}", f"{properties.name}, {_gib(properties.total_memory)}")
    elif Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi"):
        build = "a CPU build of torch" if torch.version.cuda is None else f"torch for CUDA {torch.version.cuda}"
        yield Finding("warn", "GPUs", f"a driver, but {build} sees none", "Install a CUDA build of torch that fits it.")
    else:
        yield Finding("ok", "GPUs", "none: learners compute on the CPU")


def check_machine() -> Iterator[Finding]:
    """Cores, memory, shared memory, open files and disk."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield _at_least("CPU cores", cores, 2, str(cores), "Acting and learning share one core: expect half the speed.")
    memory = min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _container_limit())
    yield _at_least("memory", memory, _LITTLE_MEMORY, _gib(memory), "Lower the replay window, or runtime.replay_bytes.")
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        yield _at_least(
            "shared memory", free, _LITTLE_SHARED_MEMORY, f"{_gib(free)} free in {shared}", "Docker: --shm-size=8g."
        )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = sys.maxsize if soft == resource.RLIM_INFINITY else soft
    advice = f"ulimit -n {65_536 if hard in (resource.RLIM_INFINITY, -1) else min(hard, 65_536)}"
    yield _at_least("open files", files, _FEW_FILES, f"{soft:,} at most", advice)
    free = shutil.disk_usage(Path.cwd()).free
    yield _at_least("disk", free, _LITTLE_DISK, f"{_gib(free)} free here", "Set run.directory to a larger disk.")


def check_numba_cache() -> Iterator[Finding]:
    """Where compiled search and sum trees are kept between processes."""
    asked = os.environ.get(VARIABLE)
    place = choose_cache()
    if place is None:
        advice = f"Every process compiles again: set {VARIABLE} to a folder that can be written."
        yield Finding(
            "warn", "numba cache", "neither the package, nor home, nor a temporary folder can be written", advice
        )
    elif asked and place != Path(asked):
        advice = f"{place} is used instead. Correct {VARIABLE}, or leave it out."
        yield Finding("warn", "numba cache", f"{VARIABLE} = {asked} cannot be written", advice)
    else:
        yield Finding("ok", "numba cache", f"{place} can be written")


def check_ffmpeg() -> Iterator[Finding]:
    """The encoder of films."""
    from rlsys.viewer.film import encoder_program

    try:
        yield Finding("ok", "ffmpeg", encoder_program())
    except RuntimeError as error:
        yield Finding("warn", "ffmpeg", _brief(error), "pip install 'imageio[ffmpeg]': without it there are no films.")


def check_roms() -> Iterator[Finding]:
    """Atari games."""
    from ale_py import roms

    there = [name for name in roms.get_all_rom_ids() if Path(roms.get_rom_path(name) or "").is_file()]
    if there:
        yield Finding("ok", "ROMs", f"{len(there)} games")
    else:
        yield Finding("fail", "ROMs", "none", "pip install --force-reinstall 'ale-py==0.12.*': its wheel holds them.")


def check_wandb() -> Iterator[Finding]:
    """The login of Weights & Biases; without one, runs are tracked offline."""
    if has_wandb_login():
        yield Finding("ok", "Weights & Biases", "logged in")
    else:
        yield Finding("ok", "Weights & Biases", "no login: tracked offline", "'wandb login', to see runs in a browser.")


def check_environments() -> Iterator[Finding]:
    """One environment of each family: made, reset, and stepped once."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    for needed, family in ((True, _MUST_WORK), (False, _MAY_WORK)):
        for name, config in family.items():
            try:
                yield Finding("ok", name, _try_environment(config))
            except RlsysError as error:
                yield Finding("fail" if needed else "warn", name, config.id, str(error))
            except Exception as error:  # noqa: BLE001 - a simulator's own failure is a finding about it
                yield Finding("fail" if needed else "warn", name, f"{config.id} breaks", _brief(error))


def check_ray() -> Iterator[Finding]:
    """One actor, in the cluster that this process is connected to, else in one of its own."""
    from rlsys.runtime.cluster.cluster import try_actor

    yield Finding("ok", "Ray", f"an actor runs (process {try_actor(RuntimeConfig())})")


def _try_environment(config: EnvConfig) -> str:
    from rlsys.envs import make

    env = make.make(config, seed=0)
    try:
        observation, _ = env.reset()
        env.action_space.seed(0)
        env.step(env.action_space.sample())
    finally:
        env.close()  # type: ignore[no-untyped-call]
    return f"{config.id}: observations {observation.shape} {observation.dtype}"


def _at_least(subject: str, value: int, enough: int, found: str, advice: str) -> Finding:
    return Finding("ok", subject, found) if value >= enough else Finding("warn", subject, found, advice)


def _container_limit() -> int:
    """Returns the bytes that this process's container may use, as far as control groups tell."""
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
    except OSError:
        return sys.maxsize
    return int(text) if text.isdigit() else sys.maxsize


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"


def _brief(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
