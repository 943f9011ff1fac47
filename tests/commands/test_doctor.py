"""The doctor: every check runs here, what is broken becomes a finding, and each finding says what to do."""

import importlib
import importlib.metadata
import os
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from rlsys.commands import doctor
from rlsys.commands.doctor import Finding
from rlsys.config import EnvConfig
from rlsys.envs import make as make_module
from rlsys.errors import EnvError

Usage = namedtuple("Usage", "total used free")


def only(findings: list[Finding], subject: str) -> Finding:
    """Returns the one finding about a subject."""
    (found,) = [finding for finding in findings if finding.subject == subject]
    return found


def test_this_installation_is_healthy() -> None:
    findings = doctor.examine()
    assert [finding for finding in findings if finding.verdict == "fail"] == []
    subjects = {finding.subject for finding in findings}
    assert subjects >= {"Python", "packages", "ray", "CPU cores", "memory", "open files", "ROMs", "Weights & Biases"}
    assert subjects >= {"CartPole", "LunarLander", "Atari by RAM", "Atari by pixels", "ProcGen", "DMLab"}
    assert subjects >= {"MuJoCo", "dm_control", "dm_control drawn"}
    assert all(finding.advice for finding in findings if finding.verdict != "ok")
    assert all("\n" not in finding.found + finding.advice for finding in findings)


def test_a_check_that_breaks_is_a_failed_finding_and_the_others_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("no\nlibrary")

    monkeypatch.setattr(doctor, "check_gpus", broken)
    monkeypatch.setattr(doctor, "check_environments", lambda: iter(()))
    findings = doctor.examine()
    assert only(findings, "GPUs").verdict == "fail"
    assert only(findings, "GPUs").found == "OSError: no library"
    assert only(findings, "Weights & Biases").verdict == "ok"


@pytest.mark.parametrize(
    ("version", "verdict"), [((3, 10, 9), "fail"), ((3, 11, 0), "ok"), ((3, 12, 7), "ok"), ((3, 13, 0), "fail")]
)
def test_python_must_be_one_with_wheels(version: tuple[int, int, int], verdict: str) -> None:
    assert [finding.verdict for finding in doctor.check_python(version)] == [verdict]


def test_a_package_that_is_missing_or_does_not_fit_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "absent":
            raise importlib.metadata.PackageNotFoundError(name)
        return "2.0"

    wanted = ["absent>=1", "newer<2,>=1", "fits>=2", "optional==9; extra == 'test'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    monkeypatch.setattr(importlib.metadata, "version", version)
    findings = list(doctor.check_packages())
    assert [(finding.verdict, finding.subject, finding.found) for finding in findings] == [
        ("fail", "absent", "missing"),
        ("fail", "newer", "2.0"),
        ("ok", "packages", "1 in a version that fits"),
    ]
    assert findings[1].advice == "pip install 'newer<2,>=1'"


def test_a_pyarrow_that_cannot_be_imported_is_told_from_an_installed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def import_module(name: str) -> Any:
        if name == "pyarrow":
            raise AttributeError("_ARRAY_API not found")
        return real(name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    finding = only(list(doctor.check_imports()), "pyarrow")
    assert finding.verdict == "fail"
    assert finding.advice.startswith("No Ray actor starts without it")


def test_a_small_machine_is_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    monkeypatch.setattr(doctor, "_container_limit", lambda: 2**30)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(1, 0, 64 * 2**20))
    monkeypatch.setattr(doctor.resource, "getrlimit", lambda what: (1024, 4096))
    findings = {finding.subject: finding for finding in doctor.check_machine()}
    assert {finding.verdict for finding in findings.values()} == {"warn"}
    assert findings["open files"].advice == "ulimit -n 4096"
    assert findings["memory"].found == "1.0 GiB"
    if Path("/dev/shm").is_dir():
        assert "--shm-size" in findings["shared memory"].advice


def test_a_numba_cache_that_cannot_be_written_is_warned_about(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert [finding.verdict for finding in doctor.check_numba_cache()] == ["ok"]
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (found,) = doctor.check_numba_cache()
    assert (found.verdict, found.found) == ("warn", f"NUMBA_CACHE_DIR = {tmp_path}/file/none cannot be written")
    assert found.advice.startswith(f"{tmp_path}/cache/rlsys/numba is used instead.")


@pytest.mark.parametrize(
    ("error", "part"), [(EnvError("no. Do this."), "Do this."), (OSError("boom"), "OSError: boom")]
)
def test_an_environment_that_fails_matters_only_if_everybody_needs_it(
    monkeypatch: pytest.MonkeyPatch, error: Exception, part: str
) -> None:
    def fail(config: EnvConfig, seed: int) -> None:
        raise error

    monkeypatch.setattr(make_module, "make", fail)
    findings = list(doctor.check_environments())
    assert [finding.verdict for finding in findings] == ["fail"] * 4 + ["warn"] * 5
    assert all(part in finding.advice for finding in findings)


@pytest.mark.parametrize(
    ("verdicts", "gravest"), [([], "ok"), (["ok", "ok"], "ok"), (["ok", "warn"], "warn"), (["fail", "warn"], "fail")]
)
def test_the_worst_finding_decides(verdicts: list[doctor.Verdict], gravest: str) -> None:
    assert doctor.worst([Finding(verdict, "x", "y") for verdict in verdicts]) == gravest


@pytest.mark.usefixtures("ray_cluster")
def test_the_full_examination_starts_an_actor_and_leaves_a_running_cluster_alone() -> None:
    ray = importlib.import_module("ray")
    (finding,) = doctor.check_ray()
    assert (finding.verdict, finding.found[:13]) == ("ok", "an actor runs")
    assert ray.is_initialized()
